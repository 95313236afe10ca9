"""A slice's account of device memory: a few shared words in which its workers enforce the slice's limit together.

Layout, little-endian u64 words: word 0 is the limit in bytes; word 1 + slot is what the worker of that slot holds.
A worker adds only to its own word and refuses an allocation with which the sum of all would pass the limit. The
daemon makes the account, gives each worker its file descriptor and slot, zeroes a slot when its worker is gone, and
reads the words for ListSlices and ListGpus.
"""

from __future__ import annotations

import fcntl
import mmap
import os

SLOTS = 64
SIZE_BYTES = 8 * (1 + SLOTS)


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
            return self._words[1 + slot]
        return sum(self._words[1 : 1 + SLOTS])

    def clear(self, slot: int) -> None:
        """Forgets what a worker held. Precondition: that worker's process is gone."""
        self._words[1 + slot] = 0

    def close(self) -> None:
        """Gives the memory back; may be called twice."""
        if self.fd >= 0:
            self._words.release()
            self._map.close()
            os.close(self.fd)
            self.fd = -1
