"""One worker's turn: the page of orders and reports between the daemon and a worker, and the bells beside it.

The layout is that of gpu_server/replay/turn.hpp, little-endian u64 words. The daemon writes orders and rings the
worker; the worker tells of itself and rings the daemon. All words say how things are, so one that was missed is no
loss, and each side writes words of its own only.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from dataclasses import dataclass

from gpu_server.account import Account
from gpu_server.scheduler import Order, Report

WORDS = 22
SIZE_BYTES = 8 * WORDS
_EPOCH, _ORDER_FLAGS, _ALLOWANCE, _STORE, _SPILL, _KERNEL_LIMIT, _DENIED_WANT = range(7)
(
    _REPORT_FLAGS,
    _WANTED,
    _ACCEPTED,
    _RESIDENT,
    _FIXED,
    _SWAPPED,
    _STORED,
    _SPILLED,
    _SWAPPED_OUT,
    _SWAPPED_IN,
    _SWAP_OUT_NS,
    _SWAP_IN_NS,
    _WAITED_NS,
    _WANT_NUMBER,
) = range(8, WORDS)
# More than any GPU or host has: what a worker writes is believed up to here, so that sums of it can be told.
MOST_BYTES = 1 << 50
_RUN, _CONTENDED, _WATCH = 1, 2, 4
_WAITING, _STOPPED, _SWAP_FAILED = 1, 2, 4


@dataclass(frozen=True)
class Swaps:
    """Bytes that went out to the host and came back in, and the nanoseconds that each took."""

    out_bytes: int = 0
    in_bytes: int = 0
    out_ns: int = 0
    in_ns: int = 0

    def __add__(self, other: Swaps) -> Swaps:
        return Swaps(
            self.out_bytes + other.out_bytes,
            self.in_bytes + other.in_bytes,
            self.out_ns + other.out_ns,
            self.in_ns + other.in_ns,
        )


class Turn:
    """Owns the page and both bells; close() ends them (the worker keeps its own)."""

    def __init__(self, account: Account, slot: int) -> None:
        self._account = account
        self._slot = slot
        self.fd = os.memfd_create("tfusion-turn", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, SIZE_BYTES)
        # A worker that shrank the file would kill the daemon, which has it mapped, with SIGBUS.
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._map = mmap.mmap(self.fd, SIZE_BYTES)
        self._words = memoryview(self._map).cast("Q")
        self.orders_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.bell_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    @property
    def fds(self) -> tuple[int, int, int]:
        """What the worker gets: the page, the bell that we ring, the bell that it rings."""
        return self.fd, self.orders_fd, self.bell_fd

    def give(self, order: Order, kernel_limit_ns: int) -> None:
        """Writes an order and rings the worker."""
        words = self._words
        words[_ORDER_FLAGS] = _RUN * order.run | _CONTENDED * order.contended | _WATCH * order.watch
        words[_ALLOWANCE] = order.allowance_bytes
        words[_STORE] = order.store_bytes
        words[_SPILL] = order.spill_bytes
        words[_KERNEL_LIMIT] = kernel_limit_ns
        words[_DENIED_WANT] = order.denied_want
        words[_EPOCH] += 1
        os.eventfd_write(self.orders_fd, 1)

    def heard(self) -> None:
        """The worker's bell was heard."""
        try:
            os.eventfd_read(self.bell_fd)
        except BlockingIOError:
            pass

    def report(self, now_ns: int) -> Report:
        """What the worker says of itself; ``now_ns`` is time.monotonic_ns()."""
        words = self._words
        # First of all: what it says of its memory below is then at least as new as the order that it acknowledges.
        accepted = words[_ACCEPTED]
        flags = words[_REPORT_FLAGS]
        # Looked at on both sides of the resident bytes: what moves just now may count twice, never not at all.
        swapped = self._bytes(_SWAPPED)
        resident = self._bytes(_RESIDENT)
        want, wanted = words[_WANT_NUMBER], self._bytes(_WANTED)
        if want != words[_WANT_NUMBER]:  # a new one begins just now; its bell follows
            want, wanted = words[_WANT_NUMBER], 0
        return Report(
            waiting=bool(flags & _WAITING),
            busy=self._account.is_busy(self._slot),
            busy_ns=self._account.busy_ns(self._slot, now_ns),
            swapped_bytes=max(swapped, self._bytes(_SWAPPED)),
            resident_bytes=resident,
            stored_bytes=self._bytes(_STORED),
            spilled_bytes=self._bytes(_SPILLED),
            fixed_bytes=self._bytes(_FIXED),
            wanted_bytes=wanted,
            want_number=want,
            allowance_bytes=accepted,
            stopped=bool(flags & _STOPPED),
            swap_failed=bool(flags & _SWAP_FAILED),
        )

    @property
    def resident_bytes(self) -> int:
        """Its memory on the GPU."""
        return self._bytes(_RESIDENT)

    @property
    def swapped_bytes(self) -> int:
        """Its memory on the host."""
        return self._bytes(_SWAPPED)

    @property
    def spilled_bytes(self) -> int:
        """Room that it takes on disk."""
        return self._bytes(_SPILLED)

    @property
    def swaps(self) -> Swaps:
        """What was ever swapped."""
        words = self._words
        return Swaps(words[_SWAPPED_OUT], words[_SWAPPED_IN], words[_SWAP_OUT_NS], words[_SWAP_IN_NS])

    @property
    def waited_ns(self) -> int:
        """For how long its client had to wait, of waits that are over."""
        return self._words[_WAITED_NS]

    def _bytes(self, word: int) -> int:
        return min(self._words[word], MOST_BYTES)

    def close(self) -> None:
        """Gives everything back; may be called twice."""
        if self.fd >= 0:
            self._words.release()
            self._map.close()
            for fd in self.fds:
                os.close(fd)
            self.fd = -1
