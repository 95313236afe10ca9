"""The daemon as a process: how it starts, what signals do to it, and what is left however it dies."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_server.client import ControlClient
from gpu_server.handshake import WELCOME, Hello

Start = Callable[..., "Process"]


class Process:
    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = folder / "control.sock"
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("fake_daemon.py")),
                *("--device", "software", "--socket", str(self.socket), "--ready-fd", str(writer)),
                *options,
            ],
            pass_fds=(writer,),
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        with open(reader) as report:
            self.report = report.read()

    def client(self) -> ControlClient:
        return ControlClient(self.socket)

    def ends(self) -> int:
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def one(*options: str) -> Process:
        started.append(Process(tmp_path / "d", *options))
        return started[-1]

    yield one
    for each in started:
        each.process.kill()
        each.process.communicate()


def session(daemon: Process) -> tuple[int, int, os.PathLike[str] | object]:
    """Opens a session; gives pidfds of its worker, and the connection."""
    import socket

    with daemon.client() as client:
        opened = client.open_slice("s", vram_bytes=1 << 24)
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(opened.session_socket)
        peer.sendall(Hello(os.getpid(), opened.slice_id, opened.token, "t").pack())
        _, fds, _, _ = socket.recv_fds(peer, WELCOME.size, 2)
        for fd in fds:
            os.close(fd)
        (listed,) = client.list_sessions()
        return listed.worker_pid, os.pidfd_open(listed.worker_pid), peer


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pidfd: int) -> bool:
    try:
        return bool(select.select([pidfd], [], [], 30)[0])
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_its_workers_and_removes_its_sockets(
    start: Start, number: signal.Signals
) -> None:
    daemon = start()
    assert daemon.report == "ready\n"
    _, worker, peer = session(daemon)
    with peer:
        daemon.process.send_signal(number)
        assert daemon.ends() == 0
        assert gone(worker)
        assert peer.recv(1) == b""
    assert sorted(p.name for p in daemon.folder.iterdir()) == ["daemon.lock"]


def test_killed_it_leaves_no_worker_and_the_next_one_starts(start: Start) -> None:
    daemon = start()
    worker_pid, worker, peer = session(daemon)
    with peer:
        workers = [worker, *(os.pidfd_open(pid) for pid in children(daemon.process.pid) if pid != worker_pid)]
        daemon.process.kill()
        daemon.ends()
        assert all(gone(pidfd) for pidfd in workers)
    assert daemon.socket.exists()
    second = start()
    assert second.report == "ready\n"
    with second.client() as client:
        assert client.list_slices() == []


def test_a_second_daemon_in_the_same_folder_is_refused_and_the_first_goes_on(start: Start) -> None:
    first = start()
    second = start()
    assert second.ends() == 1
    assert f"already runs in {first.folder} (process {first.process.pid})" in second.report
    assert second.report.startswith("error: ")
    with first.client() as client:
        assert len(client.list_gpus()) == 1


def test_an_embedded_second_one_yields_to_the_first(start: Start) -> None:
    first = start()
    second = start("--embedded")
    assert second.report == "ready\n"
    assert second.ends() == 0
    with first.client() as client:
        assert len(client.list_gpus()) == 1


def test_blocked_signals_are_not_inherited(start: Start) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        daemon = start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    daemon.process.terminate()
    assert daemon.ends() == 0


def test_a_worker_that_loses_its_daemon_while_it_waits_ends(start: Start) -> None:
    daemon = start()
    with daemon.client() as client:
        client.list_gpus()
    pids: list[int] = []
    while not pids:
        pids = children(daemon.process.pid)
    pidfds = [os.pidfd_open(pid) for pid in pids]
    daemon.process.kill()
    daemon.ends()
    assert all(gone(pidfd) for pidfd in pidfds)


def test_workers_do_not_hold_the_daemons_lock_or_sockets(start: Start) -> None:
    daemon = start()
    worker_pid, worker, peer = session(daemon)
    with peer:
        targets = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{worker_pid}/fd")]
        assert not [target for target in targets if "daemon.lock" in target]
    os.close(worker)


def test_under_a_slice_it_refuses_to_start(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFUSION_TOKEN", "x")
    daemon = start()
    assert daemon.ends() == 1
    assert "runs under a vGPU slice" in daemon.report
