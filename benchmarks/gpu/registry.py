"""What a workload is, and the list of all of them. Read by the driver (names, titles) and by the child (builds one).

A workload's builder imports its library itself, so listing the workloads loads none. It seeds whatever is random, sets
everything up on the GPU and gives back a `Work`. Two calls in one process must do the same computations.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# In the order in which they run.
FAMILIES = (
    "on_driver_api",
    "torch_tables",
    "torch_images",
    "torch_language",
    "torch_machinery",
    "on_cupy",
    "on_jax",
    "on_numba",
)


class Unavailable(Exception):
    """This workload cannot run here: a library or a feature is missing. The text says which."""


@dataclass
class Work:
    """One workload, set up. `step` may leave work queued on the GPU; `sync` waits for it."""

    step: Callable[[], object]
    sync: Callable[[], object]
    # What the steps so far have computed, to the last bit: parameters, outputs, losses.
    results: Callable[[], Iterable[bytes]]
    # Gives back what does not go by itself when the Work is forgotten.
    close: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Workload:
    """A named workload."""

    name: str
    title: str
    build: Callable[[], Work]
    vram: str = "8GiB"
    # For those that do nothing but move bytes: a rate is more telling than a time.
    bytes_per_step: int = 0


WORKLOADS: dict[str, Workload] = {}


def workload(
    name: str, title: str, vram: str = "8GiB", bytes_per_step: int = 0
) -> Callable[[Callable[[], Work]], Callable[[], Work]]:
    """Adds a builder to the list."""

    def add(build: Callable[[], Work]) -> Callable[[], Work]:
        if name in WORKLOADS:
            raise ValueError(f"There are two workloads named {name}")
        WORKLOADS[name] = Workload(name, title, build, vram, bytes_per_step)
        return build

    return add


def load() -> dict[str, Workload]:
    """All workloads by name."""
    for family in FAMILIES:
        importlib.import_module(f"gpu.{family}")
    return WORKLOADS


def need(module: str) -> None:
    """Imports it, or says that the workload is not available."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a library that does not fit another may raise anything
        raise Unavailable(f"{module} cannot be imported: {type(error).__name__}: {error}") from None
