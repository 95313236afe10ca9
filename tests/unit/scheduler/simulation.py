"""A GPU, its link to the host and workers that obey, in simulated time, around a real GpuScheduler.

The hardware shares its time equally between the workers that have work on it, and the link its speed between those
that swap. Workers read orders one step late, ring as real ones do, and keep a backlog on the GPU that no order can
take back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gpu_server.scheduler import GpuScheduler, Order, Policy, Report

MIB = 1 << 20
GIB = 1 << 30
MS = 1_000_000
SECOND = 1_000 * MS

LONG_BACKLOG_NS = 40 * MS
SHORT_BACKLOG_NS = 4 * MS

# A program: given the worker and the time, the GPU work (ns) that it has produced by now. May ask for memory.
Program = Callable[["Worker", int], None]


@dataclass
class Worker:
    """One session. ``pending_ns`` is work not replayed yet, ``backlog_ns`` work on the GPU."""

    session_id: str
    slice_id: str
    program: Program
    fixed: int = 0
    resident: int = 0
    swapped: int = 0
    wanted: int = 0
    pending_ns: int = 0
    backlog_ns: int = 0
    busy_ns: int = 0
    done_ns: int = 0
    order: Order | None = None
    mail: Order | None = None
    denied: int = 0
    busy_at: list[int] = field(default_factory=list)
    rang: bool = True
    swap_fails: bool = False

    @property
    def stopped(self) -> bool:
        return self.order is None or not (self.order.run or self.backlog_ns)

    @property
    def can_replay(self) -> bool:
        return self.order is not None and self.order.run and self.swapped == 0 and self.wanted == 0

    def want(self, size: int) -> None:
        self.wanted += size

    def report(self) -> Report:
        has_commands = self.pending_ns > 0
        return Report(
            waiting=(has_commands or self.wanted > 0) and not self.can_replay,
            busy=self.backlog_ns > 0 or (has_commands and self.can_replay),
            busy_ns=self.busy_ns,
            resident_bytes=self.resident,
            fixed_bytes=self.fixed,
            swapped_bytes=self.swapped,
            stored_bytes=self.swapped,
            spilled_bytes=self.swapped,
            wanted_bytes=self.wanted,
            allowance_bytes=self.order.allowance_bytes if self.order else 0,
            stopped=self.stopped,
            swap_failed=self.swap_fails,
        )


class Simulation:
    """Steps of ``step_ns``. ``moved`` sums bytes swapped, ``idle_ns`` the time in which the GPU had no work though
    someone had commands for it."""

    def __init__(
        self,
        usable: int = 16 * GIB,
        store: int = 64 * GIB,
        spill: int = 0,
        policy: Policy | None = None,
        step_ns: int = MS,
        link_bytes_per_s: float = 20e9,
    ) -> None:
        self.policy = policy or Policy()
        self.machine = GpuScheduler(usable, store, spill, self.policy)
        self.usable, self.store, self.spill = usable, store, spill
        self.step_ns = step_ns
        self.link = link_bytes_per_s
        self.now = 0
        self.workers: dict[str, Worker] = {}
        self.moved = 0
        self.swap_ns = 0
        self.idle_ns = 0
        self.ticks = 0
        self.rings = 0
        self.orders = 0

    def add(
        self,
        name: str,
        program: Program,
        share: float = 1.0,
        limit: int = 4 * GIB,
        ceiling: float | None = None,
        slice_id: str = "",
        fixed: int = 0,
    ) -> Worker:
        w = Worker(name, slice_id or name, program, fixed=fixed)
        self.workers[name] = w
        self._deliver(self.machine.add(self.now, name, w.slice_id, share, limit, ceiling))
        return w

    def end(self, name: str) -> None:
        del self.workers[name]
        self._deliver(self.machine.remove(self.now, name))

    def run(self, seconds: float) -> None:
        until = self.now + round(seconds * SECOND)
        while self.now < until:
            self.step()

    def step(self) -> None:
        self.now += self.step_ns
        ring = self._read_orders()
        self._run_programs(ring)
        self._run_gpu(ring)
        self._swap(ring)
        for name in ring:
            if name in self.workers:
                self.rings += 1
                self._deliver(self.machine.look(self.now, {name: self.workers[name].report()}))
        due = self.machine.next_look_ns()
        if due is not None and due <= self.now:
            self.ticks += 1
            self._deliver(self.machine.look(self.now, self.reports()))
        self.check()

    def reports(self) -> Mapping[str, Report]:
        return {name: w.report() for name, w in self.workers.items()}

    def check(self) -> None:
        resident = sum(w.resident for w in self.workers.values())
        assert resident <= self.usable, "more memory is in use than the GPU may give"
        assert self.machine.charged_bytes() <= self.usable, "memory is promised twice"
        given = [w.mail or w.order for w in self.workers.values()]
        assert sum(o.store_bytes for o in given if o) <= self.store
        assert sum(o.spill_bytes for o in given if o) <= self.spill

    # -- inside

    def _deliver(self, orders: list[Order]) -> None:
        for order in orders:
            self.orders += 1
            w = self.workers[order.session_id]
            assert order != (w.mail or w.order), "an order that says nothing new"
            w.mail = order

    def _read_orders(self) -> dict[str, None]:
        ring: dict[str, None] = {}
        for w in self.workers.values():
            if w.mail is not None:
                if w.order is None or w.mail.allowance_bytes != w.order.allowance_bytes:
                    ring[w.session_id] = None
                w.order, w.mail = w.mail, None
                if w.order.denied_want and w.wanted:
                    w.denied += w.wanted
                    w.wanted = 0
                    ring[w.session_id] = None
        return ring

    def _run_programs(self, ring: dict[str, None]) -> None:
        for w in self.workers.values():
            had = w.pending_ns > 0 or w.backlog_ns > 0 or w.wanted > 0
            wanted = w.wanted
            w.program(w, self.now)
            if w.wanted and w.order and w.order.run and w.swapped == 0:
                room = w.order.allowance_bytes - w.resident
                if room >= w.wanted:
                    w.resident += w.wanted
                    w.wanted = 0
            if w.wanted > wanted:
                ring[w.session_id] = None
            if not had and w.pending_ns and w.order is not None and w.order.watch:
                ring[w.session_id] = None

    def _run_gpu(self, ring: dict[str, None]) -> None:
        for w in self.workers.values():
            if w.can_replay and w.pending_ns:
                assert w.order is not None
                most = SHORT_BACKLOG_NS if w.order.contended else LONG_BACKLOG_NS
                more = min(w.pending_ns, max(0, most - w.backlog_ns))
                w.pending_ns -= more
                w.backlog_ns += more
        left = self.step_ns
        runners = [w for w in self.workers.values() if w.backlog_ns]
        if not runners and any(w.pending_ns for w in self.workers.values()):
            self.idle_ns += self.step_ns
        for w in runners:
            w.busy_ns += self.step_ns
            w.busy_at.append(self.now)
        while runners and left > 0:
            part = max(1, min(left // len(runners), *(w.backlog_ns for w in runners), left))
            for w in runners:
                used = min(part, w.backlog_ns, left)
                w.backlog_ns -= used
                w.done_ns += used
                left -= used
            runners = [w for w in runners if w.backlog_ns]
        for w in self.workers.values():
            if w.stopped and not w.rang:
                ring[w.session_id] = None
            w.rang = w.stopped

    def _swap(self, ring: dict[str, None]) -> None:
        out = [
            w
            for w in self.workers.values()
            if w.order
            and w.stopped
            and not w.swap_fails
            and w.resident > max(w.order.allowance_bytes, w.fixed)
            and w.swapped < w.order.store_bytes + w.order.spill_bytes
        ]
        back = [
            w
            for w in self.workers.values()
            if w.order and w.order.run and w.swapped and w.resident < w.order.allowance_bytes
        ]
        if not out and not back:
            return
        self.swap_ns += self.step_ns
        budget = int(self.link * self.step_ns / SECOND) // (len(out) + len(back))
        for w in out:
            assert w.order is not None
            room = w.order.store_bytes + w.order.spill_bytes - w.swapped
            size = min(budget, room, w.resident - max(w.order.allowance_bytes, w.fixed))
            self._move(w, -size)
            ring[w.session_id] = None
        for w in back:
            assert w.order is not None
            self._move(w, min(budget, w.swapped, w.order.allowance_bytes - w.resident))
            ring[w.session_id] = None

    def _move(self, w: Worker, size: int) -> None:
        w.resident += size
        w.swapped -= size
        self.moved += abs(size)


def long_run(memory: int = 0) -> Program:
    """Always has more work; asks for its memory at the start."""
    asked = False

    def program(w: Worker, now: int) -> None:
        nonlocal asked
        if memory and not asked:
            w.want(memory)
            asked = True
        w.pending_ns = max(w.pending_ns, SECOND)

    return program


def at_intervals(work_ns: int, pause_ns: int, memory: int = 0, start_ns: int = 0) -> Program:
    """Works, thinks for ``pause_ns`` after the work is done, and works again."""
    asked = False
    next_at = start_ns
    working = False

    def program(w: Worker, now: int) -> None:
        nonlocal asked, next_at, working
        if now < start_ns:
            return
        if memory and not asked:
            w.want(memory)
            asked = True
        if working and not w.pending_ns and not w.backlog_ns:
            working, next_at = False, now + pause_ns
        if not working and now >= next_at:
            working = True
            w.pending_ns += work_ns

    return program


def nothing(w: Worker, now: int) -> None:
    """Never has any work."""
