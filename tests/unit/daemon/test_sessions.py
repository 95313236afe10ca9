"""Sessions from the socket's side: who gets a worker, who is refused, and what is left when one ends."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gpu_server.events import EventKind
from gpu_server.handshake import HELLO, Hello, WelcomeStatus

StartDaemon = Callable[..., Awaitable[Any]]


async def test_a_process_with_its_token_gets_a_worker_and_shared_memory(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open()
    peer, welcome = await d.connect(opened)
    assert (welcome.status, welcome.message) == (WelcomeStatus.ACCEPTED, "")
    assert len(peer.fds) == 2
    await d.until(lambda: d.details(EventKind.SESSION_STARTED))
    (session,) = await d.do(d.client.list_sessions)
    assert (session.client_pid, session.client_name, session.slice_id) == (
        os.getpid(),
        "test",
        opened.slice_id,
    )
    (listed,) = await d.do(d.client.list_slices)
    assert listed.sessions == 1


async def test_memory_is_one_account_for_all_processes_of_a_slice(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open(vram_bytes=3 << 20)
    first, _ = await d.connect(opened)
    second, _ = await d.connect(opened)
    answers = [await d.do(peer.ask, peer.ALLOCATE) for peer in (first, first, second, second)]
    assert answers == [b"y", b"y", b"y", b"n"]
    (listed,) = await d.do(d.client.list_slices)
    assert listed.used_bytes == 3 << 20
    (gpu,) = await d.do(d.client.list_gpus)
    assert (gpu.used_bytes, gpu.reserved_bytes) == (3 << 20, 3 << 20)
    assert sorted(s.used_bytes for s in await d.do(d.client.list_sessions)) == [1 << 20, 2 << 20]
    first.close()
    await d.until(lambda: d.details(EventKind.SESSION_ENDED))
    assert [await d.do(second.ask, second.ALLOCATE) for _ in range(3)] == [b"y", b"y", b"n"]


async def test_counters_of_a_session_reach_the_list(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    peer, _ = await d.connect(await d.open())
    await d.do(peer.ask, peer.ALLOCATE)
    sessions = d.daemon.server.sessions
    await d.until(lambda: [sessions.session_calls(s) for s in sessions.sessions()] == [1])
    assert [s.calls for s in await d.do(d.client.list_sessions)] == [1]


@pytest.mark.parametrize("slice_id", ["known", "unknown"])
async def test_a_wrong_token_and_an_unknown_slice_get_the_same_answer(
    start_daemon: StartDaemon, slice_id: str
) -> None:
    d = await start_daemon()
    opened = await d.open()
    peer = d.peer()
    if slice_id == "unknown":
        object.__setattr__(opened, "slice_id", "0123456789abcdef")
    peer.hello(opened, "0" * 64)
    welcome = await d.do(peer.welcome)
    assert welcome.status == WelcomeStatus.WRONG_TOKEN
    assert welcome.message.startswith("The GPU server does not know this slice")
    assert await d.do(peer.ended)
    assert peer.fds == []
    assert len(d.details(EventKind.SESSION_REFUSED)) == 1


async def test_a_full_slice_refuses_and_takes_again_when_one_ends(start_daemon: StartDaemon) -> None:
    d = await start_daemon(max_sessions_per_slice=2)
    opened = await d.open()
    first, _ = await d.connect(opened)
    await d.connect(opened)
    _, welcome = await d.connect(opened)
    assert welcome.status == WelcomeStatus.SLICE_FULL
    assert "already serves 2 processes" in welcome.message
    first.close()
    await d.until(lambda: d.details(EventKind.SESSION_ENDED))
    _, welcome = await d.connect(opened)
    assert welcome.status == WelcomeStatus.ACCEPTED


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n" * 17, bytes(HELLO.size), b"\xff" * HELLO.size])
async def test_what_is_no_hello_is_refused(start_daemon: StartDaemon, data: bytes) -> None:
    d = await start_daemon()
    peer = d.peer()
    await d.do(peer.socket.sendall, data[: HELLO.size])
    welcome = await d.do(peer.welcome)
    assert welcome.status == WelcomeStatus.BAD_HELLO
    assert await d.do(peer.ended)


async def test_more_than_a_hello_is_refused(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open()
    peer = d.peer()
    peer.socket.sendall(Hello(1, opened.slice_id, opened.token, "").pack() + b"more")
    assert (await d.do(peer.welcome)).status == WelcomeStatus.BAD_HELLO


async def test_a_hello_in_pieces_is_put_together(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open()
    peer = d.peer()
    packed = Hello(os.getpid(), opened.slice_id, opened.token, "slow").pack()
    for at in range(0, len(packed), 50):
        await d.do(peer.socket.sendall, packed[at : at + 50])
        await asyncio.sleep(0)
    assert (await d.do(peer.welcome)).status == WelcomeStatus.ACCEPTED


async def test_a_connection_that_says_nothing_is_dropped(start_daemon: StartDaemon) -> None:
    d = await start_daemon(hello_timeout_s=0.2)
    silent, partial = d.peer(), d.peer()
    partial.socket.sendall(b"TFUSION")
    assert await d.do(silent.ended)
    assert await d.do(partial.ended)
    assert d.daemon.listener.silent == 0


async def test_a_flood_of_silent_connections_keeps_nobody_out(start_daemon: StartDaemon) -> None:
    d = await start_daemon(max_pending_hellos=4, hello_timeout_s=3600)
    opened = await d.open()
    flood = [d.peer() for _ in range(40)]
    _, welcome = await d.connect(opened)
    assert welcome.status == WelcomeStatus.ACCEPTED
    assert d.daemon.listener.silent <= 4
    assert await d.do(flood[0].ended)


async def test_a_failing_gpu_is_told_to_the_process(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CORE", "cannot_open")
    d = await start_daemon()
    _, welcome = await d.connect(await d.open())
    assert welcome.status == WelcomeStatus.WORKER_FAILED
    assert "reports no GPU" in welcome.message
    assert "reports no GPU" in d.details(EventKind.WORKER_FAILED)[0]


async def test_an_error_of_the_gpu_ends_that_session_alone(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open()
    bad, _ = await d.connect(opened)
    good, _ = await d.connect(opened)
    bad.socket.sendall(bad.FAIL)
    assert await d.do(bad.ended)
    await d.until(lambda: d.details(EventKind.SESSION_ENDED))
    assert d.details(EventKind.SESSION_ENDED) == ["The GPU reported an error: CUDA_ERROR_ILLEGAL_ADDRESS"]
    assert await d.do(good.ask, good.ALLOCATE) == b"y"


@pytest.mark.parametrize("how", ["crash", "kill"])
async def test_a_worker_that_dies_gives_its_memory_back_and_is_reported(
    start_daemon: StartDaemon, how: str
) -> None:
    d = await start_daemon()
    opened = await d.open(vram_bytes=1 << 20)
    peer, _ = await d.connect(opened)
    assert await d.do(peer.ask, peer.ALLOCATE) == b"y"
    if how == "crash":
        peer.socket.sendall(peer.CRASH)
    else:
        os.kill((await d.do(d.client.list_sessions))[0].worker_pid, signal.SIGKILL)
    assert await d.do(peer.ended)
    await d.until(lambda: d.details(EventKind.SESSION_ENDED))
    number = signal.SIGSEGV if how == "crash" else signal.SIGKILL
    assert f"was killed by signal {int(number)} ({number.name})" in d.details(EventKind.SESSION_ENDED)[0]
    (listed,) = await d.do(d.client.list_slices)
    assert (listed.used_bytes, listed.sessions) == (0, 0)
    again, _ = await d.connect(opened)
    assert await d.do(again.ask, again.ALLOCATE) == b"y"


async def test_closing_a_slice_ends_its_sessions_before_it_returns(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open()
    peer, _ = await d.connect(opened)
    (session,) = await d.do(d.client.list_sessions)
    await d.do(d.client.close_slice, opened.slice_id, opened.token)
    with pytest.raises(ProcessLookupError):
        os.kill(session.worker_pid, 0)
    assert await d.do(peer.ended)
    assert d.details(EventKind.SESSION_ENDED) == ["The session was stopped: The slice was closed."]
    assert d.daemon.server.registry.empty()


async def test_a_worker_that_does_not_stop_is_killed(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CORE", "ignores_stop")
    d = await start_daemon(worker_stop_grace_s=0.1)
    opened = await d.open()
    await d.connect(opened)
    await d.do(d.client.close_slice, opened.slice_id, opened.token)
    assert d.details(EventKind.SESSION_ENDED) == [
        "The slice was closed. The worker was killed by signal 9 (SIGKILL)."
    ]


async def test_a_slice_that_nobody_renews_expires_with_its_sessions(start_daemon: StartDaemon) -> None:
    d = await start_daemon(slice_ttl_s=0.5)
    peer, welcome = await d.connect(await d.open())
    assert welcome.status == WelcomeStatus.ACCEPTED
    assert await d.do(peer.ended)
    await d.until(lambda: d.daemon.server.registry.empty())
    assert d.details(EventKind.SLICE_EXPIRED)
    assert d.details(EventKind.SESSION_ENDED) == ["The session was stopped: The slice has expired."]


async def test_a_session_that_waits_for_a_worker_is_refused_when_its_slice_ends(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CORE", "hangs")
    d = await start_daemon()
    opened = await d.open()
    peer = d.peer()
    peer.hello(opened)
    slices = d.daemon.server.registry
    await d.until(lambda: slices.find(opened.slice_id).slots)
    await d.do(d.client.close_slice, opened.slice_id, opened.token)
    welcome = await d.do(peer.welcome)
    assert welcome.status == WelcomeStatus.WRONG_TOKEN
    assert "was closed" in welcome.message


async def test_a_process_that_hung_up_costs_no_worker(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = await start_daemon(warm_workers=1)
    opened = await d.open()
    await d.until(lambda: all(pool.ready == 1 for pool in d.daemon.server.pools.values()))
    peer = d.peer()
    peer.hello(opened)
    peer.close()
    await d.until(lambda: d.details(EventKind.SESSION_REFUSED) or d.details(EventKind.SESSION_ENDED))
    await d.until(lambda: not d.daemon.server.registry.find(opened.slice_id).slots)


async def test_a_process_that_dies_while_its_child_holds_the_connection_loses_its_session(
    start_daemon: StartDaemon,
) -> None:
    d = await start_daemon()
    opened = await d.open()
    # The parent connects and dies; its child inherits the connection and lives on until its stdin ends.
    program = (
        "import os, socket, sys\n"
        "from gpu_server.handshake import *\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(Hello(os.getpid(), sys.argv[2], sys.argv[3], 'parent').pack())\n"
        "socket.recv_fds(s, WELCOME.size, 2)\n"
        "if os.fork(): os._exit(0)\n"
        "print(s.recv(1) == b'', flush=True)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, d.session_socket, opened.slice_id, opened.token, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"True\n"
    await process.communicate()
    await d.until(lambda: d.details(EventKind.SESSION_ENDED))
    assert d.details(EventKind.SESSION_ENDED) == ["The process is gone."]


async def test_many_processes_at_once_all_get_their_session(start_daemon: StartDaemon) -> None:
    d = await start_daemon(warm_workers=0, max_starting_workers=2)
    opened = await d.open()
    results = await asyncio.gather(*(d.connect(opened) for _ in range(6)))
    assert {welcome.status for _, welcome in results} == {WelcomeStatus.ACCEPTED}
    assert len({s.slot for s in d.daemon.server.sessions.sessions()}) == 6


async def test_a_stopping_daemon_answers_those_who_wait_and_leaves_nothing(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = await start_daemon()
    opened = await d.open()
    served, _ = await d.connect(opened)
    monkeypatch.setenv("FAKE_CORE", "hangs")
    await d.connect(opened)  # takes the last worker that was started before
    waiting = d.peer()
    waiting.hello(opened)
    await d.until(lambda: len(d.daemon.server.registry.find(opened.slice_id).slots) == 3)
    await d.daemon.close()
    assert (await d.do(waiting.welcome)).status == WelcomeStatus.STOPPING
    assert await d.do(served.ended)
    assert not d.daemon.control_socket.exists()
    assert not d.daemon.session_socket.exists()


async def test_the_sockets_are_the_owners_alone(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    for path in (d.daemon.control_socket, d.daemon.session_socket):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(d.daemon.control_socket.parent.stat().st_mode) == 0o700


async def test_no_descriptor_leaks_over_many_sessions(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open()

    async def one_round() -> int:
        ended = len(d.details(EventKind.SESSION_ENDED))
        peer, _ = await d.connect(opened)
        peer.close()
        await d.connect(opened, "0" * 64)
        d.peers.pop().close()
        await d.until(lambda: len(d.details(EventKind.SESSION_ENDED)) > ended)
        await d.until(lambda: all(pool.ready == 1 for pool in d.daemon.server.pools.values()))
        return len(os.listdir("/proc/self/fd"))

    await one_round()
    before = await one_round()
    for _ in range(3):
        after = await one_round()
    assert after <= before


async def test_a_worker_ends_when_the_client_is_killed(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import os, socket, sys\n"
        "from gpu_server.handshake import *\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(Hello(os.getpid(), sys.argv[2], sys.argv[3], 'p').pack())\n"
        "socket.recv_fds(s, WELCOME.size, 2); print('in', flush=True); s.recv(1)\n",
        d.session_socket,
        opened.slice_id,
        opened.token,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"in\n"
    (session,) = d.daemon.server.sessions.sessions()
    process.kill()
    await process.communicate()
    await asyncio.wait_for(asyncio.shield(session.worker.exited), 30)
    await d.until(lambda: d.details(EventKind.SESSION_ENDED))
    assert d.details(EventKind.SESSION_ENDED) == ["The process is gone."]
