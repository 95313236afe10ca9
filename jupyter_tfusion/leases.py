"""The slices that kernels of this process hold: written by their provisioners, read by the server extension.

A record is kept for as long as the kernel may still be looked at: one whose slice is gone, or that died, says why.
Holds the slices' tokens, so it never leaves the process. Thread-safe: leases are lost on their heartbeats' threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from gpu_server.client import SliceLease


@dataclass(frozen=True)
class Record:
    """A kernel's slice. ``launched_at``: when its process was last started (time.monotonic()). ``ended``: why the slice
    is gone, empty while it is there."""

    kernel_id: str
    lease: SliceLease
    launched_at: float
    ended: str = ""

    @property
    def slice_id(self) -> str:
        """The slice's id."""
        return self.lease.opened.slice_id


class Leases:
    """All records of this process, by kernel id."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._lock = threading.Lock()  # guards _records and _listeners; never held while a listener is called
        self._listeners: list[Callable[[], None]] = []

    def launched(self, kernel_id: str, lease: SliceLease) -> None:
        """A process is about to be started under the slice, the kernel's first or another one after a restart."""
        with self._lock:
            self._records[kernel_id] = Record(kernel_id, lease, time.monotonic())
        self._tell()

    def ended(self, kernel_id: str, lease: SliceLease, why: str) -> None:
        """The slice is gone, though the kernel has not been shut down."""
        with self._lock:
            record = self._records.get(kernel_id)
            if record is None or record.lease is not lease or record.ended:
                return
            self._records[kernel_id] = replace(record, ended=why)
        self._tell()

    def forget(self, kernel_id: str, lease: SliceLease) -> None:
        """The kernel is gone, or has another slice."""
        with self._lock:
            record = self._records.get(kernel_id)
            if record is None or record.lease is not lease:
                return
            del self._records[kernel_id]
        self._tell()

    def find(self, kernel_id: str) -> Record | None:
        """The kernel's record, if it has one."""
        with self._lock:
            return self._records.get(kernel_id)

    def all(self) -> list[Record]:
        """All records."""
        with self._lock:
            return list(self._records.values())

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls ``listener`` after every change, on whatever thread made it; the answer ends that."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return stop

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


LEASES = Leases()
