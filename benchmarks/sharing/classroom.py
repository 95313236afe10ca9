"""Experiment: a class. Learners with more memory than the GPU has think, run a cell, and think again.

No error and no wrong word is the first target; how long a cell waits for others is drawn by report.py.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from sharing.fairness import same_kernel
from sharing.host import Host
from sharing.process import Failed, Process
from sharing.rows import Outcome, percentile
from sharing.scale import GIB, MIB, Scale

SLICE_GIB = 4.0
# What the learners hold, one after the other, and how much their cells compute.
HELD_GIB = (0.5, 1.0, 2.0, 3.0)
REHEARSAL_HELD_GIB = (2.0, 3.0, 3.5)  # six learners must not fit either
CELLS_MS = [10.0, 50.0, 100.0]
REHEARSAL_CELLS_MS = [2.0, 10.0, 20.0]
# Of what the host has available, the part that swapped memory may take here.
HOST_PART = 0.55
LESSON_SLACK_S = 120.0


def classroom(scale: Scale, outcome: Outcome) -> None:
    """The whole lesson."""
    sizes = REHEARSAL_HELD_GIB if scale.rehearsal else HELD_GIB
    held = [scale.size(sizes[i % len(sizes)]) for i in range(scale.learners)]
    room = int(available() * HOST_PART)
    while sum(held) > room + scale.gpu_bytes * 3 // 4:  # a small host: everybody has less
        held = [size // 2 // MIB * MIB for size in held]
    kinds = REHEARSAL_CELLS_MS if scale.rehearsal else CELLS_MS
    settings = {
        "oversubscription": max(1.0, scale.size(SLICE_GIB) * (scale.learners + 1) / scale.gpu_bytes),
        "swap_memory": min(room, scale.size(SLICE_GIB) * scale.learners),
    }
    failures: list[str] = []
    with Host(scale, **settings) as host:
        learners: dict[int, Process] = {}
        alone: dict[int, list[float]] = {}
        lessons: dict[int, dict[str, Any]] = {}
        for number in range(scale.learners):
            learners[number] = host.process("sharing.load", gib=SLICE_GIB)
            learners[number].tell("start")

        def out(number: int, error: str) -> None:
            failures.append(f"learner {number}: {error}")
            learners.pop(number, None)

        for number, process in list(learners.items()):
            try:
                process.pid = int(process.answer()["pid"])
            except Failed as error:
                out(number, str(error))
        if not learners:
            raise Failed(f"no learner got a session; {failures[0]}")
        same_kernel(host, list(learners.values()))
        for number, process in list(learners.items()):  # one after the other, so each is alone
            try:
                process.order("take", size=held[number])
                seen = process.order("cells", kinds=kinds, repeats=3)
                alone[number] = [statistics.median(repeats) for repeats in seen["s"]]
                if seen["wrong"]:
                    failures.append(f"learner {number}: WRONG DATA: {seen['wrong']} words, while alone")
            except Failed as error:
                out(number, str(error))
        before, until = host.swaps(), time.monotonic() + scale.class_seconds
        for number, process in learners.items():
            process.tell("lesson", kinds=kinds, think_s=scale.think_s, seed=number, until=until)
        for number, process in list(learners.items()):
            left = until - time.monotonic() + LESSON_SLACK_S
            try:
                lessons[number] = process.answer(left)
            except Failed as error:
                out(number, str(error))
        after = host.swaps()
        cells = [cell | {"learner": n} for n, lesson in lessons.items() for cell in lesson["cells"]]
        failures += [f"learner {n}: {lesson['error']}" for n, lesson in lessons.items() if lesson["error"]]
        failures += [f"learner {c['learner']}: WRONG DATA: {c['wrong']} words" for c in cells if c["wrong"]]
        if failures:
            outcome.seen["evidence"] = host.evidence()
    waits = [max(0.0, cell["s"] - alone[cell["learner"]][cell["kind"]]) for cell in cells]
    swapped_gb = sum(after[way][0] - before[way][0] for way in after) / 1e9
    outcome.seen.update(
        held=held, settings=settings, alone_s=alone, cells=cells, waits_s=waits, swapped_gb=swapped_gb
    )
    what = (
        f"class of {scale.learners} with slices of 4 GiB on 16, {sum(held) / scale.size(1):.0f} GiB held, "
        f"{scale.class_seconds:.0f} s"
    )
    row = outcome.row(
        f"{what}: errors and wrong results",
        "",
        [float(len(failures))],
        target=0.0,
        remark=f"{len(cells)} cells, {swapped_gb:.1f} GB swapped",
    )
    row.error = "; ".join(failures[:3])
    if waits:
        remark = f"p90 {percentile(waits, 90) * 1e3:.0f} ms, p99 {percentile(waits, 99) * 1e3:.0f} ms"
        alone_ms = statistics.median(s for seconds in alone.values() for s in seconds) * 1e3
        remark += f"; a cell alone takes {alone_ms:.0f} ms"
        outcome.row("the same: wait of a cell for others", "ms", [s * 1e3 for s in waits], remark=remark)


def available() -> int:
    """Bytes of the host's memory that may still be had; less where a control group sets a limit."""
    free = 8 * GIB
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))
