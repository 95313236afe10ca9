"""The process at the other end of a Unix connection, as the kernel knows it: its ids and a descriptor of it.

A process in a container has one id in its own process namespace and another in ours. Both come from the kernel, so
that nobody is shown under a false number; only where it cannot say (the process lives in a namespace that ours does
not contain) is the process's own word taken.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_SO_PEERPIDFD = 77  # Linux 6.5; the socket module has no name for it


@dataclass(frozen=True)
class Peer:
    """``pid`` in our namespace, ``own_pid`` in its own; 0 where the kernel cannot say."""

    pid: int
    own_pid: int
    in_inner_namespace: bool

    def open_pidfd(self, connection: socket.socket) -> int:
        """A pidfd of the process, the caller's to close; -1 where there can be none."""
        try:
            pidfd = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
            os.set_inheritable(pidfd, False)
            return pidfd
        except OSError:
            pass
        try:
            return os.pidfd_open(self.pid) if self.pid > 0 else -1
        except OSError:
            return -1


def peer_of(connection: socket.socket) -> Peer:
    """Who made the connection; blocks for no longer than a read of /proc takes."""
    pid, _, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    if pid <= 0:
        return Peer(0, 0, True)
    ids = _ids(pid)
    return Peer(pid, ids[-1] if ids else 0, len(ids) > 1)


def _ids(pid: int) -> list[int]:
    """The process's ids from our namespace to its own; empty if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    field = next((line for line in lines if line.startswith("NSpid:")), "NSpid:")
    return [int(number) for number in field.split()[1:]]
