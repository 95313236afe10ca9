"""Getting a session, and what comes with it: the token, the handshake's time, the two descriptors and their seals."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
from typing import Any

import pytest

from gpu_server.client import EventKind
from gpu_server.handshake import HELLO, WelcomeStatus

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE = 1, 2, 4, 8


def test_a_wrong_token_gets_no_session(host: Any) -> None:
    opened, other = host.open(), host.open()
    for token in ("", "0" * len(opened.token), opened.token[:-1], opened.token + "0", other.token):
        client = host.connection()
        welcome = client.hello(opened, token)
        assert welcome.status is WelcomeStatus.WRONG_TOKEN
        assert welcome.message.endswith(".")
        assert (welcome.shared_bytes, welcome.host_arena_bytes, client.descriptors) == (0, 0, [])
        assert client.ended()
    assert host.control.list_sessions(opened.slice_id) == []


def test_a_slice_that_is_none_is_refused_like_a_wrong_token(host: Any) -> None:
    opened = host.open()
    wrong = host.connection().hello(opened, "0" * 32)
    host.control.close_slice(opened.slice_id, opened.token)
    gone = host.connection().hello(opened)
    assert (gone.status, gone.message) == (wrong.status, wrong.message)


@pytest.mark.parametrize("said", [b"", b"TFUSION\0", HELLO.pack(b"TFUSION\0", 1, 1, b"", b"", b"")[:-1]])
def test_a_half_open_handshake_is_dropped(said: bytes, host: Any) -> None:
    client = host.connection()
    client.socket.sendall(said)
    assert client.ended()
    assert host.client().ask("ContextSynchronize") == 0


def test_nonsense_instead_of_a_hello_is_refused(host: Any) -> None:
    client = host.connection()
    client.socket.sendall(b"GET / HTTP/1.1\r\n".ljust(HELLO.size, b"x"))
    data = client.socket.recv(4096)
    assert b"did not begin as a tfusion client does" in data
    assert client.ended()


def shared_memories_held() -> int:
    """How many descriptors of a server's memory this process has; gRPC's threads open and close others meanwhile."""
    held = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            held += "memfd:tfusion" in os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue  # closed since it was listed
    return held


def test_exactly_two_descriptors_come_with_the_welcome(host: Any) -> None:
    client = host.connection()
    before = shared_memories_held()
    welcome = client.hello(host.open())
    assert len(client.descriptors) == 2
    assert shared_memories_held() == before + 2 + 1  # and mmap's own
    names = [os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in client.descriptors]
    assert names == ["/memfd:tfusion-session (deleted)", "/memfd:tfusion-host-arena (deleted)"]
    sizes = [os.fstat(descriptor).st_size for descriptor in client.descriptors]
    assert sizes == [welcome.shared_bytes, welcome.host_arena_bytes]
    assert sizes == [client.layout["shared_bytes"], client.layout["host_arena_bytes"]]


def test_neither_memory_can_be_resized_or_sealed_otherwise(host: Any) -> None:
    """A client that shrank it would kill the worker with SIGBUS."""
    client = host.client()
    for descriptor in client.descriptors:
        size = os.fstat(descriptor).st_size
        assert fcntl.fcntl(descriptor, F_GET_SEALS) == SEAL_SEAL | SEAL_SHRINK | SEAL_GROW
        for other in (0, 4096, size - 4096, size + 4096):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, other)
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(descriptor, F_ADD_SEALS, SEAL_WRITE)
    assert client.ask("ContextSynchronize") == 0


def test_memory_punched_away_is_zeros_and_no_crash(host: Any) -> None:
    """Holes need no seal to be made: the worker reads zeros, which are no command."""
    opened = host.open()
    client = host.client(opened)
    client.ask("ContextSynchronize")
    libc = ctypes.CDLL(None, use_errno=True)
    punch_hole_keep_size = 3
    for descriptor in client.descriptors:
        size = ctypes.c_long(os.fstat(descriptor).st_size)
        assert libc.fallocate(descriptor, punch_hole_keep_size, ctypes.c_long(0), size) == 0
    assert client.ended()
    assert "the ring's head is not ahead of its tail" in host.session_ended(opened.slice_id)


def test_a_word_on_the_connection_ends_the_session(host: Any) -> None:
    opened = host.open()
    client = host.client(opened)
    client.socket.sendall(b"x")
    assert client.ended()
    assert host.session_ended(opened.slice_id) == "The process is gone."


def test_descriptors_sent_by_a_client_are_not_taken(host: Any) -> None:
    opened = host.open()
    client = host.connection()
    reader, writer = os.pipe()
    hello = HELLO.pack(b"TFUSION\0", 1, os.getpid(), opened.slice_id.encode(), opened.token.encode(), b"")
    socket.send_fds(client.socket, [hello], [writer])
    os.close(writer)
    # Nobody holds the other end: the pipe is at its end as soon as the daemon has read the message.
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_killed_connection_frees_the_session(host: Any) -> None:
    opened = host.open()
    client = host.client(opened)
    client.close()
    assert host.session_ended(opened.slice_id) == "The process is gone."
    kinds = [e.kind for e in host._events() if e.slice_id == opened.slice_id]
    assert kinds == [EventKind.SLICE_OPENED, EventKind.SESSION_STARTED, EventKind.SESSION_ENDED]
