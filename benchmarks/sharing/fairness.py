"""Experiments on time: shares, ceilings, bursts beside long runs, and what sharing costs when everything fits.

Kernels are counted by the clients that ran them. Another one, which then ends, finds the length of the kernel while it
is alone: so none of those that are compared has had the GPU before.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from sharing.host import Host
from sharing.process import ANSWER_TIMEOUT_S, Process, all_order, start_all
from sharing.rows import Outcome, counted, percentile
from sharing.scale import Scale

BURST_MS = 50.0
CEILING = 0.25


def same_kernel(host: Host, processes: Sequence[Process]) -> float:
    """All use one kernel; its length in us. Precondition: nobody uses the GPU."""
    if host.kernel is None:
        probe = host.started(1, gib=0.5, native=True)[0]
        kernel = probe.order("calibrate", us=host.scale.kernel_us)
        host.kernel = int(kernel["iterations"]), float(kernel["us"])
        probe.end()
    iterations, us = host.kernel
    for process in processes:
        process.order("use", iterations=iterations, us=us)
    return us


def window(scale: Scale, processes: Sequence[Process]) -> list[float]:
    """Kernels that each did in one window, while all ran; before it they run for a while that does not count."""
    begin = time.monotonic() + min(1.0, scale.seconds / 2)
    end = begin + scale.seconds
    answers = all_order(processes, "run", timeout_s=scale.seconds + ANSWER_TIMEOUT_S, until=end + 0.05)
    return [counted(answer["samples"], begin, end) for answer in answers]


def gpu_s(host: Host, processes: Sequence[Process]) -> list[float]:
    """GPU seconds by the daemon's account."""
    return [host.session(process).gpu_s for process in processes]


def off(done: Sequence[float], weights: Sequence[float]) -> float:
    """How far the worst is from its part of the sum, in percent of that part."""
    total, whole = sum(done), sum(weights)
    if not total:
        return 100.0
    return max(abs(n / total / (w / whole) - 1.0) for n, w in zip(done, weights, strict=True)) * 100


def shares(scale: Scale, outcome: Outcome) -> None:
    """Equal shares, unequal ones, and ceilings."""
    with Host(scale) as host:
        for what, weights, target in (
            ("four equal slices: worst from its quarter", (1.0, 1.0, 1.0, 1.0), 3.0),
            ("shares 1:2:4: worst from its part", (1.0, 2.0, 4.0), 5.0),
        ):
            _weighed(scale, outcome, host, what, weights, target)
            host.let_go()
        _joined(scale, outcome, host)
        host.let_go()
        _ceiling(scale, outcome, host)


def _weighed(
    scale: Scale, outcome: Outcome, host: Host, what: str, weights: Sequence[float], target: float
) -> None:
    processes = [host.process("sharing.load", gib=1, share=weight) for weight in weights]
    start_all(processes)
    same_kernel(host, processes)
    done, charged = [], []
    for _ in range(scale.repeats):
        before = gpu_s(host, processes)
        done.append(window(scale, processes))
        charged.append([a - b for a, b in zip(gpu_s(host, processes), before, strict=True)])
    outcome.seen[what] = {"kernels": done, "daemon_gpu_s": charged}
    kernels = ", ".join(f"{statistics.median(n):.0f}" for n in zip(*done, strict=True))
    said = statistics.median(off(c, weights) for c in charged)
    outcome.row(
        what,
        "%",
        [off(d, weights) for d in done],
        target=target,
        remark=f"kernels: {kernels}; by the daemon's account {said:.1f} %",
    )


def _joined(scale: Scale, outcome: Outcome, host: Host) -> None:
    """One has had the GPU to itself for a while; that took nothing from anybody, and must not be paid for later."""
    what = "one that ran alone before, and one that joins it: worst from its half"
    done = []
    for _ in range(scale.repeats):
        first, second = host.started(2, gib=1)
        same_kernel(host, [first, second])
        joins = time.monotonic() + max(2.0, scale.seconds)
        begin, end = joins + 0.5, joins + 0.5 + scale.seconds
        first.tell("run", until=end + 0.05)
        time.sleep(joins - time.monotonic())
        second.tell("run", until=end + 0.05)
        done.append(
            [
                counted(process.answer(scale.seconds + ANSWER_TIMEOUT_S)["samples"], begin, end)
                for process in (first, second)
            ]
        )
        first.end()
        second.end()
    outcome.seen[what] = {"kernels": done}
    kernels = ", ".join(f"{statistics.median(n):.0f}" for n in zip(*done, strict=True))
    outcome.row(what, "%", [off(d, (1.0, 1.0)) for d in done], target=3.0, remark=f"kernels: {kernels}")


def _ceiling(scale: Scale, outcome: Outcome, host: Host) -> None:
    """Its share would give the one with the ceiling 4/7 of the GPU beside the others."""
    others = host.started(3, gib=1)
    limited = host.process("sharing.load", gib=1, share=4.0, ceiling=f"{CEILING * 100:g}%")
    start_all([limited])
    us = same_kernel(host, [*others, limited])
    for what, company in (("alone", []), ("beside three, although of share 4", others)):
        parts, charged = [], []
        for _ in range(scale.repeats):
            began, before = time.monotonic(), gpu_s(host, [limited])[0]
            done = window(scale, [limited, *company])[0]
            parts.append(done * us / 1e6 / scale.seconds * 100)
            charged.append((gpu_s(host, [limited])[0] - before) / (time.monotonic() - began) * 100)
        outcome.seen[f"ceiling {what}"] = {"percent": parts, "daemon_percent": charged}
        outcome.row(
            f"ceiling of 25 %, {what}: distance from it",
            "points",
            [abs(part - CEILING * 100) for part in parts],
            target=3.0,
            remark=f"got {statistics.median(parts):.1f} % of the GPU's time; by the daemon's account "
            f"{statistics.median(charged):.1f} %",
        )


def burst(scale: Scale, outcome: Outcome) -> None:
    """Three compute without pause; a fourth wants 50 ms of the GPU every second."""
    count = max(5, round(6 * scale.seconds))
    pause_s = 0.3 if scale.rehearsal else 1.0
    with Host(scale) as host:
        *busy, learner = host.started(4, gib=1)
        same_kernel(host, [learner, *busy])
        alone = [_burst(learner) for _ in range(5)]
        for process in busy:
            process.tell("run", until=time.monotonic() + 3600.0)
        time.sleep(1.0)
        beside = []
        for _ in range(count):
            time.sleep(pause_s)
            beside.append(_burst(learner))
        for process in busy:  # the next order ends the run
            process.tell("touch")
        for process in busy:
            process.answer()
            process.answer()
    outcome.seen.update(alone=alone, beside=beside)
    first = [b["first_s"] * 1e3 for b in beside]
    last = [b["last_s"] * 1e3 for b in beside]
    alone_ms = [statistics.median(b[when] * 1e3 for b in alone) for when in ("first_s", "last_s")]
    what = "50 ms burst beside three that never pause, to the first kernel's end"
    remark = f"alone {alone_ms[0]:.1f} ms"
    outcome.row(f"{what}, p50", "ms", first, target=100.0, remark=remark)
    outcome.row(f"{what}, p99", "ms", first, target=100.0, decides="p99", remark=remark)
    outcome.row(
        "the same, to the last kernel's end",
        "ms",
        last,
        remark=f"alone {alone_ms[1]:.1f} ms; p99 {percentile(last, 99):.0f} ms",
    )


def _burst(process: Process) -> dict[str, Any]:
    return process.order("burst", ms=BURST_MS, at=time.monotonic())


def fits(scale: Scale, outcome: Outcome) -> None:
    """Four whose memory fits, under slices and without, window by window in turn."""
    room = scale.size(
        34 if scale.rehearsal else 16
    )  # in a rehearsal both sides are slices, and the probe too
    with Host(scale, memory=room) as host:
        sliced, native = host.started(4, gib=4, size=3), host.started(4, gib=4, size=3, native=True)
        same_kernel(host, [*native, *sliced])
        done: dict[str, list[float]] = {"native": [], "slices": []}
        for number in range(scale.repeats):
            sides = [("native", native), ("slices", sliced)]
            for side, processes in sides if number % 2 == 0 else sides[::-1]:
                done[side].append(sum(window(scale, processes)))
    outcome.seen.update(kernels=done)
    outcome.row(
        "four that fit: work done under slices / natively",
        "",
        [s / n for s, n in zip(done["slices"], done["native"], strict=True)],
        target=0.97,
        at_least=True,
        remark=", ".join(f"{side} {statistics.median(n):.0f} kernels" for side, n in done.items()),
    )
