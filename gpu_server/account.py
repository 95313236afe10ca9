"""A slice's account: shared words in which its workers enforce the memory limit together and count their busy time.

Layout, little-endian u64 words: word 0 is the limit in bytes; then, a word per slot each, the bytes that the slot's
worker holds, the nanoseconds for which it had work for the GPU, since when it has some now (CLOCK_MONOTONIC, 0: it
has none), and how many calls it has replayed. A worker writes only words of its own slot and refuses an allocation
with which the sum of all bytes would pass the limit. The daemon makes the account, gives each worker its file
descriptor and slot, zeroes a slot when its worker is gone, and reads the words for ListSlices, ListGpus and observers.
"""

from __future__ import annotations

import fcntl
import mmap
import os

SLOTS = 64
SIZE_BYTES = 8 * (1 + 4 * SLOTS)
_USED, _BUSY, _SINCE, _CALLS = (1 + kind * SLOTS for kind in range(4))


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

    @property
    def limit_bytes(self) -> int:
        """The slice's limit."""
        return self._words[0]

    def used_bytes(self, slot: int | None = None) -> int:
        """What the worker of ``slot`` holds, or all workers together."""
        if slot is not None:
            return self._words[_USED + slot]
        return sum(self._words[_USED : _USED + SLOTS])

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

    def clear(self, slot: int) -> None:
        """Forgets what a worker held and did. Precondition: that worker's process is gone."""
        for kind in (_USED, _BUSY, _SINCE, _CALLS):
            self._words[kind + slot] = 0

    def close(self) -> None:
        """Gives the memory back; may be called twice."""
        if self.fd >= 0:
            self._words.release()
            self._map.close()
            os.close(self.fd)
            self.fd = -1
