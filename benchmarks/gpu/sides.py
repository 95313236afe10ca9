"""The two sides of every comparison: how a program is started natively and under a slice, and the daemon behind it.

A rehearsal puts the software GPU behind both sides: it tries the programs and this code on a machine without a GPU, and
its figures mean nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1]
NATIVE, HOOKED = "native", "hooked"
SIDES = (NATIVE, HOOKED)
PATIENCE_S = 120.0
# Both sides' slices of the software GPU, and room for the next pair's while a worker still ends.
REHEARSAL_VRAM = "128MiB"
TFUSION = [sys.executable, "-m", "gpu_server.cli"]


class Sides:
    """A daemon of our own and the command lines of both sides. Use with `with`."""

    def __init__(self, memory: str, rehearsal: bool) -> None:
        self.rehearsal = rehearsal
        self._folder = tempfile.TemporaryDirectory(prefix="tfusion-bench-")
        self.folder = Path(self._folder.name)
        self.socket = self.folder / "gpu" / "control.sock"
        self._log = self.folder / "serve.log"
        # Both sides must choose alike: a fixed workspace for cuBLAS, and no telling of progress on stdout.
        self.environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")])),
            CUBLAS_WORKSPACE_CONFIG=":4096:8",
            TOKENIZERS_PARALLELISM="false",
            HF_HUB_OFFLINE="1",
        )
        if rehearsal:
            self.environment.update(CUPY_COMPILE_WITH_PTX="1", TFUSION_BENCH_COPY_BYTES=str(16 << 20))
        device = "software" if rehearsal else "nvidia"
        serve = [*TFUSION, "serve", "--device", device, "--memory", memory, "--socket", str(self.socket)]
        with self._log.open("wb") as log:
            self.daemon = subprocess.Popen(serve, stderr=log, stdout=log, env=self.environment)
        try:
            self._until_ready()
        except BaseException:
            self.stop()
            raise

    def _until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while "is ready" not in self.log():
            if self.daemon.poll() is not None:
                raise SystemExit("The daemon ended before a worker was ready:\n" + self.log()[-2000:])
            if time.monotonic() > deadline:
                raise SystemExit("No worker of the daemon became ready:\n" + self.log()[-2000:])
            time.sleep(0.02)

    def log(self) -> str:
        """What the daemon has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def command(self, side: str, vram: str, *program: str) -> list[str]:
        """The command line of a side."""
        if side == NATIVE and not self.rehearsal:
            return list(program)
        size = REHEARSAL_VRAM if self.rehearsal else vram
        return [*TFUSION, "run", "--server", str(self.socket), "--vram", size, "--", *program]

    def status(self) -> dict[str, list[dict[str, Any]]]:
        """`tfusion status --json`."""
        status = [*TFUSION, "status", "--server", str(self.socket), "--json"]
        done = subprocess.run(status, check=True, capture_output=True, text=True, timeout=60)
        said: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
        return said

    def worker_of(self, client_pid: int) -> int | None:
        """The process id of the worker of that client; None if it has no session."""
        for session in self.status()["sessions"]:
            if session["client_pid"] == client_pid:
                return int(session["worker_pid"])
        return None

    def gpu(self) -> str:
        """The GPU and its driver, in words."""
        gpu = self.status()["gpus"][0]
        return f"{gpu['name']}, driver {gpu['driver_version'] or 'unknown'}"

    def stop(self) -> None:
        """Ends the daemon and forgets its folder."""
        self.daemon.terminate()
        try:
            self.daemon.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self._folder.cleanup()

    def __enter__(self) -> Sides:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def versions() -> str:
    """Python and the libraries that are installed and that workloads use, with their versions."""
    from importlib import metadata

    found = [f"Python {sys.version.split()[0]}"]
    for (
        name
    ) in "torch torchvision transformers triton cupy-cuda13x cupy jax numba numba-cuda cuda-bindings".split():
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def last_line(text: str) -> str:
    """The last line that says something, without terminal codes: of a program's stderr the most telling one."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]
    return next((line for line in reversed(lines) if line), "")
