"""A learner in a class, as parts of load.py: thinks, runs a cell, thinks again.

A cell looks whether all that the learner has on the GPU is still there, computes for a while, writes everything anew
and looks again. What it waits for others is its time less what the same cell takes alone.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from sharing.driver import CudaError

if TYPE_CHECKING:
    from sharing.load import Load

# So that one learner does not think through the whole lesson.
MOST_THINKING = 4.0


def cell(load: Load, ms: float) -> tuple[float, int]:
    """Runs one cell with so much computation; its seconds and the words that were wrong."""
    began = time.monotonic()
    wrong = load.device.check(load.pieces)
    spin = load.device.spinner(load.iterations)
    for _ in range(max(1, round(ms * 1000 / load.kernel_us))):
        spin()
    load.fill()
    wrong += load.device.check(load.pieces)
    return time.monotonic() - began, wrong


def alone(load: Load, kinds: list[float], repeats: int) -> dict[str, Any]:
    """Seconds of each kind of cell (milliseconds of computation), `repeats` times, and the wrong words in all."""
    cell(load, min(kinds))  # brings back what was swapped out
    seen = [[cell(load, ms) for _ in range(repeats)] for ms in kinds]
    return {
        "s": [[s for s, _ in repeated] for repeated in seen],
        "wrong": sum(w for repeated in seen for _, w in repeated),
    }


def lesson(load: Load, kinds: list[float], think_s: float, seed: int, until: float) -> dict[str, Any]:
    """Thinks and runs cells until that moment. An error ends the lesson, and is told with the cells before it."""
    chance = random.Random(seed)
    cells: list[dict[str, Any]] = []
    while True:
        thinks = min(chance.expovariate(1.0 / think_s), MOST_THINKING * think_s)
        if time.monotonic() + thinks >= until:
            return {"cells": cells, "error": ""}
        time.sleep(thinks)
        kind = chance.randrange(len(kinds))
        try:
            s, wrong = cell(load, kinds[kind])
        except CudaError as failure:
            return {"cells": cells, "error": str(failure)}
        cells.append({"at": time.monotonic(), "kind": kind, "s": s, "wrong": wrong})
