"""The scheduler of one GPU: events in, orders out.

Every event runs the same steps over all sessions of the GPU: charge time, fill ceilings, decide about memory, hold
back who is ahead, and write the orders that follow. Nothing is kept from one event to the next but what the steps
themselves say they keep, so the same events give the same orders (tests replay them), and an event costs time
proportional to the number of sessions.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpu_server.scheduler.ceiling import Ceiling
from gpu_server.scheduler.fairness import Fairness
from gpu_server.scheduler.host_ledger import HostLedger
from gpu_server.scheduler.ledger import Ledger
from gpu_server.scheduler.memory_plan import MemoryPlan
from gpu_server.scheduler.messages import Order, Phase, Report, SessionState
from gpu_server.scheduler.policy import MS, SECOND, Policy
from gpu_server.scheduler.session import Session, Wish
from gpu_server.scheduler.slice_account import SliceAccount
from gpu_server.scheduler.story import Stories, StoryEntry
from gpu_server.scheduler.swap_budget import SwapBudget
from gpu_server.scheduler.wishes import Wishes
from gpu_server.sizes import format_size

CONTENDED_HOLD_NS = 100 * MS
"""For so long after the last competition backlogs stay short."""
WORK_OVER_LOOK_NS = 50 * MS
"""A worker does not tell when its work is over: how often that is looked for when something is to follow."""
RETRY_NS = SECOND
"""First pause after a failed swap-out; it doubles with each further one."""
LONGEST_RETRY_NS = 60 * SECOND


class GpuScheduler:
    """Shares one GPU. Times are integer nanoseconds of one monotonic clock, sizes bytes.

    Every method that takes an event gives the orders that differ from the last one given for that session. Sessions
    that are not known (any more) are passed over: a worker's last report may come after its end.
    """

    def __init__(
        self,
        usable_bytes: int,
        store_budget_bytes: int,
        spill_budget_bytes: int,
        policy: Policy = Policy(),  # noqa: B008 - frozen
    ) -> None:
        self._usable = usable_bytes
        self._policy = policy
        self._stories = Stories()
        self._budget = SwapBudget(policy.swap_part, policy.swap_bytes_per_s)
        self._fairness = Fairness(policy, self._stories)
        pieces = store_budget_bytes // policy.piece_bytes + spill_budget_bytes // policy.piece_bytes
        host_bytes = pieces * policy.piece_bytes
        self._memory = MemoryPlan(usable_bytes, host_bytes, policy, self._budget, self._stories)
        self._wishes = Wishes(host_bytes, policy.piece_bytes, self._stories)
        self._ledger = Ledger(usable_bytes, policy)
        self._host = HostLedger(store_budget_bytes, spill_budget_bytes, policy.piece_bytes)
        self._sessions: dict[str, Session] = {}
        self._slices: dict[str, SliceAccount] = {}
        self._limits: dict[str, int] = {}
        self._arrivals = 0
        self._now_ns = 0
        self._contended_until_ns = 0
        self._next_ns: int | None = None

    # -- events

    def add(
        self,
        now_ns: int,
        session_id: str,
        slice_id: str,
        share: float,
        limit_bytes: int,
        ceiling: float | None = None,
    ) -> list[Order]:
        """A session begins. ``limit_bytes`` is the slice's limit, ``ceiling`` its part of the time (of 1) or None.

        Raises ValueError for a session that is there already, or a share or ceiling that is none.
        """
        if session_id in self._sessions:
            raise ValueError(f"session {session_id} was added twice")
        if not share > 0.0:
            raise ValueError(f"A share is a weight above 0; {share:g} was given for slice {slice_id}.")
        self._advance(now_ns)
        account = self._slices.get(slice_id)
        if account is None:
            limit = Ceiling(self._now_ns, ceiling, self._policy.ceiling_window_ns) if ceiling else None
            account = self._slices[slice_id] = SliceAccount(slice_id, share, limit)
            self._stories.begin(slice_id)
        account.share = share
        self._limits[slice_id] = limit_bytes
        self._arrivals += 1
        s = Session(session_id, account, limit_bytes, self._arrivals)
        self._sessions[session_id] = account.sessions[session_id] = s
        self._fairness.enter(self._now_ns, s)
        limited = f", at most {ceiling:.0%} of the time" if ceiling else ""
        self._tell(s, f"begins: share {share:g}, up to {format_size(limit_bytes)}{limited}")
        return self._decide({})

    def remove(self, now_ns: int, session_id: str) -> list[Order]:
        """The session's worker is gone, and its memory with it."""
        s = self._sessions.pop(session_id, None)
        if s is None:
            return []
        self._advance(now_ns)
        self._tell(s, f"ends after {s.gpu_ns / 1e9:.3f} s of GPU time")
        del s.slice.sessions[session_id]
        if not s.slice.sessions:
            self._fairness.leave(s.slice)
            del self._slices[s.slice.slice_id]
            del self._limits[s.slice.slice_id]
            self._stories.end(s.slice.slice_id)
        return self._decide({})

    def look(self, now_ns: int, reports: Mapping[str, Report]) -> list[Order]:
        """A worker rang or time has passed; with fresh reports. Those of unknown sessions are passed over."""
        self._advance(now_ns)
        return self._decide({i: reports[i] for i in self._sessions if i in reports})

    def send_out(self, now_ns: int, slice_id: str) -> list[Order]:
        """Somebody wants a slice's memory off the GPU: it goes when its work there is over.

        Raises CannotSwap where the host has no room for it; nothing has changed then.
        """
        self._advance(now_ns)
        self._wishes.send_out(list(self._sessions.values()), self._of(slice_id))
        return self._decide({})

    def call_back(self, now_ns: int, slice_id: str) -> list[Order]:
        """Somebody wants a slice's memory on the GPU before there is work for it: it waits in line for that."""
        self._advance(now_ns)
        self._wishes.call_back(self._now_ns, self._of(slice_id))
        return self._decide({})

    def note_swap_speed(self, bytes_per_s: float) -> None:
        """How fast swapping was measured to be, out and in taken together."""
        if bytes_per_s > 0.0:
            self._budget.bytes_per_s = bytes_per_s

    # -- questions

    def next_look_ns(self) -> int | None:
        """When look() is due at the latest; None: not before something is reported."""
        return self._next_ns

    def story(self, slice_id: str) -> list[StoryEntry]:
        """What was decided about a slice and why, oldest first."""
        return self._stories.of(slice_id)

    def state(self) -> list[SessionState]:
        """All sessions in the order of their arrival."""
        places = {s.session_id: place for place, s in enumerate(self._queue(), start=1)}
        return [
            SessionState(
                session_id=s.session_id,
                slice_id=s.slice.slice_id,
                phase=_phase(s),
                place=places.get(s.session_id),
                virtual_ns=int(s.slice.virtual),
                gpu_ns=int(s.gpu_ns),
                resident_bytes=s.report.resident_bytes,
                swapped_bytes=s.report.swapped_bytes,
                has_work=s.report.has_work,
                allowance_bytes=s.allowance_bytes,
                why=_why(s),
                worked_ns=s.worked_ns,
            )
            for s in self._sessions.values()
        ]

    def charged_bytes(self) -> int:
        """GPU memory that is promised or in use; never more than the usable bytes."""
        return self._ledger.charged(list(self._sessions.values()))

    # -- the steps

    def _of(self, slice_id: str) -> list[Session]:
        account = self._slices.get(slice_id)
        return list(account.sessions.values()) if account else []

    def _advance(self, now_ns: int) -> None:
        self._now_ns = max(self._now_ns, now_ns)
        self._stories.now_ns = self._now_ns

    def _decide(self, reports: Mapping[str, Report]) -> list[Order]:
        now = self._now_ns
        sessions = list(self._sessions.values())
        slices = self._slices.values()
        self._fairness.observe(now, self._sessions, reports)
        for session_id in reports:
            s = self._sessions[session_id]
            self._ledger.acknowledge(s)
            self._note_failure(s)
        self._wishes.look_after(now, sessions)
        self._fairness.settle(slices)
        self._fairness.apply_ceilings(now, slices)
        self._memory.decide(now, sessions)
        self._host.assign(sessions, sum(self._limits.values()) > self._usable)
        self._ledger.assign(now, sessions)
        self._fairness.hold_back(now, slices)
        for s in sessions:
            s.run = _may_run(s)
            self._note_taking(s)
        self._plan_next_tick()
        return self._orders(sessions)

    def _note_failure(self, s: Session) -> None:
        """A swap-out failed: not again before a pause, which grows as long as it keeps failing."""
        if not s.report.swap_failed:
            s.failures = 0
            return
        if not s.taking or self._now_ns < s.failure_seen_ns:
            return
        s.failures += 1
        pause_ns = min(LONGEST_RETRY_NS, RETRY_NS << min(s.failures - 1, 10))
        s.retry_ns = self._now_ns + pause_ns
        # A worker that has just begun to try again may still show the failure before.
        s.failure_seen_ns = s.retry_ns + RETRY_NS
        self._tell(s, f"could not be swapped out; it is left alone for {pause_ns / SECOND:.0f} s")

    def _note_taking(self, s: Session) -> None:
        taking = s.allowance_bytes < s.report.resident_bytes
        if taking and not s.taking:
            size = s.report.resident_bytes - s.allowance_bytes
            self._tell(
                s, f"gives up {format_size(size)} of its {format_size(s.report.resident_bytes)} on the GPU"
            )
        s.taking = taking

    def _plan_next_tick(self) -> None:
        """When to look next. While sessions compete or someone waits for memory: with every tick."""
        now = self._now_ns
        active = sum(1 for account in self._slices.values() if account.active)
        if active > 1:
            self._contended_until_ns = now + CONTENDED_HOLD_NS
        due = [self._memory.next_ns] if self._memory.next_ns is not None else []
        if active > 1 or any(s.active and not (s.holds and s.is_whole) for s in self._sessions.values()):
            due.append(now + self._policy.tick_ns)
        elif any(s.wish is Wish.LEAVE for s in self._sessions.values()):
            due.append(now + WORK_OVER_LOOK_NS)
        elif now < self._contended_until_ns:
            due.append(self._contended_until_ns)
        for account in self._slices.values():
            if account.ceiling is None:
                continue
            if account.ceiling.over:
                due.append(now + max(MS, account.ceiling.resumes_in_ns()))
            elif account.active:
                due.append(now + max(MS, account.ceiling.lasts_ns()))
        self._next_ns = max(now + 1, min(due)) if due else None

    def _orders(self, sessions: list[Session]) -> list[Order]:
        now = self._now_ns
        contended = now < self._contended_until_ns
        ticking = self._next_ns is not None and self._next_ns <= now + self._policy.tick_ns
        orders = []
        for s in sessions:
            # A session without work keeps its flag until it has some: most have none, and need no order now.
            if s.active or contended:
                s.contended = contended
            if s.active:
                s.watch = False
            elif not ticking:
                s.watch = True
            order = Order(
                session_id=s.session_id,
                run=s.run,
                allowance_bytes=s.allowance_bytes,
                store_bytes=s.store_bytes,
                spill_bytes=s.spill_bytes,
                contended=s.contended,
                watch=s.watch,
                denied_want=s.report.want_number if s.deny else 0,
            )
            if order != s.order:
                s.order = order
                orders.append(order)
        return orders

    def _queue(self) -> list[Session]:
        """Those that have work and may not run: first those for whom memory is missing, then those ahead in time."""
        sessions = list(self._sessions.values())
        stopped = [s for s in sessions if s.active and s.holds and s.is_whole and not s.run]
        return self._memory.queue(sessions) + sorted(stopped, key=lambda s: (s.slice.virtual, s.number))

    def _tell(self, s: Session, text: str) -> None:
        self._stories.tell(s.slice.slice_id, s.session_id, text)


def _may_run(s: Session) -> bool:
    if s.allowance_bytes < s.report.resident_bytes:
        return False
    if not s.active:
        return s.report.swapped_bytes == 0 and not s.slice.over_ceiling and not s.slice.held_back
    if not s.holds:
        return False
    # What is not whole yet must go on swapping in, and cannot replay anything before it is.
    return not s.is_whole or not (s.slice.over_ceiling or s.slice.held_back)


def _phase(s: Session) -> Phase:
    report = s.report
    if report.resident_bytes > s.allowance_bytes:
        return Phase.SWAPPING_OUT
    if report.swapped_bytes > 0:
        if s.holds:
            return Phase.SWAPPING_IN
        return Phase.WAITING if s.active else Phase.SWAPPED_OUT
    if not s.active:
        return Phase.IDLE
    return Phase.RUNNING if s.run and s.is_whole else Phase.WAITING


def _why(s: Session) -> str:
    if not s.active or (s.holds and s.is_whole and s.run):
        return ""
    if not s.holds:
        size = format_size(s.need_bytes)
        return f"It waits to have {size} on the GPU: {s.blocked_why}." if s.blocked_why else ""
    if not s.is_whole:
        return ""  # it is coming back
    if s.slice.over_ceiling:
        return "It has had as much of the GPU's time as its ceiling allows, and goes on in a moment."
    if s.slice.held_back:
        return "It has had more of the GPU's time than others who have work; it goes on when they have caught up."
    return ""
