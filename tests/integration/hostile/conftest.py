"""A daemon in its own process, with real workers on the driver that does nothing (benchmarks/null_driver.cpp)."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))  # pytest's importlib mode leaves it out

from hand_made_client import PATIENCE_S, HandMadeClient, Layout  # noqa: E402

from gpu_server.client import ControlClient, Event, EventKind, OpenedSlice  # noqa: E402
from gpu_server.driver_library import find_software_gpu  # noqa: E402
from gpu_server.handshake import WelcomeStatus  # noqa: E402
from gpu_server.runtime_folder import SESSION_SOCKET  # noqa: E402

HELLO_TIMEOUT_S = 1.0
SLICE_BYTES = 64 << 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = ""
    if importlib.util.find_spec("gpu_server._replay") is None:
        missing = "the replay core (gpu_server._replay) was not built"
    elif shutil.which("g++") is None:
        missing = "needs g++ for the driver that does nothing"
    for item in items:
        if missing and HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=missing))


def _cuda_include() -> Path:
    found = importlib.util.find_spec("nvidia.cu13")
    for folder in (found.submodule_search_locations if found else None) or ():
        if (Path(folder) / "include" / "cuda.h").is_file():
            return Path(folder) / "include"
    pytest.skip("cuda.h is missing: install the wheel nvidia-cuda-runtime")


def _compiled(folder: Path, target: str, source: Path, *options: str) -> Path:
    """Compiles one source, unless it is there already."""
    command = ["g++", "-std=c++20", "-O1", *options, str(source)]
    wanted = hashlib.sha256(source.read_bytes() + repr(command).encode()).hexdigest()
    path, stamp = folder / target, folder / f"{target}.inputs"
    with open(folder / f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test processes share it
        if not (path.exists() and stamp.exists() and stamp.read_text() == wanted):
            done = subprocess.run([*command, "-o", str(path)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            stamp.write_text(wanted)
    return path


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The protocol's layout as the C++ headers have it."""
    folder = tmp_path_factory.mktemp("layout")
    table = [str(ROOT / "kernel_hook/codegen/__main__.py"), str(ROOT / "kernel_hook/api/driver.api")]
    subprocess.run([sys.executable, *table, str(folder)], check=True)
    program = _compiled(folder, "layout", HERE / "layout.cpp", f"-I{ROOT / 'kernel_hook'}", f"-I{folder}")
    return Layout(json.loads(subprocess.run([program], check=True, capture_output=True).stdout))


@pytest.fixture(scope="session")
def null_driver(pytestconfig: pytest.Config) -> Path:
    """The driver that does nothing."""
    assert pytestconfig.cache is not None
    options = ["-shared", "-fPIC", "-fvisibility=hidden", f"-I{_cuda_include()}"]
    return _compiled(
        pytestconfig.cache.mkdir("null_driver"), "libcuda.so.1", ROOT / "benchmarks/null_driver.cpp", *options
    )


class Host:
    """The daemon and its clients."""

    def __init__(self, folder: Path, layout: Layout, driver: Path) -> None:
        self.layout = layout
        self.log = folder / "log"
        self.socket = folder / "gpu" / "control.sock"
        configuration = folder / "configuration.py"
        configuration.write_text(
            f"c.TFusionServer.hello_timeout_s = {HELLO_TIMEOUT_S}\nc.TFusionServer.software_library = {str(driver)!r}\n"
        )
        reader, writer = os.pipe()
        serve = [sys.executable, "-m", "gpu_server.cli", "serve", "--device", "software", "--memory", "1GiB"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    *serve,
                    "--socket",
                    str(self.socket),
                    "--config",
                    str(configuration),
                    "--ready-fd",
                    str(writer),
                ],
                pass_fds=(writer,),
                stderr=log,
                env={
                    **os.environ,
                    "XDG_CACHE_HOME": str(folder / "cache"),
                },
            )
        os.close(writer)
        with open(reader) as report:
            assert report.read() == "ready\n", self.words()
        self.control = ControlClient(self.socket)
        self.session_socket = self.socket.parent / SESSION_SOCKET
        self._clients: list[HandMadeClient] = []

    def words(self) -> str:
        return self.log.read_text()

    def open(self, vram_bytes: int = SLICE_BYTES) -> OpenedSlice:
        return self.control.open_slice("hostile", vram_bytes=vram_bytes)

    def connection(self) -> HandMadeClient:
        """A client that has said nothing."""
        self._clients.append(HandMadeClient(self.layout, self.session_socket))
        return self._clients[-1]

    def client(self, opened: OpenedSlice | None = None) -> HandMadeClient:
        """A client with a session, under a slice of its own unless one is given."""
        made = self.connection()
        welcome = made.hello(opened or self.open())
        assert welcome.status is WelcomeStatus.ACCEPTED, welcome.message
        return made

    def session_ended(self, slice_id: str) -> str:
        """Waits until the daemon tells that a session of the slice ended; its sentence."""
        return self.until(
            lambda: next(
                (
                    e.detail
                    for e in self._events()
                    if e.kind is EventKind.SESSION_ENDED and e.slice_id == slice_id
                ),
                "",
            )
        )

    def _events(self) -> list[Event]:
        """Everything remembered so far, up to the opening of a slice that is made for this."""
        marker = self.control.open_slice("marker", vram_bytes=2 << 20)
        seen: list[Event] = []
        with self.control.watch_events(replay=True) as events:
            for event in events:
                if event.slice_id == marker.slice_id:
                    break
                seen.append(event)
        self.control.close_slice(marker.slice_id, marker.token)
        return seen

    @staticmethod
    def until(condition: Callable[[], str]) -> str:
        """Waits for a condition that no event announces."""
        deadline = time.monotonic() + PATIENCE_S
        while not (result := condition()):
            assert time.monotonic() < deadline, "the condition did not come"
            time.sleep(0.02)
        return result

    def close_clients(self) -> None:
        for client in self._clients:
            client.close()
        self._clients = []
        for opened in self.control.list_slices():
            assert opened.slice_id  # they expire with the daemon

    def close(self) -> None:
        self.control.close()
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0, self.words()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, layout: Layout, null_driver: Path) -> Iterator[Host]:
    one = Host(tmp_path_factory.mktemp("host"), layout, null_driver)
    yield one
    one.close()


@pytest.fixture(scope="module")
def software_daemon_of_hosts(tmp_path_factory: pytest.TempPathFactory, layout: Layout) -> Iterator[Host]:
    one = Host(tmp_path_factory.mktemp("software-host"), layout, find_software_gpu())
    yield one
    one.close()


@pytest.fixture
def software_host(software_daemon_of_hosts: Host) -> Iterator[Host]:
    """As `host`, on the software GPU: for what the driver that does nothing does not have."""
    yield software_daemon_of_hosts
    software_daemon_of_hosts.close_clients()
    assert software_daemon_of_hosts.process.poll() is None, software_daemon_of_hosts.words()


@pytest.fixture
def host(daemon: Host) -> Iterator[Host]:
    """The daemon; the test's clients are closed at its end, and the daemon is still there."""
    yield daemon
    daemon.close_clients()
    assert daemon.process.poll() is None, daemon.words()
