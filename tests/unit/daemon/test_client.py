"""The control client: typed errors with the daemon's sentences, leases that hold, an embedded daemon if none runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_server import client as client_module
from gpu_server.client import (
    ControlClient,
    InvalidRequest,
    LeaseState,
    NoCapacity,
    ServerUnreachable,
    SliceLease,
    SliceNotFound,
    TFusionError,
    WrongToken,
    connect,
)
from gpu_server.events import EventKind
from gpu_server.runtime_folder import LOCK_FILE, is_alive

StartDaemon = Callable[..., Awaitable[Any]]


async def test_errors_arrive_as_types_with_the_daemons_sentence(start_daemon: StartDaemon) -> None:
    d = await start_daemon(memory="4GiB")
    opened = await d.open(3 << 30, "the big one")
    with pytest.raises(NoCapacity, match=r'1\.0 GiB of 4\.0 GiB are free.*"the big one" \(3\.0 GiB\)'):
        await d.open(2 << 30)
    with pytest.raises(InvalidRequest, match=r"the GPU has at most 4\.0 GiB"):
        await d.open(5 << 30)
    with pytest.raises(InvalidRequest, match="cannot be asked for"):
        await d.open(-1)
    with pytest.raises(WrongToken):
        await d.do(d.client.renew_slice, opened.slice_id, "0" * 64)
    with pytest.raises(SliceNotFound):
        await d.do(d.client.close_slice, "no such slice", opened.token)
    await d.do(d.client.close_slice, opened.slice_id, opened.token)
    with pytest.raises(SliceNotFound):
        await d.do(d.client.close_slice, opened.slice_id, opened.token)


async def test_lists_carry_what_was_asked_for(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.do(
        d.client.open_slice, "lab", vram_bytes=1 << 24, share=2.5, owner="ada", kernel_id="kernel-1"
    )
    (s,) = await d.do(d.client.list_slices)
    assert (s.slice_id, s.name, s.owner, s.kernel_id, s.share) == (
        opened.slice_id,
        "lab",
        "ada",
        "kernel-1",
        2.5,
    )
    assert s.gpu_uuid == opened.gpu.uuid
    assert 0 < s.expires_in_s <= 60
    assert opened.token not in repr(opened)


async def test_events_are_watched_from_the_moment_the_call_returns(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    await d.open(name="before")
    stream = await d.do(d.client.watch_events)
    replayed = await d.do(d.client.watch_events, replay=True)
    opened = await d.open(name="after")
    assert '"after"' in (await d.do(next, iter(stream))).detail
    events = iter(replayed)
    assert '"before"' in (await d.do(next, events)).detail
    last = await d.do(next, events)
    assert (last.kind, last.slice_id, last.sequence) == (EventKind.SLICE_OPENED, opened.slice_id, 2)
    stream.close()
    assert await d.do(list, stream) == []
    await d.until(lambda: d.daemon.server.events.watchers == 1)
    await d.daemon.close()
    assert await d.do(list, replayed) == []


async def test_a_lease_keeps_its_slice_beyond_its_time_to_live(start_daemon: StartDaemon) -> None:
    d = await start_daemon(slice_ttl_s=0.6)
    lease = await d.do(SliceLease.open, d.client, "held", vram_bytes=1 << 24)
    idle = await d.open(name="idle")
    await d.until(lambda: d.details(EventKind.SLICE_EXPIRED))
    assert [s.name for s in d.daemon.server.registry.slices()] == ["held"]
    assert d.daemon.server.registry.find(idle.slice_id) is None
    await asyncio.gather(*(d.do(lease.close) for _ in range(4)))
    assert lease.state is LeaseState.CLOSED
    assert d.daemon.server.registry.empty()


async def test_a_lost_lease_says_so_once(start_daemon: StartDaemon) -> None:
    d = await start_daemon(slice_ttl_s=0.6)
    lost: list[TFusionError] = []
    told = threading.Event()

    def on_lost(error: TFusionError) -> None:
        lost.append(error)
        told.set()

    lease = await d.do(SliceLease.open, d.client, "held", vram_bytes=1 << 24, on_lost=on_lost)
    await d.do(d.client.close_slice, lease.opened.slice_id, lease.opened.token)
    assert await d.do(told.wait, 30)
    assert lease.state is LeaseState.LOST
    await d.do(lease.close)
    assert [type(error) for error in lost] == [SliceNotFound]


async def test_a_lease_is_lost_when_the_daemon_stays_away(start_daemon: StartDaemon) -> None:
    d = await start_daemon(slice_ttl_s=0.5)
    told = threading.Event()
    lease = await d.do(SliceLease.open, d.client, "held", vram_bytes=1 << 24, on_lost=lambda _: told.set())
    await d.daemon.close()
    assert await d.do(told.wait, 60)
    assert lease.state is LeaseState.LOST


async def test_the_lease_is_closed_when_its_block_fails(start_daemon: StartDaemon) -> None:
    d = await start_daemon()

    def fail() -> None:
        with SliceLease.open(d.client, "held", vram_bytes=1 << 24):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await d.do(fail)
    assert d.daemon.server.registry.empty()


def test_a_configured_daemon_that_is_not_there_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "start_embedded", lambda path: pytest.fail("started one"))
    with pytest.raises(ServerUnreachable, match="does not answer"):
        connect(tmp_path / "none.sock")
    monkeypatch.setenv("TFUSION_SERVER", str(tmp_path / "none.sock"))
    with pytest.raises(ServerUnreachable, match="does not answer"):
        connect()


def test_a_socket_that_accepts_and_says_nothing_runs_into_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "DEADLINE_S", 0.3)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        client = ControlClient(tmp_path / "mute.sock")
        with pytest.raises(ServerUnreachable):
            client._call(client._stub.ListGpus, client_module.pb.ListGpusRequest(), 0.3)
        client.close()
        with pytest.raises(ServerUnreachable, match="was closed"):
            client.list_gpus()


def test_a_default_folder_of_somebody_else_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "tfusion"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(TFusionError, match="open to other users"):
        connect()


@pytest.fixture
def default_folder(tmp_path: Path) -> Iterator[Path]:
    """The default folder; whichever daemon holds it at the end is ended."""
    folder = tmp_path / "run" / "tfusion"
    yield folder
    if (folder / LOCK_FILE).exists() and is_alive(folder / "control.sock"):
        pid = int((folder / LOCK_FILE).read_text())
        pidfd = os.pidfd_open(pid)
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        import select

        assert select.select([pidfd], [], [], 30)[0], "the daemon did not end"
        os.close(pidfd)
        assert not (folder / "control.sock").exists()


def test_without_a_daemon_an_embedded_one_is_started_once_for_all(default_folder: Path) -> None:
    clients: list[ControlClient] = []
    errors: list[BaseException] = []

    def one() -> None:
        try:
            clients.append(connect())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    opened = clients[0].open_slice("shared", vram_bytes=1 << 24)
    for client in clients:
        assert [s.slice_id for s in client.list_slices()] == [opened.slice_id]
        client.close()
    pid = int((default_folder / LOCK_FILE).read_text())
    assert os.getsid(pid) != os.getsid(0)
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert int(parent) != os.getpid()


def test_an_embedded_daemon_that_cannot_start_says_why(
    default_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFUSION_SOFTWARE_GPU_LIB", str(tmp_path / "missing.so"))
    with pytest.raises(
        ServerUnreachable, match=r"could not start: TFUSION_SOFTWARE_GPU_LIB is .*missing\.so"
    ):
        connect()


def test_an_embedded_daemon_ends_itself_when_nobody_needs_it(default_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config" / "tfusion" / "tfusion_server_config.py"
    config.parent.mkdir(parents=True)
    config.write_text("c.TFusionServer.embedded_idle_s = 1.0\nc.TFusionServer.slice_ttl_s = 30.0\n")
    with connect() as client:
        pidfd = os.pidfd_open(int((default_folder / LOCK_FILE).read_text()))
        opened = client.open_slice("s", vram_bytes=1 << 24)
        client.close_slice(opened.slice_id, opened.token)
    import select

    assert select.select([pidfd], [], [], 60)[0]
    os.close(pidfd)
    assert not (default_folder / "control.sock").exists()
    connect().close()  # and the next one starts in its place


def test_a_killed_daemons_sockets_are_in_nobodys_way(default_folder: Path) -> None:
    connect().close()
    pid = int((default_folder / LOCK_FILE).read_text())
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    import select

    assert select.select([pidfd], [], [], 30)[0]
    os.close(pidfd)
    assert (default_folder / "control.sock").exists()
    connect().close()
    assert int((default_folder / LOCK_FILE).read_text()) != pid
