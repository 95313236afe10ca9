"""What a learner should know at once: a slice is lost, a process has lost its GPU, a limit will soon end something.

Fed by the server extension on the event loop. Each end is told once, however many ways it is heard of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gpu_server.client import Ending, EndingKind
from jupyter_tfusion.leases import Record

RESTART = "Restart the kernel to use the GPU again. What it had in GPU memory is gone."
START_AGAIN = (
    "A program of this kernel has lost the GPU, others go on. Start it again; if it was the notebook itself, restart "
    "the kernel."
)
SAME_END_S = 5.0
"""Within this time the same sentence is told once: a slice may have many processes, and they end together."""
KEEP = (
    "Run a cell that uses the GPU to keep it. What you want to keep of GPU memory, copy to the host or save."
)


class Notices:
    """Notices of one Jupyter server. ``emit`` gets the data of each event."""

    def __init__(self, emit: Callable[[dict[str, Any]], None], warn_before_s: float) -> None:
        self._emit = emit
        self._warn_before_s = warn_before_s
        self._lost: set[str] = set()
        self._warnings: dict[str, asyncio.TimerHandle] = {}
        self._warned: set[str] = set()
        self._ended: dict[
            str, tuple[str, float]
        ] = {}  # what was told last of each slice's sessions, and when

    def ended(self, record: Record, ending: Ending, others: bool) -> None:
        """The GPU server tells of an end; ``others``: processes of the kernel still have the GPU."""
        if ending.kind is EndingKind.SLICE:
            self.lost(record, ending.sentence)
            return
        now = asyncio.get_running_loop().time()
        before, at = self._ended.get(record.slice_id, ("", 0.0))
        self._ended[record.slice_id] = ending.sentence, now
        if ending.sentence != before or now - at > SAME_END_S:
            self._tell(record, "ended", ending.sentence, START_AGAIN if others else RESTART)

    def lost(self, record: Record, sentence: str) -> None:
        """The slice is gone."""
        if record.slice_id not in self._lost:
            self._lost.add(record.slice_id)
            self._tell(record, "lost", sentence, RESTART)

    def note_limit(self, record: Record, idle_s: float, ends_in_s: float) -> None:
        """A limit ends what the slice has in so many seconds if it stays idle; negative: none does."""
        # Of a short limit at most the second half: a pause between two cells is no reason to warn.
        warn_before_s = min(self._warn_before_s, (idle_s + ends_in_s) / 2)
        slice_id = record.slice_id
        timer = self._warnings.pop(slice_id, None)
        if timer is not None:
            timer.cancel()
        if ends_in_s < 0.0 or ends_in_s > warn_before_s:
            self._warned.discard(slice_id)
        if ends_in_s < 0.0 or slice_id in self._warned:
            return
        loop = asyncio.get_running_loop()
        wait_s = max(0.0, ends_in_s - warn_before_s)
        left_s = min(ends_in_s, warn_before_s)
        self._warnings[slice_id] = loop.call_later(wait_s, self._warn, record, left_s)

    def forget(self, slice_ids: set[str]) -> None:
        """Only these slices are still there."""
        self._lost &= slice_ids
        self._warned &= slice_ids
        self._ended = {slice_id: told for slice_id, told in self._ended.items() if slice_id in slice_ids}
        for slice_id in set(self._warnings) - slice_ids:
            self._warnings.pop(slice_id).cancel()

    def close(self) -> None:
        """No more warnings."""
        self.forget(set())

    def _warn(self, record: Record, left_s: float) -> None:
        self._warnings.pop(record.slice_id, None)
        self._warned.add(record.slice_id)
        left = _duration(left_s)
        sentence = f"This kernel has not used the GPU for a while; what it has there is given back in {left}."
        self._tell(record, "idle_warning", sentence, KEEP)

    def _tell(self, record: Record, kind: str, sentence: str, what_to_do: str) -> None:
        self._emit(
            {
                "kernel_id": record.kernel_id,
                "slice_id": record.slice_id,
                "kind": kind,
                "sentence": sentence,
                "what_to_do": what_to_do,
            }
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(2, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes"
