"""Daemons in processes of their own with real workers on the software GPU, and guests under `tfusion run`."""

from __future__ import annotations

import importlib.util
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import kernel_hook
from gpu_server.client import ControlClient, OpenedSlice
from gpu_server.driver_library import find_software_gpu
from gpu_server.errors import TFusionError

PATIENCE_S = 60.0


def _missing() -> str:
    if importlib.util.find_spec("gpu_server._replay") is None:
        return "the replay core (gpu_server._replay) was not built"
    try:
        find_software_gpu()
        kernel_hook.library_path()
    except (TFusionError, kernel_hook.HookMissing) as error:
        return str(error)
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if reason := _missing():
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("TFUSION_SERVER", raising=False)


def until(condition: Callable[[], object]) -> object:
    """Waits for a condition that no event announces."""
    deadline = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, "the condition did not come"
        time.sleep(0.02)
    return result


def gone(pid: int) -> bool:
    """Waits for the end of a process that need not be ours."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], PATIENCE_S)[0])
    finally:
        os.close(pidfd)


class Guest:
    """guest.py under whatever ``under`` starts it with."""

    def __init__(self, under: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [*under, sys.executable, str(Path(__file__).with_name("guest.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=env,
            )

    def ask(self, command: str) -> str:
        """One answer: "ok ..." or "error <CUresult>"."""
        self.say(command)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], f"no answer to {command}"
        answer = self.process.stdout.readline().strip()
        assert answer, f"the guest ended at '{command}': {self.words()}"
        return answer

    def say(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def words(self) -> str:
        return self._log.read_text()

    def end(self) -> int:
        """Ends its input; gives its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


class Host:
    """A daemon process and its guests."""

    until = staticmethod(until)
    gone = staticmethod(gone)

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self.socket = folder / "control.sock"
        self.log = folder.with_suffix(".log")
        self._options = options
        self._guests: list[Guest] = []
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        reader, writer = os.pipe()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gpu_server.cli", "serve", "--device", "software"),
                    *("--socket", str(self.socket), "--ready-fd", str(writer), *self._options),
                ],
                pass_fds=(writer,),
                stderr=log,
            )
        os.close(writer)
        with open(reader) as report:
            assert report.read() == "ready\n", self.log.read_text()
        self.client = ControlClient(self.socket)

    def guest(self, vram: str = "64MiB", embedded: bool = False) -> Guest:
        """guest.py under `tfusion run`, with a slice of its own."""
        where = [] if embedded else ["--server", str(self.socket)]
        run = [sys.executable, "-m", "gpu_server.cli", "run", *where, "--vram", vram, "--"]
        self._guests.append(Guest(run, self._guest_log()))
        return self._guests[-1]

    def guest_of(self, opened: OpenedSlice, token: str = "") -> Guest:
        """guest.py under a slice that the test has opened."""
        env = kernel_hook.launch_environment(
            os.environ,
            session_socket=opened.session_socket,
            slice_id=opened.slice_id,
            token=token or opened.token,
            library=kernel_hook.library_path(),
            vram_bytes=opened.vram_bytes,
            gpu_name=opened.gpu.name,
            driver_version=opened.gpu.driver_version,
            software=opened.gpu.software,
        )
        self._guests.append(Guest((), self._guest_log(), env))
        return self._guests[-1]

    def _guest_log(self) -> Path:
        return self._folder.with_name(f"guest-{len(self._guests)}.log")

    def workers(self) -> list[int]:
        return [s.worker_pid for s in self.client.list_sessions()]

    def close(self) -> None:
        for guest in self._guests:
            guest.close()
        if hasattr(self, "process"):
            self.client.close()
            self.process.terminate()
            assert self.process.wait(PATIENCE_S) in (0, -9), self.log.read_text()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path / "gpu", "--memory", "256MiB")
    one.start()
    yield one
    one.close()


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts a daemon that has `memory` of the GPU and these settings of its configuration."""
    hosts: list[Host] = []

    def start(memory: str, **settings: object) -> Host:
        file = tmp_path / "configuration.py"
        file.write_text("".join(f"c.TFusionServer.{name} = {value!r}\n" for name, value in settings.items()))
        hosts.append(Host(tmp_path / "gpu", "--memory", memory, "--config", str(file)))
        hosts[-1].start()
        return hosts[-1]

    yield start
    for one in hosts:
        one.close()


@pytest.fixture
def no_host(tmp_path: Path) -> Iterator[Host]:
    """Guests without a configured daemon."""
    one = Host(tmp_path / "gpu")
    yield one
    one.close()
