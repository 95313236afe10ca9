"""Any order of events: no byte is promised twice, nobody starves, and the same events give the same decisions."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gpu_server.scheduler import CannotSwap, GpuScheduler, Order, Phase, Policy, Report

MIB = 1 << 20
PIECE = Policy().piece_bytes
MS = 1_000_000
SECOND = 1_000 * MS

# The same examples each time, so that a change is blamed for what it broke; TFUSION_EXPLORE=2000 looks at other ones.
EXAMPLES = int(os.environ.get("TFUSION_EXPLORE", "80"))
EXPLORATION = settings(derandomize="TFUSION_EXPLORE" not in os.environ, deadline=None)
sizes = st.integers(1, 1200).map(lambda n: n * MIB)
moments = st.integers(0, 60).map(lambda n: n * MS)


@dataclass
class ModelWorker:
    """A worker that obeys, but takes its time: it reads its page, moves memory and rings when the test says so."""

    session_id: str
    limit: int
    resident: int = 0
    fixed: int = 0
    in_store: int = 0
    in_spill: int = 0
    wanted: int = 0
    want_number: int = 1
    has_work: bool = False
    busy_ns: int = 0
    swap_fails: bool = False
    denied: int = 0
    order: Order | None = None
    page: Order | None = None
    late: list[Report] = field(default_factory=list)

    @property
    def swapped(self) -> int:
        return self.in_store + self.in_spill

    @property
    def may_replay(self) -> bool:
        return self.order is not None and self.order.run and not self.swapped and not self.wanted

    def most(self) -> int:
        """All that it may hold before the scheduler hears of it."""
        allowed = [o.allowance_bytes for o in (self.order, self.page) if o is not None]
        return max([self.resident, *allowed])

    def report(self) -> Report:
        return Report(
            waiting=(self.has_work or self.wanted > 0) and not self.may_replay,
            busy=self.has_work and self.may_replay,
            busy_ns=self.busy_ns,
            resident_bytes=self.resident,
            fixed_bytes=self.fixed,
            swapped_bytes=self.swapped,
            stored_bytes=self.in_store,
            spilled_bytes=self.in_spill,
            wanted_bytes=self.wanted,
            want_number=self.want_number,
            allowance_bytes=self.order.allowance_bytes if self.order else 0,
            stopped=self.order is None or not self.order.run,
            swap_failed=self.swap_fails,
        )

    def read_page(self) -> None:
        self.order = self.page or self.order
        if self.order is not None and self.order.denied_want == self.want_number and self.wanted:
            self.denied += 1
            self.wanted = 0

    def allocate(self, size: int, fixed: bool) -> None:
        if not self.may_replay:
            return
        assert self.order is not None
        size = min(size, self.limit - self.resident)
        if self.resident + size <= self.order.allowance_bytes:
            self.resident += size
            self.fixed += size if fixed else 0
        else:
            self.wanted = size
            self.want_number += 1

    def free(self, size: int) -> None:
        if self.may_replay:
            self.resident -= min(size, self.resident - self.fixed)

    def move(self, size: int) -> None:
        """A piece out, or a piece in, or what was wanted."""
        order = self.order
        if order is None:
            return
        if self.resident > order.allowance_bytes:
            if order.run or self.swap_fails:
                return
            # Whole pieces: more may go than was asked for, never what is fixed.
            excess = -(-(self.resident - order.allowance_bytes) // PIECE) * PIECE
            out = min(size, excess, self.resident - self.fixed)
            store = max(0, min(out, order.store_bytes - self.in_store))
            spill = max(0, min(out - store, order.spill_bytes - self.in_spill))
            self.in_store += store
            self.in_spill += spill
            self.resident -= store + spill
        elif order.run and self.swapped:
            back = min(size, order.allowance_bytes - self.resident, self.swapped)
            spill = min(back, self.in_spill)
            self.in_spill -= spill
            self.in_store -= back - spill
            self.resident += back
        elif order.run and self.wanted and self.resident + self.wanted <= order.allowance_bytes:
            self.resident += self.wanted
            self.wanted = 0

    def work(self, elapsed_ns: int) -> None:
        if self.has_work and self.may_replay:
            self.busy_ns += elapsed_ns


class SchedulerMachine(RuleBasedStateMachine):
    """Workers with delays in every direction around one scheduler."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.workers: dict[str, ModelWorker] = {}
        self.last: dict[str, Order] = {}
        self.journal: list[Callable[[GpuScheduler], list[Order]]] = []
        self.given: list[list[Order]] = []
        self.born = 0

    @initialize(
        usable=st.integers(512, 2048).map(lambda n: n * MIB),
        store=st.sampled_from([0, 256 * MIB, 2048 * MIB, 16384 * MIB]),
        spill=st.sampled_from([0, 512 * MIB, 16384 * MIB]),
        cooling=st.sampled_from([0, 50 * MS, SECOND]),
        headroom=st.sampled_from([0, 64 * MIB, 256 * MIB]),
        first=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    )
    def start(
        self, usable: int, store: int, spill: int, cooling: int, headroom: int, first: list[int]
    ) -> None:
        """Some kernels that are at work when the surprises begin."""
        self.usable, self.store, self.spill = usable, store, spill
        self.policy = Policy(cooling_ns=cooling, headroom_bytes=headroom)
        self.scheduler = GpuScheduler(usable, store, spill, self.policy)
        for number, eighths in enumerate(first):
            self.begin(number, 1.0, usable, None, MS)
            self.allocate(number, usable * eighths // 16, number == 0)
            self.tick(MS)
            self.everybody_obeys(2 * MS, usable)

    def _feed(self, event: Callable[[GpuScheduler], list[Order]]) -> None:
        self.journal.append(event)
        orders = event(self.scheduler)
        self.given.append(orders)
        for order in orders:
            assert order != self.last.get(order.session_id), "an order that says nothing new"
            self.last[order.session_id] = order
            self.workers[order.session_id].page = order

    def _pass(self, elapsed_ns: int) -> int:
        self.now += elapsed_ns
        for w in self.workers.values():
            w.work(elapsed_ns)
        return self.now

    def _pick(self, index: int) -> ModelWorker:
        return list(self.workers.values())[index % len(self.workers)]

    @precondition(lambda self: len(self.workers) < 6)
    @rule(
        which=st.integers(0, 4),
        share=st.sampled_from([0.5, 1.0, 4.0]),
        limit=st.integers(64, 3000).map(lambda n: n * MIB),
        ceiling=st.sampled_from([None, None, 0.1, 0.5]),
        dt=moments,
    )
    def begin(self, which: int, share: float, limit: int, ceiling: float | None, dt: int) -> None:
        self.born += 1
        session_id, slice_id = f"p{self.born}", f"slice{which}"
        self.workers[session_id] = ModelWorker(session_id, min(limit, self.usable))
        now = self._pass(dt)
        self._feed(lambda s: s.add(now, session_id, slice_id, share, limit, ceiling))

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7), dt=moments)
    def die(self, index: int, dt: int) -> None:
        w = self._pick(index)
        now = self._pass(dt)
        del self.workers[w.session_id]
        self.last.pop(w.session_id, None)
        self._feed(lambda s: s.remove(now, w.session_id))

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7), work=st.booleans(), dt=moments)
    def work(self, index: int, work: bool, dt: int) -> None:
        self._pass(dt)
        self._pick(index).has_work = work

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7), size=sizes, fixed=st.integers(0, 5))
    def allocate(self, index: int, size: int, fixed: int) -> None:
        w = self._pick(index)
        w.read_page()
        w.has_work = True
        w.allocate(size, fixed == 0)

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7), size=sizes)
    def free(self, index: int, size: int) -> None:
        self._pick(index).free(size)

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7), size=sizes)
    def move(self, index: int, size: int) -> None:
        self._pick(index).move(size)

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7))
    def read_page(self, index: int) -> None:
        self._pick(index).read_page()

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7), fails=st.booleans())
    def swapping_fails(self, index: int, fails: bool) -> None:
        self._pick(index).swap_fails = fails

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7))
    def ring(self, index: int) -> None:
        """Rings; the daemon will get to it."""
        w = self._pick(index)
        if len(w.late) < 3:
            w.late.append(w.report())

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 7), dt=moments)
    def report(self, index: int, dt: int) -> None:
        w = self._pick(index)
        now = self._pass(dt)
        report = w.late.pop(0) if w.late else w.report()
        self._feed(lambda s: s.look(now, {w.session_id: report}))

    @rule(dt=moments)
    def tick(self, dt: int) -> None:
        now = self._pass(dt)
        reports = {}
        for name, w in self.workers.items():
            w.late.clear()
            reports[name] = w.report()
        self._feed(lambda s: s.look(now, reports))

    @precondition(lambda self: self.workers)
    @rule(dt=moments, size=sizes)
    def everybody_obeys(self, dt: int, size: int) -> None:
        """What happens most of the time; lets runs get somewhere."""
        for _ in range(3):
            for w in self.workers.values():
                w.read_page()
                w.move(size)
            self.tick(dt)

    @rule(speed=st.sampled_from([5e9, 50e9]))
    def swap_speed(self, speed: float) -> None:
        def note(s: GpuScheduler) -> list[Order]:
            s.note_swap_speed(speed)
            return []

        self._feed(note)

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 4), dt=moments)
    def is_asked_to_leave(self, which: int, dt: int) -> None:
        now = self._pass(dt)

        def ask(s: GpuScheduler) -> list[Order]:
            before = s.state()
            try:
                return s.send_out(now, f"slice{which}")
            except CannotSwap as refusal:
                assert str(refusal)
                assert s.state() == before
                return []

        self._feed(ask)

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 4), dt=moments)
    def is_asked_to_come_back(self, which: int, dt: int) -> None:
        now = self._pass(dt)
        self._feed(lambda s: s.call_back(now, f"slice{which}"))

    # -- what holds

    @invariant()
    def no_byte_of_the_gpu_is_promised_twice(self) -> None:
        if hasattr(self, "scheduler"):
            assert self.scheduler.charged_bytes() <= self.usable
            assert sum(w.most() for w in self.workers.values()) <= self.usable

    @invariant()
    def no_byte_of_the_host_is_promised_twice(self) -> None:
        orders = [w.page for w in self.workers.values() if w.page]
        if orders:
            assert sum(o.store_bytes for o in orders) <= self.store
            assert sum(o.spill_bytes for o in orders) <= self.spill
        if hasattr(self, "scheduler"):
            assert sum(w.in_store for w in self.workers.values()) <= self.store
            assert sum(w.in_spill for w in self.workers.values()) <= self.spill
        for w in self.workers.values():
            if w.page is not None:
                assert w.in_store <= w.page.store_bytes
                assert w.in_spill <= w.page.spill_bytes

    @invariant()
    def nobody_is_asked_for_memory_that_cannot_be_swapped(self) -> None:
        if hasattr(self, "scheduler"):
            for order in self.last.values():
                w = self.workers[order.session_id]
                if w.order == order and not w.late:
                    assert order.allowance_bytes >= w.fixed or order.allowance_bytes >= w.resident

    @invariant()
    def the_state_says_what_was_ordered(self) -> None:
        if hasattr(self, "scheduler"):
            state = self.scheduler.state()
            assert [s.session_id for s in state] == list(self.workers)
            assert all(s.allowance_bytes == self.last[s.session_id].allowance_bytes for s in state)
            places = sorted(s.place for s in state if s.place is not None)
            assert places == list(range(1, len(places) + 1))
            for s in state:
                if s.phase is Phase.RUNNING:
                    assert s.place is None
                    assert s.why == ""

    def teardown(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        self._replay_gives_the_same()
        self._nobody_starves()

    def _replay_gives_the_same(self) -> None:
        other = GpuScheduler(self.usable, self.store, self.spill, self.policy)
        assert [event(other) for event in self.journal] == self.given
        assert other.state() == self.scheduler.state()
        assert other.next_look_ns() == self.scheduler.next_look_ns()
        for slice_id in (f"slice{n}" for n in range(5)):
            assert other.story(slice_id) == self.scheduler.story(slice_id)

    def _nobody_starves(self) -> None:
        """From here everybody obeys at once and keeps working: each gets to use the GPU, or is told that it cannot."""
        ran: dict[str, Any] = {}
        start = {name: w.busy_ns for name, w in self.workers.items()}
        for w in self.workers.values():
            w.swap_fails = False
            w.has_work = True
            w.late.clear()
        self.swap_speed(20e9)
        progress, progress_step = 0, 0
        for step in range(1000):
            for name, w in self.workers.items():
                w.read_page()
                w.move(256 * MIB)
                if w.busy_ns > start[name] or w.denied:
                    ran[name] = True
            if len(ran) == len(self.workers):
                return
            done = sum(w.busy_ns + w.denied for w in self.workers.values())
            if done > progress:
                progress, progress_step = done, step
            assert step - progress_step < 300, f"the GPU is left to nobody: {self.scheduler.state()}"
            self.tick(25 * MS if step < 400 else 200 * MS if step < 700 else SECOND)
            self.no_byte_of_the_gpu_is_promised_twice()
        starved = [w for name, w in self.workers.items() if name not in ran]
        if starved and not self._host_is_full():
            raise AssertionError("starved: " + "\n".join(self._story_of(w.session_id) for w in starved))

    def _story_of(self, session_id: str) -> str:
        state = {s.session_id: s for s in self.scheduler.state()}[session_id]
        entries = self.scheduler.story(state.slice_id)
        told = [f"{e.at_ns / 1e9:.3f} {e.session_id}: {e.text}" for e in entries if e.session_id]
        return "\n".join([str(state), *told[-40:]])

    def _host_is_full(self) -> bool:
        """Without room to swap to, those that hold the GPU's memory cannot make way."""
        whole = sum(w.resident + w.swapped for w in self.workers.values())
        return whole + sum(w.wanted for w in self.workers.values()) > self.store + self.spill


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(EXPLORATION, max_examples=EXAMPLES, stateful_step_count=50)
