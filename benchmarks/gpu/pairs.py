"""One workload, natively and hooked in turn: both processes live side by side, one is timed while the other waits.

Called by the driver for each workload. What fails is an `Outcome` with a sentence, never an exception.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from gpu import memory
from gpu.registry import Workload
from gpu.sides import HOOKED, NATIVE, SIDES, Sides, last_line

# Imports, compilation, autotuning: the longest wait there is.
SETUP_TIMEOUT_S = 240.0
ROUND_TIMEOUT_S = 120.0


class ChildFailed(Exception):
    """A side's process failed, died or does not answer; the text says which and how."""


class NotAvailable(Exception):
    """The workload cannot run on that side for want of something."""


@dataclass
class Outcome:
    """What was seen of one workload. `error` or `unavailable` say why there are no figures."""

    name: str
    title: str
    bytes_per_step: int = 0
    steps: int = 0
    error: str = ""
    unavailable: str = ""
    ms: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    # From the start of the process until it is ready, and in it until the first steps' results were there.
    ready_s: dict[str, float] = field(default_factory=dict)
    first_s: dict[str, float] = field(default_factory=dict)
    digests: dict[str, list[str]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Hooked over native, pair by pair."""
        return [h / n for n, h in zip(self.ms[NATIVE], self.ms[HOOKED], strict=False) if n > 0]

    @property
    def repeats(self) -> bool:
        """Whether the native program repeats itself to the last bit."""
        return len(set(self.digests.get(NATIVE, ()))) == 1

    @property
    def equal(self) -> bool:
        """Whether the hooked program's first results are the native one's."""
        first = [(self.digests.get(side) or [""])[0] for side in SIDES]
        return first[0] == first[1] != ""


class Child:
    """A side's process. Its stderr goes to a file, whose end explains a death."""

    def __init__(self, sides: Sides, side: str, workload: Workload) -> None:
        self.side = side
        self.stderr = sides.folder / f"{workload.name}.{side}"
        program = [sys.executable, "-m", "gpu.child", workload.name]
        self.started = time.monotonic()
        with self.stderr.open("wb") as errors:
            self.process = subprocess.Popen(
                sides.command(side, workload.vram, *program),
                env=sides.environment,
                cwd=sides.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # So that killing reaches what `tfusion run` started.
                start_new_session=True,
            )
        self._pending = b""

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Its next line. Raises ChildFailed."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise ChildFailed(f"the {self.side} process did not answer within {timeout_s:g} s")
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            if not piece:
                status = self.process.wait()
                said = last_line(self.stderr.read_text(encoding="utf-8", errors="replace"))
                raise ChildFailed(f"the {self.side} process ended with status {status}: {said}")
            self._pending += piece
        line, self._pending = self._pending.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if answer.get("state") == "failed":
            raise ChildFailed(f"{self.side}: {answer['error']}")
        if answer.get("state") == "unavailable":
            raise NotAvailable(answer["error"] if self.side == NATIVE else f"{self.side}: {answer['error']}")
        return answer

    def order(self, timeout_s: float = ROUND_TIMEOUT_S, **order: Any) -> dict[str, Any]:
        """Tells it to do something and waits until it has."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # answer() finds out why
        return self.answer(timeout_s)

    def let_go(self) -> None:
        """There will be no more orders, so it ends."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass

    def end(self) -> None:
        """Waits for its end, and brings it about by force if it does not come."""
        assert self.process.stdout is not None
        self.let_go()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        self.process.stdout.close()


def compare(sides: Sides, workload: Workload, pairs: int, round_s: float) -> Outcome:
    """Runs the workload on both sides, `pairs` rounds each, in alternating order."""
    outcome = Outcome(workload.name, workload.title)
    children: dict[str, Child] = {}
    try:
        # Both at once: a start is mostly imports, and they suffer alike from each other.
        for side in SIDES:
            children[side] = Child(sides, side, workload)
        ready: dict[str, dict[str, Any]] = {}
        for side in SIDES:
            ready[side] = children[side].answer(SETUP_TIMEOUT_S)
        for side in SIDES:
            outcome.ready_s[side] = ready[side]["ready_at"] - children[side].started
            outcome.first_s[side] = ready[side]["first_s"]
            outcome.digests[side] = ready[side]["digests"]
        outcome.bytes_per_step = ready[NATIVE]["bytes_per_step"]
        outcome.steps = children[NATIVE].order(do="calibrate", seconds=round_s)["steps"]
        for side in (HOOKED, NATIVE):  # a round that does not count, for both
            children[side].order(do="round", steps=outcome.steps)
        for pair in range(pairs):
            for side in SIDES if pair % 2 == 0 else SIDES[::-1]:
                seen = children[side].order(do="round", steps=outcome.steps)
                outcome.ms[side].append(seen["ms_per_step"])
                outcome.cpu_ms[side].append(seen["cpu_ms_per_step"])
        for side in SIDES:
            outcome.memory[side] = children[side].order(do="memory")
        worker = sides.worker_of(ready[HOOKED]["pid"])
        if worker is not None:
            outcome.memory["worker"] = memory.of_process(worker)
    except ChildFailed as error:
        outcome.error = str(error)
    except NotAvailable as error:
        outcome.unavailable = str(error)
    except (OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        outcome.error = f"{type(error).__name__}: {error}"
    finally:
        for child in children.values():
            child.let_go()
        for child in children.values():
            child.end()
    return outcome
