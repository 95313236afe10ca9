"""A daemon for a benchmark: in a folder of its own, ready when a worker is, and gone at the end. Used by gpu/sides.py
and sharing/host.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
PATIENCE_S = 120.0
TFUSION = [sys.executable, "-m", "gpu_server.cli"]


class NotReady(Exception):
    """The daemon did not come up; the message holds what it said."""


class Daemon:
    """`tfusion serve`. start() it, and stop() it in any case."""

    def __init__(self, **environment: str) -> None:
        """`environment` is added to ours, for the daemon and for the programs of the benchmark."""
        self._folder = tempfile.TemporaryDirectory(prefix="tfusion-bench-")
        self.folder = Path(self._folder.name)
        self.socket = self.folder / "gpu" / "control.sock"
        self._log = self.folder / "serve.log"
        self.environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")])),
            CUBLAS_WORKSPACE_CONFIG=":4096:8",  # or a training's losses are not the same each time
            **environment,
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Precondition: it was started."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Returns when a worker is ready; raises NotReady."""
        serve = [*TFUSION, "serve", *options, "--socket", str(self.socket)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(serve, stderr=log, stdout=log, env=self.environment)
        deadline = time.monotonic() + PATIENCE_S
        while "is ready" not in self.log():
            if self._process.poll() is not None:
                raise NotReady("The daemon ended before a worker was ready:\n" + self.log()[-2000:])
            if time.monotonic() > deadline:
                raise NotReady("No worker of the daemon became ready:\n" + self.log()[-2000:])
            time.sleep(0.02)

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Ends it and forgets its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()
