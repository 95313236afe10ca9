"""Who joins a GPU on which another has worked alone: neither owes the other anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_scheduler_rules import MS, Bench


def compete(bench: Bench, ms: int) -> dict[str, int]:
    """Both have work all the time; how many of the milliseconds each could not run."""
    held = {"a": 0, "b": 0}
    for _ in range(ms // 5):
        running = [name for name in held if bench.orders[name].run]
        for name in held:
            bench.reports[name] = replace(
                bench.reports[name],
                busy=name in running,
                waiting=name not in running,
                stopped=name not in running,
            )
            held[name] += 0 if name in running else 5
        bench.passes(5 * MS, *running)
    return held


@pytest.mark.parametrize("pause_ms", [0, 500])
def test_one_that_worked_alone_does_not_wait_for_it(pause_ms: int) -> None:
    bench = Bench()
    bench.add("a")
    for _ in range(100):
        bench.passes(100 * MS, "a")  # as the daemon looks at one that works alone
    if pause_ms:
        bench.reports["a"] = replace(bench.reports["a"], busy=False)
        bench.passes(0)
        bench.passes(pause_ms * MS)
    bench.add("b")
    held = compete(bench, 1000)
    # A burst of the newcomer goes first, and both take turns from then on.
    assert held["a"] <= 250
    assert held["b"] <= 250


def test_one_that_was_idle_for_long_has_saved_nothing_up() -> None:
    bench = Bench()
    bench.add("b")
    bench.add("a")
    for _ in range(100):
        bench.passes(100 * MS, "a")
    held = compete(bench, 1000)
    assert held["a"] <= 250
