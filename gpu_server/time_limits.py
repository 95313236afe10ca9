"""Limits of time on slices: how long one may keep the GPU's memory without work, and how long it may work at a stretch.

A limit ends the slice's sessions, not the slice: what they had on the GPU is gone, the notebook goes on, and after a
restart of the kernel it has its GPU again. GpuServer runs watch(); what is left of a limit is asked by state.py, so
that learners are warned. Whether a slice works is what its scheduler says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gpu_server.turns import NS_PER_S, SliceWork

if TYPE_CHECKING:
    from gpu_server.server import GpuServer

LOOK_S = 1.0
"""How often limits are looked after."""
PAUSE_S = 1.0
"""Without work for so long, and a run is over: a program that reads its next batch goes on with the same one."""


class TimeLimits:
    """The limits of one daemon. Seconds; 0 means that there is none."""

    def __init__(self, server: GpuServer, *, idle_s: float, run_s: float) -> None:
        self._server = server
        self._idle_s = idle_s
        self._run_s = run_s
        # Since when each slice works without a pause, and the sessions that it had then.
        self._runs: dict[str, tuple[float, frozenset[str]]] = {}

    async def watch(self) -> None:
        """Ends what is over. Does nothing where there are no limits."""
        while self._idle_s or self._run_s:
            all_work = self._server.turns.work()
            self._runs = {i: run for i, run in self._runs.items() if i in all_work and all_work[i].states}
            for slice_id, work in all_work.items():
                if work.states and (sentence := self._over(slice_id, work)):
                    self._runs.pop(slice_id, None)
                    self._server.end_sessions(slice_id, sentence)
            await asyncio.sleep(LOOK_S)

    def ends_in_s(self, work: SliceWork) -> float:
        """Until the idle limit ends what the slice has, if it stays idle; -1: nothing does."""
        if not self._idle_s or not work.states or work.works:
            return -1.0
        return max(0.0, self._idle_s - self._idle_for(work))

    def _idle_for(self, work: SliceWork) -> float:
        return self._server.clock() - work.worked_ns / NS_PER_S  # both are CLOCK_MONOTONIC

    def _over(self, slice_id: str, work: SliceWork) -> str:
        """Why it ends, or nothing."""
        idle_s = 0.0 if work.works else self._idle_for(work)
        if idle_s > PAUSE_S:
            self._runs.pop(slice_id, None)
        if self._idle_s and idle_s > self._idle_s:
            return (
                f"This kernel did not use the GPU for {_duration(self._idle_s)}, so what it had there was given back. "
                "Restart the kernel to use the GPU again."
            )
        if self._run_s and work.works:
            now, sessions = self._server.clock(), frozenset(s.session_id for s in work.states)
            since, had = self._runs.get(slice_id, (now, sessions))
            if not had & sessions:  # other programs
                since = now
            self._runs[slice_id] = since, sessions
            if now - since > self._run_s:
                return (
                    f"This program was at work on the GPU, or waited for its turn, for longer than the "
                    f"{_duration(self._run_s)} that one run may take here. Compute in shorter parts and save what is "
                    "done in between; then restart the kernel."
                )
        return ""


def _duration(seconds: float) -> str:
    for unit_s, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.3g} {name}"
    return f"{seconds:.3g} seconds"
