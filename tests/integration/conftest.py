"""A real daemon on the software GPU for all integration tests: a process of its own, one per test process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_server.client import ControlClient, connect
from gpu_server.errors import ServerUnreachable

START_TIMEOUT_S = 90
MEMORY = "768MiB"


def wait_until(ready: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> Any:
    """The first true value of ready(); fails with the process's log if it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (value := ready()):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args} is not ready:\n{log.read_text()[-4000:]}")
        time.sleep(0.05)
    return value


@pytest.fixture(scope="session")
def software_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlClient]:
    """A client of a daemon that shares 768 MiB of the software GPU."""
    folder = tmp_path_factory.mktemp("daemon")
    socket = folder / "gpu" / "control.sock"
    log = folder / "log"
    serve = [sys.executable, "-m", "gpu_server.cli", "serve", "--device", "software"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*serve, "--memory", MEMORY, "--socket", str(socket)],
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        )

    def answers() -> ControlClient | None:
        try:
            return connect(socket)
        except ServerUnreachable:
            return None

    client = wait_until(answers, process, log)
    yield client
    client.close()
    process.terminate()
    assert process.wait(timeout=60) == 0, log.read_text()


@pytest.fixture(scope="session", name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until
