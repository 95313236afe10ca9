"""Experiments on memory: how fast it is swapped, how fast two exchange it, how soon who sleeps is awake again."""

from __future__ import annotations

import time

from sharing.host import Host
from sharing.process import Failed, Process
from sharing.rows import Outcome
from sharing.scale import Scale

# A session that has only just stopped computing keeps its memory for as long as an exchange takes. Whoever is asked to
# give memory here has thought for longer than that.
PAUSE_S = 0.5

# Everything is promised several times; the budget for swaps is no matter here.
OVERSUBSCRIBED: dict[str, object] = {"oversubscription": 4.0}


def swap_memory(scale: Scale, gib: float) -> dict[str, object]:
    """Settings with so much of the host's memory for swaps."""
    return {**OVERSUBSCRIBED, "swap_memory": scale.size(gib)}


def moved(host: Host, before: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Bytes and seconds by direction since `before`."""
    now = host.swaps()
    return {way: (now[way][0] - before[way][0], now[way][1] - before[way][1]) for way in now}


def unchanged(outcome: Outcome, processes: list[Process]) -> None:
    """Lets them look at their memory, and raises Failed if it is not what they wrote."""
    for number, process in enumerate(processes):
        if wrong := process.order("check")["wrong"]:
            outcome.seen["wrong"] = {"process": number, "words": wrong}
            raise Failed(f"WRONG DATA: {wrong} words of process {number} are not what it wrote")


def swap(scale: Scale, outcome: Outcome) -> None:
    """8 GiB out, because another wants all the memory, and back when that is given back."""
    rates: dict[str, list[float]] = {"out": [], "in": []}
    waits: dict[str, list[float]] = {"out": [], "in": []}
    with Host(scale, **swap_memory(scale, 24)) as host:
        sleeper, taker = host.started(2, gib=16)
        sleeper.order("take", size=scale.size(8))
        time.sleep(scale.settle_s)
        for _ in range(scale.swap_repeats):
            time.sleep(PAUSE_S)
            before = host.swaps()
            taken = taker.order("take", size=scale.everything, largest=scale.everything)
            waits["out"].append(taken["allocate_s"])
            if host.session(sleeper).resident_bytes > scale.size(0.5):
                raise Failed("the other took all the memory, and yet it was not swapped out")
            size, seconds = moved(host, before)["out"]
            rates["out"].append(size / seconds / 1e9)
            taker.order("free")
            before = host.swaps()
            waits["in"].append(sleeper.order("touch")["s"])
            size, seconds = moved(host, before)["in"]
            if size < scale.size(7):
                raise Failed(f"only {size:.0f} bytes came back for the copy that needs them")
            rates["in"].append(size / seconds / 1e9)
            unchanged(outcome, [sleeper])
    outcome.seen.update(gb_per_s=rates, waits_s=waits)
    for way in ("out", "in"):
        clocked = ", ".join(f"{s * 1e3:.0f}" for s in waits[way])
        outcome.row(
            f"8 GiB swapped {way}",
            "GB/s",
            rates[way],
            target=50.0,
            at_least=True,
            remark=f"by the daemon's counters; by the clock of who waits, ms: {clocked}",
        )


def trade(scale: Scale, outcome: Outcome) -> None:
    """Two of 12 GiB on 16, in turn: each must drive out 8 GiB of the other to run."""
    rates, waits = [], []
    with Host(scale, **swap_memory(scale, 24)) as host:
        pair = host.started(2, gib=13)
        for process in pair:
            process.order("take", size=scale.size(12))
        time.sleep(scale.settle_s)
        for number in range(2 * scale.swap_repeats):
            runs = pair[number % 2]
            time.sleep(PAUSE_S)
            before = host.swaps()
            waits.append(runs.order("touch")["s"])
            sizes = moved(host, before)
            if sizes["in"][0] == 0:
                raise Failed("nothing came back: the exchange did not take place")
            rates.append((sizes["out"][0] + sizes["in"][0]) / waits[-1] / 1e9)
            unchanged(outcome, [runs])
    outcome.seen.update(gb_per_s=rates, waits_s=waits)
    outcome.row(
        "two of 12 GiB on 16 exchange 8 GiB, out and in together",
        "GB/s",
        rates,
        target=80.0,
        at_least=True,
        remark="by the clock of who waits for a 4-byte copy",
    )


def wake(scale: Scale, outcome: Outcome) -> None:
    """1 GiB that was swapped out, because another idle session had the GPU to itself, is wanted again."""
    waits, sizes = [], []
    with Host(scale, **swap_memory(scale, 24)) as host:
        sleeper, taker = host.started(2, gib=16)
        sleeper.order("take", size=scale.size(1))
        taker.order("take", size=scale.everything)
        time.sleep(scale.settle_s)
        for _ in range(15):
            taker.order("touch")  # all that it has comes back to it
            sizes.append(host.session(sleeper).swapped_bytes)
            time.sleep(PAUSE_S)
            waits.append(sleeper.order("touch")["s"] * 1e3)
        unchanged(outcome, [sleeper, taker])
    outcome.seen.update(waits_ms=waits, swapped_bytes=sizes)
    if min(sizes) < scale.size(0.9):
        outcome.failed("1 GiB swapped out", f"only {min(sizes)} bytes were swapped out")
    outcome.row("1 GiB swapped out: next call answered", "ms", waits, target=60.0)
