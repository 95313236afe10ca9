"""Which process is at the other end of a connection, also when it lives in a process namespace of its own."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_server.peer import peer_of

CLIENT = """
import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(str(os.getpid()).encode() + b"\\n")
connection.recv(1)
"""


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        listening.listen()
        listening.settimeout(60)
        yield listening


def accepted(listener: socket.socket, client: subprocess.Popen[bytes]) -> tuple[socket.socket, int]:
    """The client's connection, and its process id as it sees it."""
    connection, _ = listener.accept()
    with connection.makefile() as said:
        return connection, int(said.readline())


def test_a_client_of_our_namespace_has_one_id(listener: socket.socket) -> None:
    with subprocess.Popen([sys.executable, "-c", CLIENT, listener.getsockname()]) as client:
        connection, said = accepted(listener, client)
        peer = peer_of(connection)
        assert (peer.pid, peer.own_pid, peer.in_inner_namespace) == (client.pid, said, False)
        pidfd = peer.open_pidfd(connection)
        assert select.select([pidfd], [], [], 0)[0] == []
        connection.close()
        assert select.select([pidfd], [], [], 60)[0] == [pidfd]  # it ended
        os.close(pidfd)


def test_a_client_of_an_inner_namespace_has_an_id_here_and_one_there(listener: socket.socket) -> None:
    unshare = shutil.which("unshare")
    namespace = [unshare or "", "--user", "--map-root-user", "--pid", "--fork"]
    if unshare is None or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody make process namespaces")
    command = [*namespace, sys.executable, "-c", CLIENT, listener.getsockname()]
    with subprocess.Popen(command) as client:
        connection, said = accepted(listener, client)
        peer = peer_of(connection)
        assert said == 1
        assert (peer.own_pid, peer.in_inner_namespace) == (1, True)
        assert Path(f"/proc/{peer.pid}/cmdline").read_bytes().split(b"\0")[0] == sys.executable.encode()
        connection.close()
