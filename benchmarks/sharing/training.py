"""Experiments on trainings whose memory does not fit: what taking turns costs against one after the other.

A rehearsal has no PyTorch on its GPU; the load program trains in its place, and the row says so.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from typing import Any

from sharing.fairness import same_kernel
from sharing.host import Host
from sharing.process import Failed, Process, all_order, start_all
from sharing.rows import Outcome
from sharing.scale import Scale
from sharing.swapping import swap_memory

HELD_GIB = 10.0
SLICE_GIB = 13.0  # PyTorch's allocator rounds up
STEP_MS = 20.0
# A start of PyTorch and the first use of its libraries, in several processes at once.
START_TIMEOUT_S = 300.0


def train4(scale: Scale, outcome: Outcome) -> None:
    """Four trainings of 10 GiB at once on 16."""
    _trainings(scale, outcome, 4, thinking=False)


def mixed6(scale: Scale, outcome: Outcome) -> None:
    """Six of them, which think as long as they compute: in all there is three times too much work for one GPU."""
    _trainings(scale, outcome, 6, thinking=True)


def _trainings(scale: Scale, outcome: Outcome, count: int, thinking: bool) -> None:
    torch = importlib.util.find_spec("torch") is not None and not scale.rehearsal
    if not torch and not scale.rehearsal:
        outcome.row(f"{count} trainings", "", [], remark="not measured: PyTorch is not installed here")
        return
    program = ("sharing.train", str(HELD_GIB)) if torch else ("sharing.load",)
    settings = swap_memory(scale, HELD_GIB * count + 2) | {"oversubscription": 8.0}
    with Host(scale, **settings) as host:
        alone = host.native(*program, gib=SLICE_GIB)
        order = _prepare(scale, host, [alone], torch)
        steps, step_s = _how_many(scale, alone, order)
        # Cells of about a second, as a learner's are, or four in all; at the end of each a loss is looked at.
        order |= {"steps": steps, "cell_steps": max(1, min(round(1.0 / step_s), steps // 4))}
        one_by_one = [alone.order("train", timeout_s=600.0, **order) for _ in range(count)]
        host.let_go()
        if thinking:
            order["think_s"] = statistics.median(one_by_one[0]["cells_s"])
        together = [host.process(*program, gib=SLICE_GIB) for _ in range(count)]
        _prepare(scale, host, together, torch)
        time.sleep(scale.settle_s)
        before, began = host.swaps(), time.monotonic()
        for process in together:
            process.tell("train", **order)
        answers = [process.answer(600.0) for process in together]
        after = host.swaps()
    ended = max(answer["ended"] for answer in answers)
    native_s = sum(answer["ended"] - answer["began"] for answer in one_by_one)
    swapped = sum(after[way][0] - before[way][0] for way in after) / 1e9
    outcome.seen.update(
        order=order, native=one_by_one, together=answers, began=began, swapped_gb=swapped, native_s=native_s
    )
    what = f"{count} trainings of 10 GiB on 16 at once" + (", half the time thinking" if thinking else "")
    if not torch:
        what += " (without PyTorch)"
    checksums = {answer["checksum"] for answer in (*one_by_one, *answers)}
    ends = ", ".join(f"{answer['ended'] - began:.1f}" for answer in answers)
    row = outcome.row(
        f"{what}: time / one after the other natively",
        "",
        [(ended - began) / native_s],
        target=1.15,
        remark=f"natively {native_s:.1f} s in all; ended after {ends} s; {swapped:.1f} GB swapped; losses "
        + ("equal to the last bit" if len(checksums) == 1 else "NOT EQUAL"),
    )
    if len(checksums) != 1:
        row.error = f"the losses of {count} equal trainings are not equal: {sorted(checksums)}"


def _prepare(scale: Scale, host: Host, processes: list[Process], torch: bool) -> dict[str, Any]:
    """Starts them and lets them take their memory; the order for training."""
    if torch:
        for process in processes:
            process.tell("start")
        for process in processes:
            answer = process.answer(START_TIMEOUT_S)
            process.pid = int(answer["pid"])
            if answer["bytes"] < scale.size(HELD_GIB * 0.9):
                raise Failed(f"the training holds only {answer['bytes']} bytes")
    else:
        start_all(processes)
        same_kernel(host, processes)
        all_order(processes, "take", size=scale.size(HELD_GIB))
    return {"steps": 8, "cell_steps": 1 << 30, "think_s": 0.0, "step_ms": STEP_MS}


def _how_many(scale: Scale, process: Process, order: dict[str, Any]) -> tuple[int, float]:
    """How many steps take about a window's time, and how long one takes."""
    process.order("train", timeout_s=600.0, **order)
    answer = process.order("train", timeout_s=600.0, **order)
    step_s = (answer["ended"] - answer["began"]) / order["steps"]
    return max(8, round(scale.seconds / step_s)), step_s
