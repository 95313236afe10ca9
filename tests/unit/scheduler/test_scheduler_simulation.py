"""Shares, ceilings, bursts and swapping over seconds of simulated time."""

from __future__ import annotations

import pytest
from simulation import GIB, MIB, MS, SECOND, Simulation, at_intervals, long_run, nothing

from gpu_server.scheduler import Phase, Policy


def parts(simulation: Simulation, seconds: float = 0.0) -> dict[str, float]:
    """Each worker's part of the GPU time that was used; of the next seconds, if some are given."""
    before = {name: w.done_ns if seconds else 0 for name, w in simulation.workers.items()}
    simulation.run(seconds)
    done = {name: w.done_ns - before[name] for name, w in simulation.workers.items()}
    return {name: ns / sum(done.values()) for name, ns in done.items()}


def test_equal_slices_get_equal_time() -> None:
    simulation = Simulation()
    for name in "abcd":
        simulation.add(name, long_run(GIB))
    simulation.run(1)  # the later ones had their bursts
    assert all(part == pytest.approx(1 / 4, rel=0.03) for part in parts(simulation, 3).values())
    assert simulation.idle_ns < 10 * MS


def test_time_follows_the_weights() -> None:
    simulation = Simulation()
    for name, share in (("a", 1.0), ("b", 2.0), ("c", 4.0)):
        simulation.add(name, long_run(GIB), share)
    simulation.run(5)
    for name, expected in (("a", 1 / 7), ("b", 2 / 7), ("c", 4 / 7)):
        assert parts(simulation)[name] == pytest.approx(expected, rel=0.05)
    assert simulation.idle_ns < 10 * MS


def test_the_unit_of_weights_does_not_matter() -> None:
    simulation = Simulation()
    for name, share in (("a", 0.01), ("b", 0.03)):
        simulation.add(name, long_run(), share)
    simulation.run(4)
    assert parts(simulation)["b"] == pytest.approx(3 / 4, rel=0.05)


def test_more_processes_get_no_more_time() -> None:
    simulation = Simulation()
    for number in range(4):
        simulation.add(f"a{number}", long_run(), slice_id="a")
    simulation.add("b", long_run())
    simulation.run(4)
    assert parts(simulation)["b"] == pytest.approx(1 / 2, rel=0.03)


def test_what_one_does_not_use_goes_to_the_others() -> None:
    simulation = Simulation()
    simulation.add("a", long_run())
    simulation.add("b", at_intervals(2 * MS, 18 * MS))
    simulation.run(4)
    assert simulation.idle_ns < 0.05 * simulation.now
    assert parts(simulation)["a"] > 0.85


@pytest.mark.parametrize("ceiling", [0.1, 0.3, 0.75])
def test_a_ceiling_holds_on_an_idle_gpu(ceiling: float) -> None:
    simulation = Simulation()
    worker = simulation.add("a", long_run(), ceiling=ceiling)
    simulation.run(5)
    assert worker.done_ns / simulation.now == pytest.approx(ceiling, abs=0.03)


def test_a_ceiling_holds_among_others_and_costs_them_nothing() -> None:
    simulation = Simulation()
    limited = simulation.add("a", long_run(), share=10.0, ceiling=0.2)
    simulation.add("b", long_run())
    simulation.run(5)
    assert limited.done_ns / simulation.now == pytest.approx(0.2, abs=0.03)
    assert simulation.idle_ns < 10 * MS


def test_a_burst_starts_at_once_and_ends_before_its_fair_share_would_let_it() -> None:
    simulation = Simulation()
    for name in "abc":
        simulation.add(name, long_run())
    burst = simulation.add("i", at_intervals(50 * MS, 700 * MS, start_ns=SECOND))
    simulation.run(5)
    starts = [
        t for t, before in zip(burst.busy_at, [0, *burst.busy_at], strict=False) if t - before > 300 * MS
    ]
    assert len(starts) >= 4
    assert starts[0] - SECOND < 100 * MS
    lengths = len(burst.busy_at) * simulation.step_ns / len(starts)
    assert lengths < 150 * MS  # a fair quarter of the GPU would take 200 ms
    assert simulation.idle_ns < 0.02 * simulation.now


def test_a_stream_of_new_slices_starves_nobody() -> None:
    simulation = Simulation()
    old = simulation.add("old", long_run())
    simulation.run(1)
    before = old.done_ns
    for number in range(60):
        name = f"new{number}"
        simulation.add(name, long_run())
        simulation.run(0.05)
        simulation.end(name)
    assert (old.done_ns - before) / (3 * SECOND) > 0.2


def test_with_plenty_of_memory_nobody_is_stopped_for_it() -> None:
    simulation = Simulation()
    for name in "abc":
        simulation.add(name, long_run(3 * GIB))
    simulation.run(1)
    assert simulation.moved == 0
    assert not any("waits to have" in e.text for name in "abc" for e in simulation.machine.story(name))


def test_swapping_stays_under_its_part_of_the_time_and_shares_hold() -> None:
    simulation = Simulation(step_ns=4 * MS)
    for name in "abcd":
        simulation.add(name, long_run(10 * GIB), limit=10 * GIB)
    simulation.run(240)
    assert simulation.moved > 100 * GIB
    assert simulation.swap_ns < 0.12 * simulation.now
    assert simulation.idle_ns < 0.12 * simulation.now
    assert all(0.18 < part < 0.32 for part in parts(simulation).values())


def test_a_small_session_runs_beside_large_ones_that_take_turns() -> None:
    simulation = Simulation(step_ns=2 * MS)
    for name in "ab":
        simulation.add(name, long_run(10 * GIB), limit=10 * GIB)
    small = simulation.add("small", at_intervals(20 * MS, 200 * MS, memory=GIB), limit=GIB)
    simulation.run(30)
    gaps = [b - a for a, b in zip(small.busy_at, small.busy_at[1:], strict=False)]
    assert max(gaps) < 8 * SECOND
    assert sorted(gaps)[int(len(gaps) * 0.99)] < SECOND
    assert simulation.swap_ns < 0.12 * simulation.now


def test_a_training_loop_that_reads_its_next_batch_keeps_its_memory() -> None:
    simulation = Simulation(step_ns=2 * MS)
    for name in "abc":
        simulation.add(name, at_intervals(60 * MS, 20 * MS, memory=10 * GIB), limit=10 * GIB)
    simulation.run(60)
    assert simulation.swap_ns < 0.12 * simulation.now


def test_who_is_idle_makes_way_and_comes_back_when_there_is_work() -> None:
    simulation = Simulation()
    first = simulation.add("a", at_intervals(20 * MS, 4 * SECOND, memory=10 * GIB), limit=10 * GIB)
    simulation.run(1)
    second = simulation.add("b", long_run(10 * GIB), limit=10 * GIB)
    simulation.run(2)
    assert second.resident == 10 * GIB
    assert first.swapped == 4 * GIB
    phases = {s.session_id: s.phase for s in simulation.machine.state()}
    assert phases == {"a": Phase.SWAPPED_OUT, "b": Phase.RUNNING}
    done = first.done_ns
    simulation.run(4)
    assert first.done_ns > done


def test_nobody_looks_while_nothing_changes() -> None:
    simulation = Simulation()
    simulation.add("a", long_run(GIB))
    simulation.add("b", nothing)
    simulation.run(1)
    assert simulation.machine.next_look_ns() is None
    ticks = simulation.ticks
    simulation.run(2)
    assert simulation.ticks == ticks


def test_an_event_with_a_hundred_sessions_is_cheap_in_orders() -> None:
    simulation = Simulation(step_ns=5 * MS)
    for number in range(100):
        simulation.add(f"s{number}", long_run(64 * MIB), limit=64 * MIB)
    simulation.run(0.1)
    before = simulation.orders
    simulation.run(1)
    assert simulation.orders - before < 100


def test_ten_thousand_slices_on_a_hundred_gpus() -> None:
    busy = 0
    for gpu in range(100):
        simulation = Simulation(step_ns=20 * MS, policy=Policy(tick_ns=20 * MS))
        for number in range(100):
            size = (number * 37 + gpu * 11) % 500 * MIB + MIB
            work = at_intervals(10 * MS, 200 * MS + number * MS, memory=size, start_ns=number * 5 * MS)
            simulation.add(f"{gpu}.{number}", work, 1.0 + number % 3, limit=size)
        simulation.run(0.2)  # checks at every step that no byte is promised twice
        busy += sum(1 for w in simulation.workers.values() if w.done_ns)
    assert busy > 1000
