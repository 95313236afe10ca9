"""What the scheduler orders in each situation, one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpu_server.scheduler import GpuScheduler, Order, Phase, Policy, Report
from gpu_server.scheduler.ceiling import Ceiling
from gpu_server.scheduler.story import ENTRIES, KEPT_STORIES, Stories
from gpu_server.scheduler.swap_budget import SwapBudget

MIB = 1 << 20
GIB = 1 << 30
MS = 1_000_000
SECOND = 1_000 * MS
IDLE = Report(
    waiting=False,
    busy=False,
    busy_ns=0,
    resident_bytes=0,
    fixed_bytes=0,
    swapped_bytes=0,
    stored_bytes=0,
    spilled_bytes=0,
    wanted_bytes=0,
    allowance_bytes=0,
    stopped=False,
)


class Bench:
    """A scheduler with workers whose reports are written by hand. They acknowledge orders unless told otherwise."""

    def __init__(
        self, usable: int = 16 * GIB, store: int = 64 * GIB, spill: int = 0, **policy: float
    ) -> None:
        self.machine = GpuScheduler(usable, store, spill, Policy(**policy))  # type: ignore[arg-type]
        self.now = 0
        self.reports: dict[str, Report] = {}
        self.orders: dict[str, Order] = {}

    def add(self, name: str, slice_id: str = "", limit: int = 10 * GIB, **more: float) -> Order:
        self.reports[name] = IDLE
        self._take(self.machine.add(self.now, name, slice_id or name, more.pop("share", 1.0), limit, **more))
        return self.orders[name]

    def says(self, name: str, **changes: object) -> Order:
        """A report, with the newest allowance acknowledged if the change says nothing else."""
        changes.setdefault("allowance_bytes", self.orders[name].allowance_bytes)
        if "swapped_bytes" in changes:
            changes.setdefault("stored_bytes", changes["swapped_bytes"])
        self.reports[name] = replace(self.reports[name], **changes)  # type: ignore[arg-type]
        self._take(self.machine.look(self.now, {name: self.reports[name]}))
        return self.orders[name]

    def passes(self, ns: int, *busy: str) -> None:
        """Time in which the named ones use the GPU; then a tick."""
        self.now += ns
        for name in busy:
            r = self.reports[name]
            self.reports[name] = replace(r, busy=True, busy_ns=r.busy_ns + ns)
        self._take(self.machine.look(self.now, self.reports))

    def holds(self, name: str, size: int) -> None:
        """The worker asks for memory and takes it."""
        self.says(name, wanted_bytes=size)
        assert self.orders[name].allowance_bytes >= size
        self.says(name, wanted_bytes=0, resident_bytes=size)

    def story(self, slice_id: str) -> str:
        return "\n".join(e.text for e in self.machine.story(slice_id))

    def _take(self, orders: list[Order]) -> None:
        assert len({o.session_id for o in orders}) == len(orders)
        for order in orders:
            assert order != self.orders.get(order.session_id)
            self.orders[order.session_id] = order


def test_a_new_session_may_run_and_has_headroom_and_rings_when_it_has_work() -> None:
    bench = Bench()
    assert bench.add("a") == Order("a", True, 256 * MIB, 0, 0, contended=False, watch=True, denied_want=0)
    assert bench.machine.next_look_ns() is None


def test_a_new_session_gets_no_more_headroom_than_is_free() -> None:
    bench = Bench(usable=GIB)
    bench.add("a", limit=GIB)
    bench.holds("a", 900 * MIB)
    assert bench.add("b", limit=GIB).allowance_bytes <= 124 * MIB
    assert bench.machine.charged_bytes() <= GIB


def test_what_is_wanted_is_granted_with_headroom_while_memory_is_plentiful() -> None:
    bench = Bench()
    bench.add("a")
    assert bench.says("a", wanted_bytes=3 * GIB).allowance_bytes >= 3 * GIB
    assert bench.orders["a"].run


def test_unused_headroom_of_others_goes_first_and_nobody_is_stopped() -> None:
    bench = Bench(usable=4 * GIB)
    bench.add("a", limit=4 * GIB)
    bench.holds("a", 2 * GIB)
    bench.add("b", limit=4 * GIB)
    bench.says("b", wanted_bytes=2 * GIB)
    assert bench.orders["a"].allowance_bytes == 2 * GIB
    assert bench.orders["a"].run
    bench.says("a")  # acknowledges
    assert bench.orders["b"].allowance_bytes == 2 * GIB


def test_a_lowered_allowance_is_not_given_away_before_it_is_acknowledged() -> None:
    bench = Bench(usable=4 * GIB)
    bench.add("a", limit=4 * GIB)
    bench.holds("a", 2 * GIB)
    before = bench.orders["a"].allowance_bytes
    assert before > 2 * GIB
    bench.says("a")
    bench.add("b", limit=4 * GIB)
    bench.says("b", wanted_bytes=2 * GIB)
    bench.says("a", allowance_bytes=before)  # has not read it yet
    assert bench.orders["b"].allowance_bytes <= 4 * GIB - before


def test_an_idle_session_gives_only_what_is_missing_and_least_recently_active_first() -> None:
    bench = Bench(usable=10 * GIB)
    for name in "abc":
        bench.add(name)
        bench.holds(name, 3 * GIB)
        bench.passes(10 * SECOND)
    bench.says("c", waiting=True, wanted_bytes=2 * GIB)
    assert bench.orders["a"].allowance_bytes == 2 * GIB
    assert not bench.orders["a"].run
    assert bench.orders["a"].store_bytes >= GIB
    assert bench.orders["b"].allowance_bytes >= 3 * GIB
    assert bench.orders["b"].run


def test_who_has_just_become_idle_is_spared_for_as_long_as_what_is_missing_takes_to_move() -> None:
    for missing_gib, spared_ms in ((1, 107), (4, 429)):  # out and back, at 20 GB/s
        bench = Bench(usable=8 * GIB)
        bench.add("a")
        bench.holds("a", 8 * GIB)
        bench.passes(SECOND, "a")
        bench.says("a", busy=False)
        bench.machine._budget.spend(60.0)  # or the exchange would be paid from what was saved up
        bench.add("b")
        bench.says("b", waiting=True, wanted_bytes=missing_gib * GIB)
        bench.passes((spared_ms - 10) * MS)
        assert bench.orders["a"].allowance_bytes == 8 * GIB
        bench.passes(20 * MS)
        assert bench.orders["a"].allowance_bytes == (8 - missing_gib) * GIB


def test_memory_is_handed_on_bit_by_bit_as_it_comes_free() -> None:
    bench = Bench(usable=8 * GIB)
    for name in "ab":
        bench.add(name)
        bench.passes(10 * SECOND)
    bench.holds("a", 6 * GIB)
    bench.passes(10 * SECOND)
    bench.says("b", waiting=True, wanted_bytes=6 * GIB)
    seen = []
    for gone in range(5):
        bench.says("a", resident_bytes=(6 - gone) * GIB, swapped_bytes=gone * GIB, stopped=True)
        seen.append(bench.orders["b"].allowance_bytes // GIB)
    assert seen == [2, 3, 4, 5, 6]


def test_fixed_bytes_are_never_taken_and_what_they_block_is_denied() -> None:
    bench = Bench(usable=8 * GIB)
    for name in "ab":
        bench.add(name)
    bench.holds("a", 6 * GIB)
    bench.says("a", fixed_bytes=5 * GIB)
    bench.passes(10 * SECOND)
    assert bench.says("b", waiting=True, wanted_bytes=4 * GIB).denied_want
    assert bench.orders["a"].allowance_bytes >= 6 * GIB
    assert "is denied 4.0 GiB" in bench.story("b")
    assert not bench.says("b", waiting=False, wanted_bytes=0).denied_want
    bench.says("b", waiting=True, wanted_bytes=3 * GIB)
    assert not bench.orders["b"].denied_want
    assert bench.orders["a"].allowance_bytes == 5 * GIB


def test_a_denial_is_of_one_want() -> None:
    bench = Bench(usable=8 * GIB)
    for name in "ab":
        bench.add(name)
    bench.holds("a", 6 * GIB)
    bench.says("a", fixed_bytes=5 * GIB)
    bench.passes(10 * SECOND)
    assert bench.says("b", waiting=True, wanted_bytes=4 * GIB, want_number=7).denied_want == 7
    # The next one, and nobody looked in between: it is judged by itself.
    assert bench.says("b", waiting=True, wanted_bytes=3 * GIB, want_number=8).denied_want == 0
    bench.says("a", resident_bytes=5 * GIB)
    assert bench.orders["b"].allowance_bytes >= 3 * GIB
    assert bench.says("b", waiting=True, wanted_bytes=4 * GIB, want_number=9).denied_want == 9


def test_without_room_on_the_host_nothing_is_taken() -> None:
    bench = Bench(usable=8 * GIB, store=0, spill=GIB)
    for name in "ab":
        bench.add(name)
    bench.holds("a", 6 * GIB)
    bench.passes(10 * SECOND)
    assert bench.says("b", waiting=True, wanted_bytes=4 * GIB).denied_want
    bench.says("b", waiting=False, wanted_bytes=0)
    bench.says("b", waiting=True, wanted_bytes=2 * GIB + 512 * MIB)
    assert not bench.orders["b"].denied_want
    assert bench.orders["a"].spill_bytes >= 512 * MIB
    assert bench.orders["a"].allowance_bytes < 6 * GIB


def test_store_is_given_before_disk() -> None:
    bench = Bench(usable=8 * GIB, store=GIB, spill=8 * GIB)
    for name in "ab":
        bench.add(name)
    bench.holds("a", 6 * GIB)
    bench.passes(10 * SECOND)
    bench.says("b", waiting=True, wanted_bytes=6 * GIB)
    assert bench.orders["a"].store_bytes == GIB
    assert 3 * GIB <= bench.orders["a"].spill_bytes < 3 * GIB + 64 * MIB


def test_store_is_given_ahead_of_need_on_an_oversubscribed_gpu_and_taken_back_for_a_need() -> None:
    bench = Bench(usable=8 * GIB, store=4 * GIB, spill=8 * GIB)
    for name in "abc":
        bench.add(name, limit=6 * GIB)
        bench.passes(10 * SECOND)
    bench.holds("a", 3 * GIB)
    bench.passes(10 * SECOND)
    bench.holds("b", 3 * GIB)
    bench.passes(10 * SECOND)
    given = {name: bench.orders[name].store_bytes for name in "ab"}
    assert given == {"a": 3 * GIB, "b": GIB}
    bench.says("c", waiting=True, wanted_bytes=6 * GIB)  # a and b give 4 GiB, which need room
    assert sum(o.store_bytes for o in bench.orders.values()) <= 4 * GIB
    assert bench.orders["a"].allowance_bytes == 0
    assert bench.orders["b"].allowance_bytes == 2 * GIB


def test_a_session_whose_swap_failed_is_left_alone_for_a_while() -> None:
    bench = Bench(usable=8 * GIB, cooling_ns=0)
    for name in "ab":
        bench.add(name)
        bench.passes(10 * SECOND)
    bench.holds("a", 6 * GIB)
    bench.passes(10 * SECOND)
    bench.says("b", waiting=True, wanted_bytes=4 * GIB)
    assert bench.orders["a"].allowance_bytes == 4 * GIB
    bench.says("a", swap_failed=True)
    assert bench.orders["a"].allowance_bytes >= 6 * GIB
    assert bench.orders["a"].run
    assert not bench.orders["b"].denied_want
    assert "left alone for 1 s" in bench.story("a")
    bench.passes(500 * MS)
    assert bench.orders["a"].allowance_bytes >= 6 * GIB
    bench.passes(600 * MS)
    assert 4 * GIB <= bench.orders["a"].allowance_bytes < 6 * GIB


def test_a_swapped_session_comes_back_when_it_has_work() -> None:
    bench = Bench(usable=8 * GIB)
    for name in "ab":
        bench.add(name)
        bench.passes(10 * SECOND)
    bench.holds("a", 6 * GIB)
    bench.passes(10 * SECOND)
    bench.says("b", waiting=True, wanted_bytes=6 * GIB)
    bench.says("a", resident_bytes=2 * GIB, swapped_bytes=4 * GIB, stopped=True)
    bench.says("b", waiting=False, wanted_bytes=0, resident_bytes=6 * GIB)
    phases = {s.session_id: s.phase for s in bench.machine.state()}
    assert phases == {"a": Phase.SWAPPED_OUT, "b": Phase.IDLE}
    assert bench.orders["a"].watch
    bench.passes(10 * SECOND)
    assert bench.says("a", waiting=True).run
    assert not bench.orders["b"].run
    bench.says("b", resident_bytes=2 * GIB, swapped_bytes=4 * GIB, stopped=True)
    assert bench.orders["a"].allowance_bytes >= 6 * GIB
    assert bench.machine.state()[0].phase is Phase.SWAPPING_IN
    assert "has work again" in bench.story("a")


def test_one_that_runs_keeps_its_memory_until_it_is_ahead_and_swapping_may_be_paid_for() -> None:
    bench = Bench(usable=16 * GIB, headroom_bytes=0)
    for name in "abc":
        bench.add(name)
    bench.holds("a", 10 * GIB)
    bench.passes(10 * MS, "a")
    bench.says("b", waiting=True, wanted_bytes=10 * GIB)
    assert bench.orders["a"].run
    assert {s.session_id: s.place for s in bench.machine.state()} == {"a": None, "b": 1, "c": None}
    bench.passes(30 * MS, "a")
    assert not bench.orders["a"].run
    assert bench.orders["a"].allowance_bytes == 6 * GIB
    bench.says("a", busy=False, waiting=True, resident_bytes=6 * GIB, swapped_bytes=4 * GIB, stopped=True)
    bench.says("b", waiting=False, wanted_bytes=0, resident_bytes=10 * GIB, busy=True)
    for _ in range(100):
        bench.passes(10 * MS, "b")
        assert bench.orders["b"].run, "the first exchange is not paid for yet"
    for _ in range(500):
        bench.passes(10 * MS, "b")
    assert not bench.orders["b"].run
    assert "is furthest behind and needs the memory" in bench.story("b")


def test_what_is_collected_slowly_for_one_want_is_not_given_to_somebody_else_meanwhile() -> None:
    bench = Bench(usable=12 * GIB, headroom_bytes=0)
    bench.add("a")
    bench.holds("a", 8 * GIB)
    bench.passes(10 * SECOND, "a")
    bench.add("b")
    bench.says("b", wanted_bytes=8 * GIB, waiting=True)
    while bench.orders["a"].run:
        bench.passes(5 * MS, "a")
        assert bench.now < 20 * SECOND
    # The disk is slow: far slower than the scheduler knows before the swap has ended.
    collected, begun_ns = 0, bench.now
    bench.says("a", busy=False, waiting=True, stopped=True)
    while bench.orders["b"].allowance_bytes < 8 * GIB:
        out = bench.reports["a"].swapped_bytes + 32 * MIB
        bench.says("a", resident_bytes=8 * GIB - out, swapped_bytes=out)
        bench.says("b")
        assert not bench.orders["a"].run
        assert bench.orders["b"].allowance_bytes > collected
        collected = bench.orders["b"].allowance_bytes
        bench.passes(SECOND // 2)
    assert bench.now - begun_ns > 60 * SECOND
    bench.says("b", wanted_bytes=0, resident_bytes=8 * GIB, waiting=False, busy=True)
    assert bench.orders["b"].run


def test_the_only_active_slice_is_never_held_back() -> None:
    bench = Bench()
    for name in "ab":
        bench.add(name)
    for _ in range(50):
        bench.passes(5 * MS, "a")
    assert bench.orders["a"].run
    assert not bench.orders["a"].contended


def test_the_one_that_is_ahead_waits_and_goes_on_when_the_other_is_idle() -> None:
    bench = Bench(burst_ns=0)
    for name in "ab":
        bench.add(name, share=4.0 if name == "b" else 1.0)
    held = 0
    for _ in range(40):
        bench.passes(5 * MS, *(n for n in "ab" if bench.orders[n].run))
        held += not bench.orders["a"].run
        bench.reports["a"] = replace(bench.reports["a"], waiting=not bench.orders["a"].run)
        assert bench.orders["b"].run
    assert held > 10
    assert bench.orders["b"].contended
    while bench.orders["a"].run:
        bench.passes(5 * MS, "a", "b")
    bench.reports["a"] = replace(bench.reports["a"], busy=False, waiting=True)
    bench.says("b", busy=False)
    assert bench.orders["a"].run
    assert "of GPU time ahead of slice b" in bench.story("a")


def test_who_comes_back_from_idleness_gets_a_burst_before_those_that_ran_all_along() -> None:
    bench = Bench()
    for name in "ab":
        bench.add(name)
    for _ in range(200):
        bench.passes(5 * MS, "a")
    for _ in range(4):
        bench.passes(5 * MS, *(n for n in "ab" if bench.orders[n].run))
    assert not bench.orders["a"].run
    assert bench.orders["b"].run


def test_backlogs_stay_short_for_a_moment_after_the_last_competition() -> None:
    bench = Bench()
    for name in "ab":
        bench.add(name)
    bench.passes(5 * MS, "a", "b")
    assert bench.orders["a"].contended
    bench.says("b", busy=False)
    assert bench.orders["a"].contended
    due = bench.machine.next_look_ns()
    assert due is not None
    bench.passes(due - bench.now, "a")
    assert not bench.orders["a"].contended
    assert bench.machine.next_look_ns() is None
    assert bench.orders["b"].watch


def test_a_ceiling_stops_even_the_only_one_and_says_when_to_look_again() -> None:
    bench = Bench()
    bench.add("a", ceiling=0.25)
    due = bench.machine.next_look_ns()
    assert due is None
    bench.passes(30 * MS, "a")
    assert not bench.orders["a"].run
    due = bench.machine.next_look_ns()
    assert due is not None
    bench.reports["a"] = replace(bench.reports["a"], busy=False, waiting=True)
    bench.passes(due - bench.now)
    assert bench.orders["a"].run
    assert "has had its ceiling of 25% of the time" in bench.story("a")


def test_idle_memory_is_taken_ahead_of_need_once_it_is_cool_and_memory_was_short() -> None:
    bench = Bench(usable=8 * GIB, cooling_ns=2 * SECOND)
    for name in "abc":
        bench.add(name)
    bench.holds("a", 4 * GIB)
    bench.says("b", busy=True)
    bench.says("b", wanted_bytes=3 * GIB)
    bench.says("b", wanted_bytes=0, resident_bytes=3 * GIB)
    bench.says("c", waiting=True, wanted_bytes=2 * GIB)  # a has only just become idle
    bench.passes(5 * SECOND, "b")
    assert bench.orders["a"].allowance_bytes < 4 * GIB


def test_a_removed_session_leaves_everything_and_its_story() -> None:
    bench = Bench(usable=4 * GIB)
    bench.add("a", limit=4 * GIB)
    bench.holds("a", 4 * GIB)
    bench.add("b", limit=4 * GIB)
    bench.says("b", wanted_bytes=4 * GIB, waiting=True)
    del bench.reports["a"]
    bench._take(bench.machine.remove(bench.now, "a"))
    assert bench.orders["b"].allowance_bytes == 4 * GIB
    assert [s.session_id for s in bench.machine.state()] == ["b"]
    assert "ends after" in bench.story("a")
    assert bench.machine.look(bench.now, {"a": IDLE}) == []
    assert bench.machine.remove(bench.now, "a") == []


def test_what_cannot_be_is_refused() -> None:
    bench = Bench()
    bench.add("a")
    with pytest.raises(ValueError, match="added twice"):
        bench.add("a")
    with pytest.raises(ValueError, match="share"):
        bench.add("b", share=0.0)
    with pytest.raises(ValueError, match="ceiling"):
        bench.add("c", ceiling=1.5)
    with pytest.raises(ValueError, match="quantum_ns, swap_part"):
        Policy(quantum_ns=0, swap_part=0.0)


def test_a_swap_budget_paces_exchanges_by_their_cost() -> None:
    budget = SwapBudget(0.1, 20e9)
    budget.fill(0)
    cost_s = budget.exchange_s(20_000_000_000)
    assert cost_s == pytest.approx(2.0)
    assert budget.opens_in_ns(cost_s) == 0
    budget.spend(cost_s)
    assert budget.opens_in_ns(cost_s) == pytest.approx(20 * SECOND, rel=1e-6)
    budget.fill(20 * SECOND + 1)
    assert budget.opens_in_ns(cost_s) == 0


def test_a_ceiling_keeps_its_average_over_long_kernels() -> None:
    ceiling = Ceiling(0, 0.5, SECOND)
    ceiling.charge(2.0 * SECOND)
    assert ceiling.decide()
    assert ceiling.resumes_in_ns() == pytest.approx(4 * SECOND, rel=0.02)


def test_stories_are_bounded_and_turns_do_not_push_out_the_rest() -> None:
    stories = Stories()
    stories.begin("a")
    stories.tell("a", "s", "took memory")
    for number in range(5000):
        stories.now_ns = number
        stories.tell("a", "", "waits", turn=True)
    assert stories.of("a")[0].text == "took memory"
    assert len(stories.of("a")) < ENTRIES
    for number in range(KEPT_STORIES + 5):
        stories.begin(f"b{number}")
        stories.tell(f"b{number}", "s", "begins")
        stories.end(f"b{number}")
    assert stories.of("b0") == []
    assert stories.of(f"b{KEPT_STORIES + 4}")
    assert stories.of("a")


def test_room_on_the_host_stays_for_what_a_worker_may_still_move_in_whole_pieces() -> None:
    bench = Bench(usable=GIB, spill=4 * GIB, store=0, headroom_bytes=0)
    bench.add("a", limit=GIB)
    bench.holds("a", 640 * MIB)
    bench.says("a", busy=False)
    bench.passes(60 * SECOND)
    bench.add("b", limit=GIB)
    bench.says("b", wanted_bytes=520 * MIB, waiting=True)
    taken = 640 * MIB - bench.orders["a"].allowance_bytes
    assert taken > 0
    # The one it was for is gone, but the worker may not have read that yet, and moves up to a piece more.
    bench._take(bench.machine.remove(bench.now, "b"))
    assert bench.orders["a"].spill_bytes >= taken + Policy().piece_bytes - 2 * MIB
