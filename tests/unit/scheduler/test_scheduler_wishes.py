"""Memory that leaves the GPU, or comes back to it, because somebody asked."""

from __future__ import annotations

import pytest
from simulation import GIB, MIB, MS, Simulation, at_intervals, long_run, nothing

from gpu_server.scheduler import CannotSwap, Phase, Policy

LINK = 20e9


def phase(simulation: Simulation, name: str) -> Phase:
    return next(s.phase for s in simulation.machine.state() if s.session_id == name)


def story(simulation: Simulation, name: str) -> str:
    return "\n".join(entry.text for entry in simulation.machine.story(name))


def ask(simulation: Simulation, wish: str, name: str) -> None:
    simulation._deliver(simulation.machine.look(simulation.now, simulation.reports()))  # as the daemon does
    simulation._deliver(getattr(simulation.machine, wish)(simulation.now, name))


def once(work_ns: int, memory: int) -> object:
    return at_intervals(work_ns, 1 << 62, memory)


def test_memory_of_an_idle_session_leaves_at_once_and_comes_back_with_its_next_work() -> None:
    simulation = Simulation()
    one = simulation.add("one", at_intervals(10 * MS, 3000 * MS, 2 * GIB))
    simulation.run(1)
    assert one.resident == 2 * GIB
    ask(simulation, "send_out", "one")
    simulation.run(1)
    assert (one.resident, one.swapped, phase(simulation, "one")) == (0, 2 * GIB, Phase.SWAPPED_OUT)
    assert "was asked to leave the GPU: its 2.0 GiB there go to the host now" in story(simulation, "one")
    assert "has left the GPU, as it was asked to" in story(simulation, "one")
    done = one.done_ns
    simulation.run(4)
    assert (one.resident, one.swapped) == (2 * GIB, 0)
    assert one.done_ns > done


def test_work_that_goes_on_is_finished_first() -> None:
    simulation = Simulation()
    one = simulation.add("one", once(500 * MS, GIB))
    simulation.run(0.2)
    ask(simulation, "send_out", "one")
    simulation.run(0.1)
    assert (one.resident, phase(simulation, "one")) == (GIB, Phase.RUNNING)
    assert "when its work there is over" in story(simulation, "one")
    simulation.run(2)
    assert (one.done_ns, one.resident, one.swapped) == (500 * MS, 0, GIB)


def test_new_work_ends_the_wish() -> None:
    simulation = Simulation(link_bytes_per_s=1e9)
    one = simulation.add("one", at_intervals(10 * MS, 1000 * MS, 4 * GIB))
    simulation.run(0.5)
    ask(simulation, "send_out", "one")
    simulation.run(0.3)
    assert 0 < one.swapped < 4 * GIB
    simulation.run(8)
    assert one.swapped == 0
    assert "has work again before all of it had left the GPU" in story(simulation, "one")


def test_what_was_swapped_out_can_be_fetched_ahead_of_need() -> None:
    simulation = Simulation()
    one = simulation.add("one", once(10 * MS, 2 * GIB))
    simulation.run(0.5)
    ask(simulation, "send_out", "one")
    simulation.run(1)
    assert one.swapped == 2 * GIB
    ask(simulation, "call_back", "one")
    assert phase(simulation, "one") is Phase.SWAPPING_IN
    simulation.run(1)
    assert (one.resident, one.swapped, phase(simulation, "one")) == (2 * GIB, 0, Phase.IDLE)
    assert one.done_ns == 10 * MS
    assert "is back on the GPU, as it was asked to" in story(simulation, "one")


def test_who_is_called_back_waits_its_turn_and_delays_nobody_for_ever() -> None:
    simulation = Simulation(usable=4 * GIB, policy=Policy(quantum_ns=5000 * MS))
    one = simulation.add("one", once(10 * MS, 3 * GIB))
    simulation.run(0.5)
    ask(simulation, "send_out", "one")
    simulation.run(0.5)
    other = simulation.add("other", long_run(3 * GIB))
    simulation.run(1)
    ask(simulation, "call_back", "one")
    state = next(s for s in simulation.machine.state() if s.session_id == "one")
    assert (state.phase, state.place) == (Phase.WAITING, 1)
    assert state.why.startswith("It waits to have 3.0 GiB on the GPU: ")
    before = other.done_ns
    simulation.run(20)
    assert "is back on the GPU, as it was asked to" in story(simulation, "one")
    assert other.done_ns - before > 15_000 * MS
    assert one.resident + one.swapped == 3 * GIB


def test_the_later_wish_counts() -> None:
    simulation = Simulation(link_bytes_per_s=1e9)
    one = simulation.add("one", once(10 * MS, 4 * GIB))
    simulation.run(0.5)
    ask(simulation, "send_out", "one")
    simulation.run(0.5)
    ask(simulation, "call_back", "one")
    simulation.run(5)
    assert (one.resident, one.swapped) == (4 * GIB, 0)
    ask(simulation, "send_out", "one")
    ask(simulation, "call_back", "one")
    ask(simulation, "send_out", "one")
    simulation.run(6)
    assert (one.resident, one.swapped) == (0, 4 * GIB)


def test_what_cannot_be_swapped_stays() -> None:
    simulation = Simulation()
    one = simulation.add("one", once(10 * MS, 2 * GIB), fixed=512 * MIB)
    simulation.run(0.5)
    ask(simulation, "send_out", "one")
    simulation.run(1)
    assert (one.resident, one.swapped) == (512 * MIB, 2 * GIB - 512 * MIB)
    assert "has left the GPU, as it was asked to" in story(simulation, "one")


@pytest.mark.parametrize(("store", "words"), [(0, "no host memory"), (GIB, "which has room for")])
def test_without_room_on_the_host_it_is_refused_and_nothing_changes(store: int, words: str) -> None:
    simulation = Simulation(store=store)
    one = simulation.add("one", once(10 * MS, 2 * GIB))
    simulation.run(0.5)
    before = simulation.machine.state()
    with pytest.raises(CannotSwap, match=words):
        simulation.machine.send_out(simulation.now, "one")
    assert simulation.machine.state() == before
    simulation.run(1)
    assert (one.resident, one.swapped) == (2 * GIB, 0)


def test_nothing_to_send_out_is_no_error_even_without_a_host() -> None:
    simulation = Simulation(store=0)
    simulation.add("one", nothing)
    ask(simulation, "send_out", "one")
    ask(simulation, "call_back", "one")
    ask(simulation, "send_out", "nobody")
    ask(simulation, "call_back", "nobody")
    assert "has nothing there that could" in story(simulation, "one")


def test_a_swap_that_keeps_failing_ends_the_wish() -> None:
    simulation = Simulation()
    one = simulation.add("one", once(10 * MS, 2 * GIB))
    simulation.run(0.5)
    one.swap_fails = True
    ask(simulation, "send_out", "one")
    for _ in range(20):
        simulation.run(1)
        simulation._deliver(simulation.machine.look(simulation.now, simulation.reports()))  # a worker rings
    assert (one.resident, one.swapped) == (2 * GIB, 0)
    assert "stays on the GPU though it was asked to leave" in story(simulation, "one")
    assert phase(simulation, "one") is Phase.IDLE
