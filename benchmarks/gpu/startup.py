"""Fresh processes, native and hooked in turn: time to the first CUDA result, and the memory that it costs.

Called by the driver. The daemon keeps warm workers; each start waits until the last one's worker is replaced, as a
learner finds it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu import memory
from gpu.sides import HOOKED, SIDES, Sides, last_line

TIMEOUT_S = 120.0
REST_TIMEOUT_S = 60.0
REST_S = 0.3
ALLOWED_TICKS = round(0.1 * REST_S * os.sysconf("SC_CLK_TCK"))


@dataclass
class Starts:
    """Milliseconds to the first result by side, one per pair; the last process's memory by side, and its worker's."""

    name: str
    error: str = ""
    first_ms: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    # From the start of the command: with Python's own start, imports, and what `tfusion run` does before.
    wall_ms: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    memory: dict[str, dict[str, int]] = field(default_factory=dict)


def measure(sides: Sides, name: str, pairs: int) -> Starts:
    """Starts `gpu.first_result NAME` `pairs` times on each side, in alternating order."""
    starts = Starts(name)
    try:
        for pair in range(pairs):
            for side in SIDES if pair % 2 == 0 else SIDES[::-1]:
                _once(sides, side, name, starts)
    except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
        starts.error = str(error)
    return starts


def _once(sides: Sides, side: str, name: str, starts: Starts) -> None:
    wait_for_warm_workers(sides)
    errors = sides.folder / f"first.{name}.{side}"
    command = sides.command(side, "2GiB", sys.executable, "-m", "gpu.first_result", name)
    began = time.monotonic()
    with errors.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=sides.environment,
            cwd=sides.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # So that killing reaches what `tfusion run` started.
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not select.select([process.stdout], [], [], TIMEOUT_S)[0]:
            os.killpg(process.pid, 9)
            raise RuntimeError(f"{side}: there was no result after {TIMEOUT_S:g} s")
        line = process.stdout.readline()
        wall_ms = (time.monotonic() - began) * 1e3
        if not line:
            process.wait(TIMEOUT_S)
            raise RuntimeError(f"{side}: {last_line(errors.read_text(errors='replace'))}")
        said: dict[str, Any] = json.loads(line)
        starts.first_ms[side].append(said["first_ms"])
        starts.wall_ms[side].append(wall_ms)
        starts.memory[side] = {
            "before_rss": said["before"]["rss"],
            **{
                key: said["after"][key]
                for key in ("rss", "pss", "hook_library_rss", "shared_rss", "shared_pss")
            },
        }
        if side == HOOKED and (worker := sides.worker_of(said["pid"])) is not None:
            starts.memory["worker"] = memory.of_process(worker)
    finally:
        process.stdin.close()
        try:
            process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        process.stdout.close()


def _workers(sides: Sides) -> list[int]:
    tasks = Path(f"/proc/{sides.daemon.pid}/task")
    children: list[int] = []
    for task in tasks.iterdir():
        try:
            children += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return children


def _processor_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return -1
    return int(fields[11]) + int(fields[12])


def wait_for_warm_workers(sides: Sides) -> None:
    """Waits until the daemon's workers are started and idle. Raises RuntimeError if they do not come to rest."""
    # Nothing tells from outside that a worker is warm. One that is waits, and so uses next to no processor; one that
    # starts is busy. So: for three tenths of a second no worker has come or gone, and all together have worked less
    # than a tenth of that.
    deadline = time.monotonic() + REST_TIMEOUT_S
    seen: dict[int, int] = {}
    since = 0.0
    while time.monotonic() < deadline:
        now = {pid: _processor_ticks(pid) for pid in _workers(sides)}
        worked_ticks = sum(now.values()) - sum(seen.values())
        if not now or now.keys() != seen.keys() or worked_ticks > ALLOWED_TICKS:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > REST_S:
            return
        time.sleep(0.02)
    raise RuntimeError("the daemon's workers do not come to rest")
