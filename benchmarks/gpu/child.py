"""The process that runs one workload: `python -m gpu.child NAME`, natively or under `tfusion run`.

Speaks JSON, one object a line: orders on stdin, answers on stdout. It sets the workload up, runs a fixed number of
steps, hashes what they computed, does both again from the start (so that one sees whether the program repeats itself to
the last bit), and says that it is ready. From then on it does nothing until it is told: while the other process of a
pair is timed, this one waits for a line.

Orders: {"do": "calibrate", "seconds": S}, {"do": "round", "steps": N}, {"do": "memory"}, {"do": "end"}.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import sys
import time
import traceback
from typing import Any, TextIO

from gpu import memory
from gpu.registry import Unavailable, Work, load

CHECKED_STEPS = 3
MAX_STEPS = 100_000


def say(out: TextIO, **answer: Any) -> None:
    """One answer."""
    out.write(json.dumps(answer) + "\n")
    out.flush()


def run_steps(work: Work, steps: int) -> tuple[float, float]:
    """Runs steps to their end; wall and processor seconds of this process, all its threads."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(steps):
        work.step()
    work.sync()
    return time.perf_counter() - wall, time.process_time() - cpu


def checked(work: Work) -> str:
    """SHA-256 of what the first steps computed."""
    run_steps(work, CHECKED_STEPS)
    digest = hashlib.sha256()
    for part in work.results():
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def calibrate(work: Work, seconds: float) -> int:
    """How many steps take about that long, after a few to warm up."""
    run_steps(work, 2)
    steps = 1
    while True:
        taken, _ = run_steps(work, steps)
        if taken >= seconds / 4 or steps >= MAX_STEPS:
            return max(1, min(MAX_STEPS, round(steps * seconds / max(taken, 1e-9))))
        steps *= 4


def serve(work: Work, out: TextIO) -> None:
    """Follows orders until there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "calibrate":
            say(out, steps=calibrate(work, order["seconds"]))
        elif order["do"] == "round":
            wall, cpu = run_steps(work, order["steps"])
            each = 1e3 / order["steps"]
            say(out, ms_per_step=wall * each, cpu_ms_per_step=cpu * each)
        elif order["do"] == "memory":
            say(out, **memory.of_process(os.getpid()))
        else:
            return


def main() -> int:
    """Sets up and serves; an error is told as an answer, with status 1."""
    # Some libraries print to stdout; only answers may go there.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    name = parser.parse_args().name
    started = time.perf_counter()
    try:
        chosen = load()[name]
        build = chosen.build
        work = build()
        first = checked(work)
        first_s = time.perf_counter() - started
        work.close()
        del work
        gc.collect()
        work = build()
        second = checked(work)
        say(
            out,
            state="ready",
            pid=os.getpid(),
            digests=[first, second],
            first_s=first_s,
            bytes_per_step=chosen.bytes_per_step,
            ready_at=time.monotonic(),
        )
        serve(work, out)
    except Unavailable as error:
        say(out, state="unavailable", error=str(error))
    except Exception as error:  # whatever the workload or its library raises
        text = f"{type(error).__name__}: {error}"
        say(out, state="failed", error=text.splitlines()[0][:400], traceback=traceback.format_exc())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
