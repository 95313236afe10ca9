"""What the PyTorch workloads share: the device, seeding, and the bytes of tensors.

TFUSION_BENCH_DEVICE=cpu lets one try the workloads themselves on a machine without a GPU; nothing is measured so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from gpu.registry import Unavailable, Work, need

DEVICE = os.environ.get("TFUSION_BENCH_DEVICE", "cuda")


def start() -> Any:
    """torch, seeded. Says so where there is no CUDA."""
    need("torch")
    import torch

    if DEVICE == "cuda" and not torch.cuda.is_available():
        raise Unavailable("torch sees no CUDA device")
    torch.manual_seed(20)
    return torch


def need_cuda(what: str) -> None:
    """For workloads that mean nothing on a CPU."""
    if DEVICE != "cuda":
        raise Unavailable(f"{what} needs CUDA")


def sync() -> None:
    """Waits for the device."""
    import torch

    if DEVICE == "cuda":
        torch.cuda.synchronize()


def as_bytes(tensor: Any) -> bytes:
    """A tensor's contents, whatever its type."""
    import torch

    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu()
    return bytes(flat.numpy().tobytes())


def training(
    model: Any, optimiser: Any, loss_of: Callable[[], Any], after: Callable[[Any], object] | None = None
) -> Work:
    """A step of the usual kind: gradients to zero, loss, backward, update. Results: parameters and the last loss."""
    last: list[Any] = []

    def step() -> None:
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()
        optimiser.step()
        last[:] = [loss]
        if after is not None:
            after(loss)

    def results() -> Iterable[bytes]:
        for tensor in [*model.parameters(), *last]:
            yield as_bytes(tensor)

    return Work(step, sync, results)
