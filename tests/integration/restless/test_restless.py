"""A program may be stopped and swapped out between any two of its calls, and notices nothing but the time.

The programs of tests/integration/hook, each of which checks what it computes, under a daemon that takes all of a
session's memory away and gives it back every few milliseconds (restless_daemon.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_server.client import ControlClient, connect
from gpu_server.errors import ServerUnreachable

HERE = Path(__file__).parent
PROGRAMS = HERE.parent / "hook" / "programs"
# Not these: they have a daemon to themselves, or are asked how long a wait takes.
NOT_HERE = {"learner", "images", "no_device", "children"}


class RestlessDaemon:
    def __init__(self, client: ControlClient, port: int) -> None:
        self.client = client
        self._port = port

    def swapped_bytes(self) -> float:
        """What was ever swapped out, of slices that are open now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics") as answer:
            text = answer.read().decode()
        found = re.findall(r'^tfusion_slice_swap_bytes_total\{.*direction="out".*\} (\S+)$', text, re.M)
        return sum(map(float, found))


@pytest.fixture(scope="module")
def restless(
    tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., Any]
) -> Iterator[RestlessDaemon]:
    folder = tmp_path_factory.mktemp("restless")
    configuration, log, socket = folder / "configuration.py", folder / "log", folder / "gpu" / "control.sock"
    configuration.write_text("c.TFusionServer.metrics_address = '127.0.0.1:0'\n")
    serve = [sys.executable, str(HERE / "restless_daemon.py"), "serve", "--device", "software"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*serve, "--memory", "768MiB", "--config", str(configuration), "--socket", str(socket)],
            stdout=output,
            stderr=output,
            env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        )

    def answers() -> ControlClient | None:
        try:
            return connect(socket)
        except ServerUnreachable:
            return None

    client = wait_until(answers, process, log)
    port = int(re.findall(r"metrics at port (\d+)", log.read_text())[0])
    yield RestlessDaemon(client, port)
    client.close()
    process.terminate()
    assert process.wait(timeout=60) == 0, log.read_text()


def run(client: ControlClient, *command: str) -> subprocess.CompletedProcess[str]:
    tfusion = [
        sys.executable,
        "-m",
        "gpu_server.cli",
        "run",
        "--server",
        str(client.socket),
        "--vram",
        "128MiB",
    ]
    return subprocess.run([*tfusion, "--", *command], capture_output=True, text=True, check=False, timeout=80)


def test_the_daemon_is_as_restless_as_it_is_meant_to_be(
    restless: RestlessDaemon, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    tfusion = [sys.executable, "-m", "gpu_server.cli", "run", "--server", str(restless.client.socket)]
    guest = HERE.parent / "daemon" / "guest.py"
    with subprocess.Popen(
        [*tfusion, "--vram", "128MiB", "--", sys.executable, str(guest)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for command, answer in (("start", "ok 1"), ("fill 64 1", "ok filled")):
            print(command, file=process.stdin, flush=True)
            assert process.stdout.readline() == answer + "\n"
        wait_until(lambda: restless.swapped_bytes() > 10 * 64 * (1 << 20), process, tmp_path)
        print("unchanged", file=process.stdin, flush=True)
        assert process.stdout.readline() == "ok unchanged\n"
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", sorted(p.stem for p in PROGRAMS.glob("*.py") if p.stem not in NOT_HERE))
def test_program(restless: RestlessDaemon, name: str) -> None:
    result = run(restless.client, sys.executable, str(PROGRAMS / f"{name}.py"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "ok", result.stdout + result.stderr
