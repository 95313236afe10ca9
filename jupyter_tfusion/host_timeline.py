"""Who was on the GPU when: the samples of a slice's sessions, put together into samples of the slice.

For the picture of the host view. Bounded: the last minutes, and no more samples than a picture can show.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpu_server.client import TimelineSample
from gpu_server.observation import MOST_TELLING

WINDOW_S = 600.0
STEP_S = 1.0
"""No two samples of a slice are closer; of those that are, the last one stays."""


def slice_samples(samples: Iterable[TimelineSample], now_s: float) -> list[dict[str, Any]]:
    """Samples of a slice, oldest first; the first tells how it was when the window began."""
    current: dict[str, TimelineSample] = {}
    made: list[dict[str, Any]] = []
    begin_s = now_s - WINDOW_S
    for sample in samples:
        if sample.phase == "ended":
            current.pop(sample.session_id, None)
        else:
            current[sample.session_id] = sample
        at_s = max(sample.at_s, begin_s)
        if made and at_s - made[-1]["at_s"] < STEP_S:
            at_s = made.pop()["at_s"]
        made.append(_together(at_s, list(current.values())))
    return made


def _together(at_s: float, samples: list[TimelineSample]) -> dict[str, Any]:
    phases = [sample.phase for sample in samples]
    return {
        "at_s": at_s,
        "phase": min(phases, key=_rank) if phases else "idle",
        "resident_bytes": sum(sample.resident_bytes for sample in samples),
        "swapped_bytes": sum(sample.swapped_bytes for sample in samples),
    }


def _rank(phase: str) -> int:
    return MOST_TELLING.index(phase) if phase in MOST_TELLING else len(MOST_TELLING)
