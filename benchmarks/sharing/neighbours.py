"""Experiment on bad neighbours: a session measures its steps before and while somebody misbehaves beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from sharing.fairness import same_kernel
from sharing.host import Host
from sharing.process import ANSWER_TIMEOUT_S, Failed, Process, start_all
from sharing.rows import Outcome
from sharing.scale import Scale

STEP_MS = 5.0
KERNEL_LIMIT_S = 5.0
# The limit is for one kernel that has the GPU to itself half the time; past this the daemon does not end it at all.
ENDLESS_AT_MOST_S = 60.0


def neighbours(scale: Scale, outcome: Outcome) -> None:
    """Each kind of neighbour after another, beside the same good session."""
    with Host(scale, kernel_limit_s=KERNEL_LIMIT_S) as host:
        good = host.started(1, gib=4, size=2)[0]
        same_kernel(host, [good])
        beside: tuple[tuple[str, Callable[[Scale, Outcome, Host, Process], None]], ...] = (
            ("opens sessions in a loop", _opens),
            ("hits illegal addresses, each in a session of its own", _illegal),
            ("allocates in a loop", _allocates),
            ("runs an endless kernel", _endless),
        )
        for what, measure in beside:
            try:
                measure(scale, outcome, host, good)
            except Failed as error:
                outcome.failed(f"beside one that {what}", str(error))
                outcome.seen[f"evidence: {what}"] = host.evidence()
        if wrong := good.order("check")["wrong"]:
            outcome.failed("the good session's memory", f"WRONG DATA: {wrong} words are not what it wrote")


def _steps(process: Process, seconds: float) -> list[Sequence[float]]:
    """(moment, seconds) of each step in a time in which nothing else is measured."""
    answer = process.order(
        "steps", timeout_s=seconds + ANSWER_TIMEOUT_S, ms=STEP_MS, until=time.monotonic() + seconds
    )
    steps: list[Sequence[float]] = answer["steps"]
    return steps


def _median_ms(steps: Sequence[Sequence[float]]) -> float:
    if not steps:
        raise Failed("the good session did not finish a single step")
    return statistics.median(took for _, took in steps) * 1e3


def _compared(
    outcome: Outcome,
    what: str,
    before: Sequence[Sequence[float]],
    during: Sequence[Sequence[float]],
    target: float | None,
    remark: str,
) -> None:
    change = (_median_ms(during) / _median_ms(before) - 1.0) * 100
    outcome.seen[what] = {"before": before, "during": during}
    outcome.row(
        f"median step beside one that {what}: change",
        "%",
        [change],
        target=target,
        remark=f"{_median_ms(before):.2f} to {_median_ms(during):.2f} ms, {len(during)} steps, longest "
        f"{max(took for _, took in during) * 1e3:.0f} ms; {remark}",
    )


def _beside(
    scale: Scale, good: Process, bad: Process, do: str, **order: Any
) -> tuple[list[Sequence[float]], list[Sequence[float]], dict[str, Any]]:
    """Steps before and while `bad` follows an order that ends by itself, and its answer."""
    before = _steps(good, scale.seconds)
    until = time.monotonic() + scale.seconds + 0.5
    bad.tell(do, until=until, **order)
    time.sleep(0.25)
    during = _steps(good, until - time.monotonic() - 0.1)
    return before, during, bad.answer()


def _opens(scale: Scale, outcome: Outcome, host: Host, good: Process) -> None:
    bad = host.process("sharing.load", gib=1)
    before, during, answer = _beside(scale, good, bad, "processes", kind="open")
    remark = f"{answer['count']} sessions, {answer['unexpected']} refused"
    _compared(outcome, "opens sessions in a loop", before, during, 5.0, remark)


def _illegal(scale: Scale, outcome: Outcome, host: Host, good: Process) -> None:
    bad = host.process("sharing.load", gib=1)
    before, during, answer = _beside(scale, good, bad, "processes", kind="illegal")
    remark = f"{answer['count']} sessions, {answer['unexpected']} not as expected"
    _compared(outcome, "hits illegal addresses", before, during, 5.0, remark)


def _allocates(scale: Scale, outcome: Outcome, host: Host, good: Process) -> None:
    bad = host.process("sharing.load", gib=4)
    start_all([bad])
    before, during, answer = _beside(scale, good, bad, "allocations", size=scale.size(0.25))
    remark = f"{answer['count']} allocations, {answer['refused']} refused"
    _compared(outcome, "allocates in a loop", before, during, 5.0, remark)


def _endless(scale: Scale, outcome: Outcome, host: Host, good: Process) -> None:
    """The hardware gives half the time to the kernel until the limit ends it: measured as it is, without a target."""
    bad = host.process("sharing.load", gib=1)
    start_all([bad])
    before = _steps(good, scale.seconds)
    bad.tell("endless")
    time.sleep(0.25)
    steps = []
    deadline = time.monotonic() + ENDLESS_AT_MOST_S
    while time.monotonic() < deadline:
        steps += _steps(good, 0.5)
        if bad.can_answer():
            break
    else:
        raise Failed(
            f"the kernel was not ended within {ENDLESS_AT_MOST_S:g} s, the limit is {KERNEL_LIMIT_S:g} s"
        )
    answer = bad.answer()
    ended = answer["began"] + answer["s"]
    during = [step for step in steps if step[0] < ended]
    after = _steps(good, scale.seconds)
    outcome.seen["endless"] = {"answer": answer, "after": after}
    if "longer than" not in answer["error"]:
        outcome.failed(
            "an endless kernel", f"it ended, but not by the limit: {answer['error'] or 'no error'}"
        )
    what = "runs an endless kernel"
    remark = (
        f"ended by the limit of {KERNEL_LIMIT_S:g} s after {answer['s']:.1f} s; hardware time slicing halves"
    )
    _compared(outcome, what, before, during, None, remark)
    remark = "against before the kernel"
    _compared(outcome, "had its endless kernel ended", before, after, 5.0, remark)
