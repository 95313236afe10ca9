"""A daemon on the host's NVIDIA GPU, and programs run natively and under `tfusion run`. `make test-gpu`."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE_S = 120.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


class Host:
    """A running daemon and what one does with it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "control.sock"
        # Deterministic cuBLAS needs a fixed workspace, natively and hooked.
        self.environment = dict(os.environ, CUBLAS_WORKSPACE_CONFIG=":4096:8")
        serve = [sys.executable, "-m", "gpu_server.cli", "serve", "--device", "nvidia", "--memory", "32GiB"]
        self.log = (folder / "serve.log").open("w+")
        self.daemon = subprocess.Popen([*serve, "--socket", str(self.socket)], stderr=self.log)
        self.until(lambda: "is ready" in (folder / "serve.log").read_text())

    def under_slice(self, vram: str, *command: str) -> list[str]:
        """The command line that runs `command` with that much memory."""
        run = [sys.executable, "-m", "gpu_server.cli", "run", "--server", str(self.socket), "--vram", vram]
        return [*run, "--", *command]

    def native(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs it on the GPU itself."""
        return self._run(list(command))

    def hooked(self, vram: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs it under a slice."""
        return self._run(self.under_slice(vram, *command))

    def start(self, vram: str, *command: str) -> subprocess.Popen[str]:
        """Starts it under a slice, with pipes to talk to it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.under_slice(vram, *command),
            env=self.environment,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )

    def until(self, condition: Callable[[], object]) -> None:
        """Waits for what no event announces."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.daemon.poll() is None, "the daemon ended"
            assert time.monotonic() < deadline, "the condition did not come"
            time.sleep(0.01)

    def wait_exit(self, pid: int) -> None:
        """Waits for the end of a process that need not be ours."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            assert select.select([pidfd], [], [], PATIENCE_S)[0]
        finally:
            os.close(pidfd)

    def used_mib(self) -> int:
        """Memory in use on the whole GPU, as NVML tells it, in MiB."""
        import pynvml

        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used) >> 20
        finally:
            pynvml.nvmlShutdown()

    def stop(self) -> None:
        """Ends the daemon."""
        self.daemon.terminate()
        self.daemon.wait(PATIENCE_S)
        self.log.close()


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("gpu")
    folder.chmod(0o700)
    running = Host(folder)
    yield running
    running.stop()
