"""A soak: many sessions opened and closed, many modules loaded and unloaded, and nothing may have grown by it.

    soak.py                                   1000 sessions, 10000 modules, on the NVIDIA GPU
    soak.py --device software --sessions 60 --modules 400

Sessions end in turn as they should, with everything still allocated, and killed. A first part of a tenth is not
counted: caches and allocators fill in it. Then memory (without the shared mappings) and file descriptors of daemon,
worker and client, and the GPU's memory, are compared before and after; status 1 if one grew by more than its slack.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gpu import memory
from gpu.sides import HOOKED, Sides
from gpu.startup import wait_for_warm_workers

MIB = 1 << 20
REST_TIMEOUT_S = 60.0


@dataclasses.dataclass(frozen=True)
class Growth:
    """A quantity before and after, and by how much it may have grown."""

    what: str
    before: int
    after: int
    slack: int
    in_bytes: bool = True

    @property
    def too_much(self) -> bool:
        """Whether it has grown by more than its slack."""
        return self.after - self.before > self.slack

    def row(self) -> str:
        """For people."""
        show: Callable[[int], str] = (lambda v: f"{v / MIB:.1f} MiB") if self.in_bytes else str
        verdict = "GREW" if self.too_much else "ok"
        numbers = (show(v) for v in (self.before, self.after, self.slack))
        return "{:<38} {:>12} {:>12} {:>12}  {}".format(self.what, *numbers, verdict)


def descriptors(pid: int) -> int:
    """How many files that process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def at_rest(sides: Sides) -> bool:
    """Whether no session and no slice is open."""
    said = sides.status()
    return not said["sessions"] and not said["slices"]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for it; ends the program if it does not come."""
    deadline = time.monotonic() + REST_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come within {REST_TIMEOUT_S:g} s")
        time.sleep(0.1)


def gpu_memory(sides: Sides) -> int:
    """Bytes in use on the whole GPU."""
    if sides.rehearsal:
        return int(sides.status()["gpus"][0]["used_bytes"])
    import pynvml

    pynvml.nvmlInit()
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)
    finally:
        pynvml.nvmlShutdown()


def run_sessions(sides: Sides, count: int, at_once: int) -> None:
    """That many, under one slice; waits until all is at rest."""
    program = [sys.executable, "-m", "gpu.soak_client", "sessions", str(count), str(at_once)]
    done = subprocess.run(sides.command(HOOKED, "2GiB", *program), env=sides.environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"The sessions did not all end as they should (status {done.returncode})")
    wait_until(lambda: at_rest(sides), "The end of all sessions")


def of_daemon(sides: Sides) -> tuple[int, int, int]:
    """The daemon's memory and descriptors and the GPU's memory in use, with warm workers as at the start."""
    # The last sessions' workers are still ending, and others take their places.
    wait_for_warm_workers(sides)
    daemon = sides.daemon.pid
    return memory.of_process(daemon)["own_rss"], descriptors(daemon), gpu_memory(sides)


def soak_sessions(sides: Sides, count: int, at_once: int) -> list[Growth]:
    """Opens and closes sessions."""
    run_sessions(sides, max(count // 10, 5), at_once)
    before = of_daemon(sides)
    run_sessions(sides, count, at_once)
    after = of_daemon(sides)
    return [
        Growth(f"daemon's memory, {count} sessions", before[0], after[0], 8 * MIB),
        Growth("daemon's descriptors", before[1], after[1], 0, in_bytes=False),
        # A context that leaked is some hundred MiB.
        Growth("GPU memory in use, all at rest", before[2], after[2], 64 * MIB),
    ]


def soak_modules(sides: Sides, count: int) -> list[Growth]:
    """Loads and unloads modules in one client."""
    program = [sys.executable, "-m", "gpu.soak_client", "modules", str(count)]
    client = subprocess.Popen(
        sides.command(HOOKED, "2GiB", *program),
        env=sides.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    seen: list[tuple[dict[str, int], int, int]] = []
    try:
        for line in client.stdout:
            said: dict[str, int] = json.loads(line)
            worker = sides.worker_of(said["pid"])
            if worker is None:
                raise SystemExit("The client's session is gone")
            seen.append((said, memory.of_process(worker)["own_rss"], descriptors(worker)))
            client.stdin.write("\n")
            client.stdin.flush()
    finally:
        client.stdin.close()
        client.stdout.close()
        status = client.wait()
    if status != 0 or len(seen) < 2:
        raise SystemExit(f"The client of the modules ended with status {status}")
    print(
        "client and worker, KiB after each quarter of the modules:",
        [(s["rss"] >> 10, w >> 10) for s, w, _ in seen],
    )
    (first, worker_rss, worker_fds), (last, worker_rss_after, worker_fds_after) = seen[0], seen[-1]
    return [
        Growth(f"client's memory, {count} modules", first["rss"], last["rss"], 2 * MIB),
        Growth("client's descriptors", first["fds"], last["fds"], 0, in_bytes=False),
        Growth("worker's memory", worker_rss, worker_rss_after, 16 * MIB),
        Growth("worker's descriptors", worker_fds, worker_fds_after, 0, in_bytes=False),
        Growth("the slice's memory in use", first["used"], last["used"], 0),
    ]


def main() -> int:
    """Soaks; 1 if something grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--modules", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=4, help="sessions at a time (default: 4)")
    parser.add_argument("--device", choices=["nvidia", "software"], default="nvidia")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was seen")
    options = parser.parse_args()
    memory_of_gpu = "512MiB" if options.device == "software" else "16GiB"
    seen: list[Growth] = []
    with Sides(memory_of_gpu, rehearsal=options.device == "software") as sides:
        began = time.monotonic()
        if options.sessions:
            seen += soak_sessions(sides, options.sessions, options.at_once)
        if options.modules:
            seen += soak_modules(sides, options.modules)
        wait_until(lambda: at_rest(sides), "The end of all sessions")
        print(f"{sides.gpu()}; {time.monotonic() - began:.0f} s")
    print("{:<38} {:>12} {:>12} {:>12}".format("", "before", "after", "slack"))
    for growth in seen:
        print(growth.row())
    if options.json:
        rows = [dataclasses.asdict(g) | {"too_much": g.too_much} for g in seen]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if any(g.too_much for g in seen) else 0


if __name__ == "__main__":
    sys.exit(main())
