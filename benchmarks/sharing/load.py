"""The program that slices run in these experiments: `python -m sharing.load`, natively or under `tfusion run`.

Speaks JSON, one object a line: orders on stdin, answers on stdout. An order that fails is answered with
{"state": "failed", "error": ...}, and the next one is tried. Times that processes compare are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import select
import sys
import time
import traceback
from collections import deque
from typing import Any

from sharing import learner, neighbour
from sharing.driver import CudaError, Device, Memory

# Between two events of `run`, and between two samples that it remembers.
EVENT_EVERY_US = 1000.0
SAMPLE_EVERY_S = 0.005
MOST_EVENTS = 2
LARGEST_PIECE = 1 << 30


class Load:
    """What can be ordered: the methods, with the order's other fields as arguments."""

    def __init__(self) -> None:
        self.small = os.environ.get("TFUSION_BENCH_SMALL") == "1"
        self._device: Device | None = None
        self.pieces: list[Memory] = []
        self.seed = os.getpid()
        self.iterations, self.kernel_us = 0, 0.0

    @property
    def device(self) -> Device:
        if self._device is None:
            self._device = Device(self.small)
        return self._device

    def start(self) -> dict[str, Any]:
        """Opens the device. Some orders want a process that has not."""
        self.device.synchronise()
        return {"pid": os.getpid()}

    def take(self, size: int, largest: int = LARGEST_PIECE) -> dict[str, Any]:
        """Takes so much more memory (bytes), in pieces of no more than `largest`, and fills it."""
        began = time.monotonic()
        while size > 0:
            piece = min(size, largest)
            self.pieces.append(Memory(self.device.allocate(piece), piece))
            size -= piece
        self.device.synchronise()
        allocated = time.monotonic()
        self.fill()
        return {"allocate_s": allocated - began, "fill_s": time.monotonic() - allocated}

    def fill(self) -> dict[str, Any]:
        """A new pattern everywhere."""
        for memory in self.pieces:
            self.seed += 1
            self.device.fill(memory, self.seed * 0x85EBCA6B)
        self.device.synchronise()
        return {}

    def check(self) -> dict[str, Any]:
        """How many words are not as they were filled, and how long it took to say."""
        began = time.monotonic()
        wrong = self.device.check(self.pieces)
        return {"wrong": wrong, "s": time.monotonic() - began}

    def free(self) -> dict[str, Any]:
        """Gives everything back."""
        for memory in self.pieces:
            self.device.free(memory.address)
        self.pieces.clear()
        self.device.synchronise()
        return {}

    def touch(self) -> dict[str, Any]:
        """Copies four bytes: the time until this session can use what it has."""
        began = time.monotonic()
        self.device.word(self.pieces[-1].address if self.pieces else self.device.wrong_words)
        return {"s": time.monotonic() - began}

    def calibrate(self, us: float) -> dict[str, Any]:
        """Finds the kernel of about that length. Precondition: nobody else uses the GPU."""
        self.iterations, self.kernel_us = self.device.calibrate(us)
        return {"iterations": self.iterations, "us": self.kernel_us}

    def use(self, iterations: int, us: float) -> dict[str, Any]:
        """Takes the kernel that another process has calibrated, so that both count the same."""
        self.iterations, self.kernel_us = iterations, us
        return {}

    def run(self, until: float) -> dict[str, Any]:
        """Kernels back to back until that moment or the next order; how many were done when."""
        spin, each = self.device.spinner(self.iterations), max(1, round(EVENT_EVERY_US / self.kernel_us))
        free = [self.device.event() for _ in range(MOST_EVENTS + 1)]
        pending: deque[ctypes.c_void_p] = deque()
        done, samples = 0, [(time.monotonic(), 0)]
        more = True
        while more or pending:
            more = more and time.monotonic() < until and not select.select([0], [], [], 0)[0]
            if more:
                for _ in range(each):
                    spin()
                self.device.cu("cuEventRecord", free[-1], None)
                pending.append(free.pop())
            if len(pending) > MOST_EVENTS or (not more and pending):
                self.device.cu("cuEventSynchronize", pending[0])
                free.append(pending.popleft())
                done += each
                now = time.monotonic()
                if now - samples[-1][0] >= SAMPLE_EVERY_S:
                    samples.append((now, done))
        samples.append((time.monotonic(), done))
        for event in free:
            self.device.cu("cuEventDestroy_v2", event)
        return {"samples": samples}

    def burst(self, ms: float, at: float) -> dict[str, Any]:
        """So much work at once; seconds from `at`, when the line was written, to its first kernel's end and last."""
        spin, count = self.device.spinner(self.iterations), max(2, round(ms * 1000 / self.kernel_us))
        first = self.device.event()
        spin()
        self.device.cu("cuEventRecord", first, None)
        for _ in range(count - 1):
            spin()
        self.device.cu("cuEventSynchronize", first)
        first_s = time.monotonic() - at
        self.device.synchronise()
        last_s = time.monotonic() - at
        self.device.cu("cuEventDestroy_v2", first)
        return {"first_s": first_s, "last_s": last_s}

    def steps(self, ms: float, until: float) -> dict[str, Any]:
        """Steps of so much work, each waited for, until that moment; when each ended and how long it took."""
        spin, count = self.device.spinner(self.iterations), max(1, round(ms * 1000 / self.kernel_us))
        steps = []
        while (began := time.monotonic()) < until:
            for _ in range(count):
                spin()
            self.device.synchronise()
            steps.append((time.monotonic(), time.monotonic() - began))
        return {"steps": steps}

    def train(self, steps: int, step_ms: float, cell_steps: int, think_s: float) -> dict[str, Any]:
        """What `train.py` does, without PyTorch: steps that read and write all memory and compute between."""
        spin, count = self.device.spinner(self.iterations), max(1, round(step_ms * 1000 / self.kernel_us))
        began, digest, cells = time.monotonic(), hashlib.sha256(), []
        for first in range(0, steps, cell_steps):
            if first:
                time.sleep(think_s)
            cell = time.monotonic()
            for step in range(first, min(steps, first + cell_steps)):
                digest.update(f"{step}: {self.device.check(self.pieces)}".encode())
                for memory in self.pieces:
                    self.device.fill(memory, memory.seed + 1)
                for _ in range(count):
                    spin()
            self.device.synchronise()
            cells.append(time.monotonic() - cell)
        ended = time.monotonic()
        return {"began": began, "ended": ended, "cells_s": cells, "checksum": digest.hexdigest()}

    def lesson(self, **order: Any) -> dict[str, Any]:
        """A learner's hour; see learner.py."""
        return learner.lesson(self, **order)

    def cells(self, kinds: list[float], repeats: int) -> dict[str, Any]:
        """How long a learner's cells take when nobody else is there; see learner.py."""
        return learner.alone(self, kinds, repeats)

    def endless(self) -> dict[str, Any]:
        """A kernel that never ends; how long until the error, and which."""
        return neighbour.endless(self.device)

    def allocations(self, size: int, until: float) -> dict[str, Any]:
        """Takes and gives back memory in a loop."""
        return neighbour.allocations(self.device, size, until)

    def processes(self, kind: str, until: float) -> dict[str, Any]:
        """Opens sessions in a loop. Precondition: this process has not opened the device."""
        return neighbour.processes(kind, self.small, until)


def main() -> None:
    """Follows orders until there are no more."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # only answers may go there
    load = Load()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"state": "ok", **getattr(load, order.pop("do"))(**order)}
        except CudaError as error:
            answer = {"state": "failed", "error": str(error)}
        except (
            Exception
        ) as error:  # told to the driver of the experiment, which does not see our stderr at once
            traceback.print_exc()
            answer = {"state": "failed", "error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
