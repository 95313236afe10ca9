"""How often memory may be exchanged between slices that all have work: swapping stays under a part of the time.

A bucket earns ``part`` seconds of swapping per second. Driving n bytes out of a session that has work costs the time
of n bytes out and n bytes in again, and may begin when the bucket has that much (or is full). So the time that a
session keeps its memory grows with the cost of taking it, and the sum over all sessions stays under the part, too,
which a quantum per session could not promise.
"""

from __future__ import annotations

import math

from gpu_server.scheduler.policy import SECOND

BUCKET_S = 0.2
"""Most swapping that can be saved up in quiet times."""


class SwapBudget:
    """Seconds of swapping that may be spent."""

    def __init__(self, part: float, bytes_per_s: float) -> None:
        self._part = part
        self.bytes_per_s = bytes_per_s
        self._left_s = BUCKET_S
        self._filled_ns: int | None = None

    def fill(self, now_ns: int) -> None:
        """Time passed."""
        if self._filled_ns is not None:
            earned = self._part * (now_ns - self._filled_ns) / SECOND
            self._left_s = min(BUCKET_S, self._left_s + earned)
        self._filled_ns = now_ns

    def exchange_s(self, size: int) -> float:
        """Seconds that ``size`` bytes take out and in again."""
        return 2.0 * size / self.bytes_per_s

    def opens_in_ns(self, cost_s: float) -> int:
        """How long until an exchange of this cost may begin; 0: now."""
        missing = min(cost_s, BUCKET_S) - self._left_s
        return math.ceil(missing / self._part * SECOND) if missing > 1e-9 else 0

    def patience_ns(self, size: int) -> int:
        """The longest that an exchange of ``size`` bytes has to wait for its turn, roughly."""
        return SECOND + int(2.0 * self.exchange_s(size) / self._part * SECOND)

    def spend(self, cost_s: float) -> None:
        """An exchange of this cost begins. May leave a debt, which is waited for."""
        self._left_s -= cost_s
