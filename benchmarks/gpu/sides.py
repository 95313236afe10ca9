"""The two sides of every comparison: how a program is started natively and under a slice, and the daemon behind it.

A rehearsal puts the software GPU behind both sides: it tries the programs and this code on a machine without a GPU, and
its figures mean nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import TracebackType
from typing import Any

from daemon import TFUSION, Daemon, NotReady

NATIVE, HOOKED = "native", "hooked"
SIDES = (NATIVE, HOOKED)
# Both sides' slices of the software GPU, and room for the next pair's while a worker still ends.
REHEARSAL_VRAM = "128MiB"


class Sides:
    """A daemon of our own and the command lines of both sides. Use with `with`."""

    def __init__(self, memory: str, rehearsal: bool) -> None:
        self.rehearsal = rehearsal
        # Both sides must choose alike, and tell no progress on stdout.
        self.daemon = Daemon(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
        self.folder, self.socket, self.environment = (
            self.daemon.folder,
            self.daemon.socket,
            self.daemon.environment,
        )
        if rehearsal:
            self.environment.update(CUPY_COMPILE_WITH_PTX="1", TFUSION_BENCH_COPY_BYTES=str(16 << 20))
        try:
            self.daemon.start("--device", "software" if rehearsal else "nvidia", "--memory", memory)
        except BaseException as error:
            self.stop()
            if isinstance(error, NotReady):
                raise SystemExit(str(error)) from None
            raise

    def log(self) -> str:
        """What the daemon has said so far."""
        return self.daemon.log()

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
        self.daemon.stop()

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
