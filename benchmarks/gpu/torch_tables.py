"""PyTorch on small vectors and series: MLPs, and an LSTM. Many small kernels, little work in each."""

from __future__ import annotations

from gpu.registry import Work, workload
from gpu.torch_device import DEVICE, start, training


@workload("mlp", "MLP training")
def mlp() -> Work:
    """Everything stays on the GPU; nothing waits."""
    torch = start()
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)).to(DEVICE)
    images = torch.randn(128, 784, device=DEVICE)
    labels = torch.randint(10, (128,), device=DEVICE)
    optimiser = torch.optim.Adam(model.parameters())
    return training(model, optimiser, lambda: nn.functional.cross_entropy(model(images), labels))


@workload("mlp_item", "MLP training, batch copied and `.item()` each step")
def mlp_item() -> Work:
    """As beginners write it: each batch goes up from pageable memory, each loss comes down."""
    torch = start()
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)).to(DEVICE)
    images, labels = torch.randn(16, 128, 784), torch.randint(10, (16, 128))
    optimiser = torch.optim.Adam(model.parameters())
    seen = 0

    def loss() -> object:
        nonlocal seen
        batch, seen = seen % len(images), seen + 1
        return nn.functional.cross_entropy(model(images[batch].to(DEVICE)), labels[batch].to(DEVICE))

    return training(model, optimiser, loss, after=lambda value: value.item())


@workload("lstm", "LSTM training on series")
def lstm() -> Work:
    """Two layers, cuDNN's fused path."""
    torch = start()
    nn = torch.nn

    class Forecast(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.LSTM(8, 128, num_layers=2, batch_first=True)
            self.head = nn.Linear(128, 1)

        def forward(self, series: object) -> object:
            return self.head(self.memory(series)[0][:, -1])

    model = Forecast().to(DEVICE)
    time = torch.arange(100, device=DEVICE) / 10
    phase = torch.rand(64, 8, device=DEVICE) * 6
    series = torch.sin(time[None, :, None] + phase[:, None, :])
    target = torch.sin(time[-1] + 0.1 + phase[:, :1])
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    return training(model, optimiser, lambda: nn.functional.mse_loss(model(series), target))


@workload("embedding", "recommender: sparse embeddings and a bilinear score")
def embedding() -> Work:
    """Index and scatter kernels; the gradients of the tables are sparse tensors."""
    torch = start()
    nn = torch.nn
    users = nn.Embedding(20_000, 64, sparse=True)
    things = nn.Embedding(50_000, 64, sparse=True)
    model = nn.ModuleList([users, things]).to(DEVICE)
    user = torch.randint(20_000, (4096,), device=DEVICE)
    thing = torch.randint(50_000, (4096,), device=DEVICE)
    liked = torch.rand(4096, device=DEVICE).round()
    optimiser = torch.optim.SGD(model.parameters(), 0.05)

    def loss() -> object:
        score = (users(user) * things(thing)).sum(1)
        return nn.functional.binary_cross_entropy_with_logits(score, liked)

    return training(model, optimiser, loss)
