"""Daemons for tests: the real thing in this process, with workers whose replay core is a double."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_server.client import ControlClient, OpenedSlice
from gpu_server.config import load_config
from gpu_server.daemon import Daemon
from gpu_server.handshake import WELCOME, Hello, Welcome

FAKE_WORKER = (sys.executable, str(Path(__file__).with_name("fake_core_worker.py")))
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's folders or daemon."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CUDA_VISIBLE_DEVICES", "TFUSION_SERVER", "TFUSION_TOKEN", "TFUSION_HOOK_LIB", "FAKE_CORE"):
        monkeypatch.delenv(name, raising=False)
    library = tmp_path / "software-libcuda.so.1"
    library.write_bytes(b"not loaded by the double")
    monkeypatch.setenv("TFUSION_SOFTWARE_GPU_LIB", str(library))


class Peer:
    """A client process's connection, as the hook would make it; the commands are the double's."""

    ALLOCATE, FAIL, CRASH = b"a", b"f", b"c"
    STEP_BYTES = 1 << 20

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(path)
        self.fds: list[int] = []

    def hello(self, opened: OpenedSlice, token: str | None = None, name: str = "test") -> None:
        self.socket.sendall(
            Hello(os.getpid(), opened.slice_id, opened.token if token is None else token, name).pack()
        )

    def welcome(self) -> Welcome:
        data, self.fds, _, _ = socket.recv_fds(self.socket, WELCOME.size, 4)
        while len(data) < WELCOME.size:
            more = self.socket.recv(WELCOME.size - len(data))
            assert more, "the connection ended before a whole Welcome"
            data += more
        return Welcome.unpack(data)

    def ask(self, command: bytes) -> bytes:
        self.socket.sendall(command)
        return self.socket.recv(1)

    def ended(self) -> bool:
        """Waits for the end of the connection."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Running:
    """A daemon in this process, and what clients do with it in threads."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.client = ControlClient(daemon.control_socket)
        self.peers: list[Peer] = []

    @property
    def session_socket(self) -> str:
        return str(self.daemon.session_socket)

    def details(self, kind: int) -> list[str]:
        return [e.detail for e in self.daemon.server.events.remembered() if e.kind == kind]

    async def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(function, *args, **kwargs)

    async def open(self, vram_bytes: int = 1 << 24, name: str = "a slice") -> OpenedSlice:
        return await self.do(self.client.open_slice, name, vram_bytes=vram_bytes)

    def peer(self) -> Peer:
        self.peers.append(Peer(self.session_socket))
        return self.peers[-1]

    async def connect(self, opened: OpenedSlice, token: str | None = None) -> tuple[Peer, Welcome]:
        peer = self.peer()
        peer.hello(opened, token)
        return peer, await self.do(peer.welcome)

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Waits for a condition that no event announces; fails after PATIENCE_S."""

        async def wait() -> Any:
            while not (result := condition()):
                await asyncio.sleep(0.01)
            return result

        return await asyncio.wait_for(wait(), PATIENCE_S)

    async def close(self) -> None:
        self.client.close()
        await self.daemon.close()
        for peer in self.peers:
            peer.close()


StartDaemon = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start_daemon(tmp_path: Path) -> AsyncIterator[StartDaemon]:
    """Starts daemons with the double; options are traits of TFusionServer."""
    running: list[Running] = []

    async def start(**options: Any) -> Running:
        config = load_config(
            None, {"device": "software", "socket": str(tmp_path / "d" / "control.sock"), **options}
        )
        daemon = Daemon(config, FAKE_WORKER)
        await daemon.start()
        running.append(Running(daemon))
        return running[-1]

    yield start
    for each in running:
        await each.close()
