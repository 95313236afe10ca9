"""A slice's account: shared words in which its workers enforce the memory limit together and count what they do.

Layout, little-endian u64 words: word 0 is the limit in bytes; then, a word per slot each, the bytes that the slot's
worker holds, the nanoseconds for which it had work for the GPU, since when it has some now (CLOCK_MONOTONIC, 0: it
has none), how many calls it has replayed, the most bytes that all slots had together right after it took some, and how
many calls its client refused. A worker writes only words of its own slot and refuses an allocation with which the sum
of all bytes would pass the limit. The daemon makes the account, gives each worker its file descriptor and slot, zeroes
a slot when its worker is gone and all peaks at a mark, and reads the words for ListSlices, ListGpus and observers.

A mark (set_mark) is where somebody begins to measure: peaks() says what was the most since each of the last ones.
"""

from __future__ import annotations

import fcntl
import mmap
import os

SLOTS = 64
SIZE_BYTES = 8 * (1 + 6 * SLOTS)
MARKS = 8  # that peaks are known of
_USED, _BUSY, _SINCE, _CALLS, _PEAK, _REFUSED = (1 + kind * SLOTS for kind in range(6))


_NO_PEAKS = memoryview(bytes(8 * SLOTS)).cast("Q")


class Account:
    """Owns the memfd and a mapping of it; close() ends both (workers keep theirs)."""

    def __init__(self, limit_bytes: int) -> None:
        self.fd = os.memfd_create("tfusion-account", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, SIZE_BYTES)
        # A worker that shrank the file would kill its neighbours, which have it mapped, with SIGBUS.
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._map = mmap.mmap(self.fd, SIZE_BYTES)
        self._words = memoryview(self._map).cast("Q")
        self._words[0] = limit_bytes
        self._limit_bytes = limit_bytes  # as workers can write to the page
        self.mark = 0  # number of the last one; 0 is the slice's beginning
        self._peaks = [0]  # known so far, since the last mark, since the one before, ...

    @property
    def limit_bytes(self) -> int:
        """The slice's limit."""
        return self._limit_bytes

    def used_bytes(self, slot: int | None = None) -> int:
        """What the worker of ``slot`` holds, or all workers together."""
        limit = self.limit_bytes  # no worker holds more, whatever it says
        if slot is not None:
            return min(self._words[_USED + slot], limit)
        return sum(min(used, limit) for used in self._words[_USED : _USED + SLOTS])

    def busy_ns(self, slot: int, now_ns: int) -> int:
        """For how long the worker of ``slot`` has had work for the GPU so far; ``now_ns`` is time.monotonic_ns()."""
        since_ns = self._words[_SINCE + slot]
        return self._words[_BUSY + slot] + (max(0, now_ns - since_ns) if since_ns else 0)

    def is_busy(self, slot: int) -> bool:
        """Whether the worker of ``slot`` has work for the GPU now."""
        return self._words[_SINCE + slot] != 0

    def calls(self, slot: int) -> int:
        """How many calls the worker of ``slot`` has replayed."""
        return self._words[_CALLS + slot]

    def refused(self, slot: int) -> int:
        """How many calls the client of ``slot`` refused: to functions that this virtual GPU does not have."""
        return self._words[_REFUSED + slot]

    def set_mark(self) -> None:
        """Begins a new measurement of the peak."""
        self._gather_peaks()
        self._words[_PEAK : _PEAK + SLOTS] = _NO_PEAKS
        # Looked at after the zeros: what a worker takes in between is in one of the two.
        self._peaks = [self.used_bytes(), *self._peaks[: MARKS - 1]]
        self.mark += 1

    def peaks(self) -> list[int]:
        """The most bytes held at one time since the last mark, since the one before, and so on; up to MARKS."""
        self._gather_peaks()
        return list(self._peaks)

    def clear(self, slot: int) -> None:
        """Forgets what a worker held and did. Precondition: that worker's process is gone."""
        self._gather_peaks()
        for kind in (_USED, _BUSY, _SINCE, _CALLS, _REFUSED, _PEAK):
            self._words[kind + slot] = 0

    def _gather_peaks(self) -> None:
        newest = max(self._words[_PEAK : _PEAK + SLOTS])
        # Workers refuse what would pass the limit, but look at each other's claims before they are refused.
        newest = min(newest, self.limit_bytes)
        self._peaks = [max(known, newest) for known in self._peaks]

    def close(self) -> None:
        """Gives the memory back; may be called twice."""
        if self.fd >= 0:
            self._words.release()
            self._map.close()
            os.close(self.fd)
            self.fd = -1
