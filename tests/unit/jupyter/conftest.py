"""A real daemon without a GPU behind it, and kernelspecs that point to it.

Slices are opened, renewed and closed as always; what stands in for the software GPU and the hook are files that are
never asked to do anything, so these tests need nothing that was compiled.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from gpu_server.client import ControlClient, connect
from gpu_server.errors import ServerUnreachable
from jupyter_tfusion.kernelspec import install_kernelspec

START_TIMEOUT_S = 60


class Daemon:
    """A `tfusion serve` of 1 GiB in a folder of its own, and a client of it."""

    def __init__(self, folder: Path, slice_ttl_s: float) -> None:
        folder.mkdir(mode=0o700)
        self.socket = folder / "control.sock"
        self.log = folder / "log"
        stand_in = folder / "software-gpu.so"
        stand_in.touch()
        config = folder / "config.py"
        config.write_text(
            f"c.TFusionServer.software_library = {str(stand_in)!r}\n"
            f"c.TFusionServer.image_cache_folder = {str(folder / 'images')!r}\n"
            f"c.TFusionServer.slice_ttl_s = {slice_ttl_s}\n"
            "c.TFusionServer.warm_workers = 0\n"
        )
        serve = [sys.executable, "-m", "gpu_server.cli", "serve", "--device", "software"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*serve, "--socket", str(self.socket), "--config", str(config)], stdout=log, stderr=log
            )
        self.client = self._connect()

    def _connect(self) -> ControlClient:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return connect(self.socket)
            except ServerUnreachable:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the daemon did not start: {self.log.read_text()}")
                time.sleep(0.02)

    def slice_ids(self) -> list[str]:
        return [row.slice_id for row in self.client.list_slices()]

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    started: list[Daemon] = []

    def start(slice_ttl_s: float = 60.0) -> Daemon:
        started.append(Daemon(tmp_path / f"daemon{len(started)}", slice_ttl_s))
        return started[-1]

    yield start
    for daemon in started:
        daemon.stop()


@pytest.fixture
def daemon(start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon()


@pytest.fixture(autouse=True)
def own_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's Jupyter is read or written, and no daemon of the user's is used."""
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        folder = tmp_path / variable.lower()
        folder.mkdir()
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TFUSION_SERVER", raising=False)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library that may be preloaded anywhere and does nothing there."""
    with Path("/proc/self/maps").open() as maps:
        path = next(Path(line.split()[-1]) for line in maps if "/libc.so" in line)
    monkeypatch.setenv("TFUSION_HOOK_LIB", str(path))
    return path


@pytest.fixture
def specs(tmp_path: Path) -> Callable[..., KernelSpecManager]:
    """Installs the vGPU kernelspec with the given settings; returns a manager that knows only that one."""

    def install(server: Path | str, vram: str = "256MiB", **settings: object) -> KernelSpecManager:
        install_kernelspec(prefix=str(tmp_path), server=str(server), vram=vram, **settings)
        return KernelSpecManager(
            kernel_dirs=[str(tmp_path / "share/jupyter/kernels")], ensure_native_kernel=False
        )

    return install


def eventually(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Returns once the condition holds; fails the test if it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {condition}")
        time.sleep(0.02)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., None]:
    return eventually
