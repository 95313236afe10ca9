"""PyTorch on text: GPT-2 trained and generating, with random weights, and a frozen model tuned by LoRA."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpu.registry import Unavailable, Work, workload
from gpu.torch_device import DEVICE, as_bytes, start, sync, training


def gpt2(torch: Any, **sizes: int) -> Any:
    """transformers' GPT-2 with random weights, made on the device itself."""
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        raise Unavailable(f"transformers' GPT-2 cannot be imported: {error}") from None

    config = GPT2Config(use_cache=True, **sizes)
    with torch.device(DEVICE):
        return GPT2LMHeadModel(config)


@workload("gpt2_train", "GPT-2 training, bf16 autocast", vram="24GiB")
def gpt2_train() -> Work:
    """124 million parameters, 8 texts of 512 tokens."""
    torch = start()
    model = gpt2(torch).train()
    tokens = torch.randint(50_000, (8, 512), device=DEVICE)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)

    def loss() -> object:
        with torch.autocast(DEVICE, torch.bfloat16):
            return model(tokens, labels=tokens).loss

    return training(model, optimiser, loss)


@workload("gpt2_generate", "GPT-2 generating 32 tokens, fp16")
def gpt2_generate() -> Work:
    """Hundreds of tiny kernels a token, and a look at each token from the host."""
    torch = start()
    model = gpt2(torch).to(torch.float16).eval()
    prompt = torch.randint(50_000, (1, 16), device=DEVICE)
    everything_counts = torch.ones_like(prompt)
    made: list[Any] = []

    def step() -> None:
        with torch.no_grad():
            text = model.generate(
                prompt,
                attention_mask=everything_counts,
                max_new_tokens=32,
                min_new_tokens=32,
                do_sample=False,
                pad_token_id=0,
            )
        made[:] = [text]

    return Work(step, sync, lambda: (as_bytes(text) for text in made))


@workload("lora", "fine-tuning a frozen transformer with LoRA, bf16")
def lora() -> Work:
    """Every linear layer gets a trained product of two thin matrices beside its frozen weight."""
    torch = start()
    nn = torch.nn
    rank = 8

    class Adapted(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, frozen: Any) -> None:
            super().__init__()
            self.frozen = frozen.requires_grad_(False)
            like = {"device": frozen.weight.device, "dtype": frozen.weight.dtype}
            self.down = nn.Parameter(torch.randn(rank, frozen.in_features, **like) / frozen.in_features**0.5)
            self.up = nn.Parameter(torch.zeros(frozen.out_features, rank, **like))

        def forward(self, x: Any) -> Any:
            return self.frozen(x) + x @ self.down.T @ self.up.T

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.query_key_value = Adapted(nn.Linear(width, 3 * width))
            self.out = Adapted(nn.Linear(width, width))
            self.wide, self.narrow = (
                Adapted(nn.Linear(width, 4 * width)),
                Adapted(nn.Linear(4 * width, width)),
            )

        def forward(self, x: Any) -> Any:
            batch, length, width = x.shape
            heads = self.query_key_value(self.before(x)).view(batch, length, 3, width // 64, 64)
            query, key, value = heads.permute(2, 0, 3, 1, 4)
            attended = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
            return x + self.narrow(nn.functional.gelu(self.wide(self.between(x))))

    with torch.device(DEVICE):
        words = nn.Embedding(8192, 512)
        model = nn.Sequential(words, *(Block(512) for _ in range(6)), nn.LayerNorm(512), nn.Linear(512, 8192))
    model = model.to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith((".up", ".down")))
    tokens = torch.randint(8192, (8, 257), device=DEVICE)
    tuned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(tuned, 1e-3)

    def loss() -> object:
        scores = model(tokens[:, :-1])
        return nn.functional.cross_entropy(scores.flatten(0, 1).float(), tokens[:, 1:].flatten())

    work = training(model, optimiser, loss)

    def results() -> Iterable[bytes]:
        return (as_bytes(p) for p in tuned)

    return Work(work.step, work.sync, results)
