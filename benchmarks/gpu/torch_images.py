"""PyTorch on images: convolutions, a loader with worker processes, mixed precision, ResNet, ViT, a diffusion step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpu.registry import Work, need, workload
from gpu.torch_device import DEVICE, as_bytes, start, sync, training


def small_cnn(torch: Any) -> Any:
    """Two convolutions and a classifier for 28 x 28 grey images."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10),
    ).to(DEVICE)  # fmt: skip


@workload("cnn", "CNN training on 28x28 images")
def cnn() -> Work:
    """The second lesson of every course."""
    torch = start()
    model = small_cnn(torch)
    images = torch.rand(256, 1, 28, 28, device=DEVICE)
    labels = torch.randint(10, (256,), device=DEVICE)
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    return training(model, optimiser, lambda: torch.nn.functional.cross_entropy(model(images), labels))


@workload("loader", "CNN training from a DataLoader: 4 workers, pinned memory")
def loader() -> Work:
    """Worker processes are forked after CUDA was started; batches come up from pinned memory, not waited for."""
    torch = start()
    model = small_cnn(torch)
    images, labels = torch.rand(4096, 1, 28, 28), torch.randint(10, (4096,))
    batches = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels),
        batch_size=128,
        num_workers=4,
        pin_memory=DEVICE == "cuda",
        persistent_workers=True,
    )
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def endless() -> Iterable[Any]:
        while True:
            yield from batches

    stream = iter(endless())

    def loss() -> object:
        image, label = next(stream)
        image, label = image.to(DEVICE, non_blocking=True), label.to(DEVICE, non_blocking=True)
        return torch.nn.functional.cross_entropy(model(image), label)

    return training(model, optimiser, loss)


@workload("amp", "mixed precision: autocast fp16 and GradScaler")
def amp() -> Work:
    """The scaler looks for infinities each step, which waits for the GPU."""
    torch = start()
    model = small_cnn(torch)
    images = torch.rand(512, 1, 28, 28, device=DEVICE)
    labels = torch.randint(10, (512,), device=DEVICE)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    half = torch.float16 if DEVICE == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(DEVICE)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(DEVICE, half):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()

    return Work(step, sync, lambda: (as_bytes(p) for p in model.parameters()))


@workload("resnet50", "ResNet-50 training, bf16 autocast", vram="16GiB")
def resnet50() -> Work:
    """torchvision's, random weights and images."""
    need("torchvision")
    torch = start()
    import torchvision

    model = torchvision.models.resnet50().to(DEVICE).train()
    images = torch.randn(64, 3, 224, 224, device=DEVICE)
    labels = torch.randint(1000, (64,), device=DEVICE)
    optimiser = torch.optim.SGD(model.parameters(), 0.01)

    def loss() -> object:
        with torch.autocast(DEVICE, torch.bfloat16):
            return torch.nn.functional.cross_entropy(model(images), labels)

    return training(model, optimiser, loss)


@workload("vit", "small vision transformer, training, bf16 autocast")
def vit() -> Work:
    """Patches of 8 x 8 of 64 x 64 images, six layers."""
    torch = start()
    nn = torch.nn

    class VisionTransformer(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 192, 8, stride=8)
            self.place = nn.Parameter(torch.randn(1, 65, 192) * 0.02)
            self.whole = nn.Parameter(torch.zeros(1, 1, 192))
            layer = nn.TransformerEncoderLayer(192, 6, 768, 0.0, "gelu", batch_first=True, norm_first=True)
            self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
            self.head = nn.Linear(192, 100)

        def forward(self, images: Any) -> Any:
            patches = self.patches(images).flatten(2).transpose(1, 2)
            tokens = torch.cat([self.whole.expand(len(images), -1, -1), patches], 1) + self.place
            return self.head(self.layers(tokens)[:, 0])

    model = VisionTransformer().to(DEVICE)
    images = torch.randn(64, 3, 64, 64, device=DEVICE)
    labels = torch.randint(100, (64,), device=DEVICE)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-4)

    def loss() -> object:
        with torch.autocast(DEVICE, torch.bfloat16):
            return nn.functional.cross_entropy(model(images), labels)

    return training(model, optimiser, loss)


@workload("diffusion", "diffusion: a training step of a small U-Net")
def diffusion() -> Work:
    """Predicts the noise that was mixed into an image; time enters each level, levels are joined across."""
    torch = start()
    nn = torch.nn

    class Level(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            self.first = nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()
            )
            self.time = nn.Linear(64, after)
            self.second = nn.Sequential(
                nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()
            )

        def forward(self, x: Any, time: Any) -> Any:
            return self.second(self.first(x) + self.time(time)[:, :, None, None])

    class UNet(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([Level(3, 32), Level(32, 64)])
            self.bottom = Level(64, 128)
            self.up = nn.ModuleList([Level(128 + 64, 64), Level(64 + 32, 32)])
            self.out = nn.Conv2d(32, 3, 1)

        def forward(self, x: Any, t: Any) -> Any:
            frequencies = torch.exp(torch.arange(32, device=x.device) * -0.28)
            angle = t[:, None] * frequencies
            time = torch.cat([angle.sin(), angle.cos()], 1)
            kept = []
            for level in self.down:
                x = level(x, time)
                kept.append(x)
                x = nn.functional.avg_pool2d(x, 2)
            x = self.bottom(x, time)
            for level in self.up:
                x = nn.functional.interpolate(x, scale_factor=2.0)
                x = level(torch.cat([x, kept.pop()], 1), time)
            return self.out(x)

    model = UNet().to(DEVICE)
    images = torch.rand(32, 3, 32, 32, device=DEVICE) * 2 - 1
    signal = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, device=DEVICE), 0)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-4)

    def loss() -> object:
        t = torch.randint(1000, (len(images),), device=DEVICE)
        noise = torch.randn_like(images)
        share = signal[t][:, None, None, None]
        mixed = share.sqrt() * images + (1 - share).sqrt() * noise
        return nn.functional.mse_loss(model(mixed, t.float()), noise)

    return training(model, optimiser, loss)
