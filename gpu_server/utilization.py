"""How busy each session keeps its GPU: the share of the last sampling period in which it had work for the GPU.

The session manager starts and ends the sampling of a session; observers read it. Workers count the time
(gpu_server/replay/session.cpp), the daemon only looks at the counter, twice a second while there are sessions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

PERIOD_S = 0.5


@dataclass(frozen=True)
class Sample:
    """``percent`` of the period that ended at ``unix_us``."""

    percent: int
    unix_us: int


@dataclass
class _Counter:
    busy_ns: Callable[[int], int]
    seen_ns: int
    seen_busy_ns: int
    sample: Sample | None = None

    def take(self, now_ns: int) -> Sample:
        passed_ns = max(1, now_ns - self.seen_ns)
        # Never backwards: a worker that just ends a busy time may seem to have had less for a moment.
        worked_ns = max(0, self.busy_ns(now_ns) - self.seen_busy_ns)
        return Sample(min(100, round(100 * worked_ns / passed_ns)), time.time_ns() // 1000)


class Utilization:
    """Samples of all sessions. For one event loop."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._counters: dict[Hashable, _Counter] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, session: Hashable, busy_ns: Callable[[int], int]) -> None:
        """Samples ``busy_ns(now_ns)``, a counter of nanoseconds, until end()."""
        now_ns = self._clock_ns()
        self._counters[session] = _Counter(busy_ns, now_ns, busy_ns(now_ns))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self._tick)

    def end(self, session: Hashable) -> None:
        """The session is over; nothing is left of it."""
        self._counters.pop(session, None)
        if not self._counters and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sample(self, session: Hashable) -> Sample:
        """The last period's; before the first one is over, that of the time since begin()."""
        counter = self._counters[session]
        return counter.sample or counter.take(self._clock_ns())

    def _tick(self) -> None:
        now_ns = self._clock_ns()
        for counter in self._counters.values():
            counter.sample = counter.take(now_ns)
            counter.seen_ns, counter.seen_busy_ns = now_ns, max(counter.seen_busy_ns, counter.busy_ns(now_ns))
        self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self._tick)
