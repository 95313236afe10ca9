"""The hard limit of a slice in GPU time: a token bucket that holds a fiftieth of the window.

Small on purpose: what the bucket holds is what a slice may have above its part in any window. A kernel that runs
longer than the bucket lasts puts it in debt, and the debt is waited for, so the average stays exact whatever the
length of kernels.
"""

from __future__ import annotations

import math

BUCKET_PART = 1 / 50
"""Size of the bucket as part of the window."""
RESUME_PART = 1 / 2
"""How full the bucket is when a slice may go on: less would stop it again after the first kernel."""


class Ceiling:
    """One slice's ceiling: ``part`` of the time (of 1)."""

    def __init__(self, now_ns: int, part: float, window_ns: int) -> None:
        if not 0.0 < part <= 1.0:
            raise ValueError(f"A ceiling is a part of the time above 0 and up to 1; {part:g} was asked for.")
        self.part = part
        self._size_ns = window_ns * BUCKET_PART
        self._left_ns = self._size_ns
        self._filled_ns = now_ns
        self.over = False

    def fill(self, now_ns: int) -> None:
        """Time passed."""
        self._left_ns = min(self._size_ns, self._left_ns + self.part * (now_ns - self._filled_ns))
        self._filled_ns = now_ns

    def charge(self, gpu_ns: float) -> None:
        """The slice had so much of the GPU."""
        self._left_ns -= gpu_ns

    def decide(self) -> bool:
        """Sets ``over``; tells if it changed."""
        before = self.over
        self.over = self._left_ns < self._size_ns * RESUME_PART if before else self._left_ns <= 0.0
        return self.over != before

    def resumes_in_ns(self) -> int:
        """How long until the slice may go on. Precondition: over."""
        return max(0, math.ceil((self._size_ns * RESUME_PART - self._left_ns) / self.part))

    def lasts_ns(self) -> int:
        """How long what is left lasts at least: the slice alone on the GPU."""
        return max(0, math.ceil(self._left_ns / max(1.0 - self.part, 1e-3)))
