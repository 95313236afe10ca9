"""Who can give memory for a session that does not fit: one look at all sessions of a GPU, made for one event.

Idle sessions come first, least recently active before others; then those that wait further back in the line; then
those that run and are ahead in virtual time. Fixed bytes are never counted on, nor more than the host has room for,
nor a session whose last swap-out failed a moment ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpu_server.scheduler.policy import SECOND, Policy
from gpu_server.scheduler.session import Session
from gpu_server.scheduler.swap_budget import SwapBudget

FAILURES_FOR_GOOD = 3
"""After so many failed swap-outs in a row a session's memory is not counted on for what is asked for."""
STALLED_QUANTA = 10
"""A session that may run and does not use the GPU for so long has no turn to lose."""

NEVER = float("inf")

BURST_EXCHANGES = 2
"""For a burst, memory is exchanged at once if that lasts at most so many times as long as a burst."""
OVERDUE_TURNS = 2
"""A session is overdue when it has waited for so many times as long as all the others together might take."""
Place = tuple[bool, bool, float, float, int]


def place_in_line(s: Session, bursts_first: bool = True) -> Place:
    """Sort key of sessions that have work: who is overdue, bursts, then least virtual time; within a slice, whoever
    waits the longest."""
    since_ns = NEVER if s.blocked_since_ns is None else s.blocked_since_ns
    if s.overdue:
        return (False, False, since_ns, since_ns, s.number)
    return (True, bursts_first and s.slice.burst_left_ns <= 0.0, s.slice.virtual, since_ns, s.number)


@dataclass(frozen=True)
class Displacement:
    """Sessions that have work, or had until just now, and give memory; what it costs to bring it back, in seconds."""

    sessions: list[Session]
    cost_s: float


class Victims:
    """What could be taken, and from whom."""

    def __init__(
        self,
        now_ns: int,
        usable_bytes: int,
        host_bytes: int,
        missing_bytes: int,
        sessions: Sequence[Session],
        policy: Policy,
        budget: SwapBudget,
    ) -> None:
        """``missing_bytes``: what all who wait would need beyond what is free, so the most that is taken now."""
        self.next_ns: int | None = None
        """When the answer of choose() may change by the clock alone."""
        self.why = ""
        """Why choose() found nothing."""
        self._now = now_ns
        self._usable = usable_bytes
        self._missing = max(0, missing_bytes)
        self._policy = policy
        self._budget = budget
        self._sessions = sessions
        active = [s for s in sessions if s.active]
        shares = sum({s.slice.slice_id: s.slice.share for s in active}.values())
        for s in active:
            s.overdue = self._is_overdue(s, max(float(len(active)), shares / s.slice.share))
        self.bursts_first = not any(self._is_impatient(s) for s in active)
        """Nobody has waited for so long that bursts no longer go before him."""
        self._resident = sum(s.report.resident_bytes for s in sessions)
        self._movable_for_good = sum(_movable(s) for s in sessions if s.failures < FAILURES_FOR_GOOD)
        # What goes out is rounded up twice: to the pieces that are moved, and to those that are granted.
        self._loss = 2 * policy.piece_bytes
        swapped = sum(s.report.swapped_bytes for s in sessions)
        coming = sum(s.report.swapped_bytes for s in sessions if s.holds)
        # What comes in leaves room for what goes out, piece by piece; there must be a first piece.
        self._can_exchange = usable_bytes - self._resident + host_bytes - swapped > 0
        self._room_now = host_bytes - swapped
        self._room = self._room_now + (coming if self._can_exchange else 0)
        idle = [s for s in sessions if not s.active and _movable(s) > 0]
        idle.sort(key=lambda s: (s.worked_ns, s.number))
        self._idle = [s for s in idle if now_ns >= s.retry_ns and self._idle_enough_ns(s) <= now_ns]
        self._just_idle = [s for s in idle if now_ns >= s.retry_ns and self._idle_enough_ns(s) > now_ns]
        self._from_idle = sum(_movable(s) for s in self._idle)

    def key(self, s: Session) -> Place:
        """Place in the line."""
        return place_in_line(s, self.bursts_first)

    def from_idle(self, s: Session) -> int:
        """Bytes that cost nobody a turn, for session s."""
        return min(self._from_idle, max(0, self._room_for(s) - len(self._idle) * self._loss))

    def can_never_have(self, s: Session) -> bool:
        """What s needs cannot be freed even if all the others give what can be swapped.

        Memory that its owner may free some day is not waited for: the program is better told now.
        """
        others = self._resident - s.report.resident_bytes
        return s.need_bytes + others - self._most_from_others(s) > self._usable

    def choose(self, s: Session, short_bytes: int) -> Displacement | None:
        """Who gives ``short_bytes`` to session s; None if it is not its turn or there is not enough, see ``why``."""
        missing = short_bytes
        givers = 0
        for idle in self._idle:
            if missing > 0:
                missing -= _movable(idle)
                givers += 1
        chosen: list[tuple[Session, int]] = []
        for victim in self._in_order(s):
            if missing <= 0:
                break
            gives = _movable(victim)
            if victim.holds:
                gives += victim.need_bytes - victim.report.resident_bytes
            if gives > 0:
                chosen.append((victim, gives))
                missing -= gives
        if missing > 0:
            return None
        for pair in list(chosen):
            if missing + pair[1] <= 0:  # a larger one that came later makes it unnecessary
                chosen.remove(pair)
                missing += pair[1]
        givers += len(chosen)
        if self._room_for(s) < self._least_out(short_bytes) + givers * self._loss:
            self.why = "the host has no room for what would have to be swapped out"
            return None
        paid = sum(min(_movable(victim), gives) for victim, gives in chosen)
        return Displacement([v for v, _ in chosen], self._budget.exchange_s(min(paid, short_bytes)))

    def is_urgent(self, s: Session, displaced: Displacement) -> bool:
        """The exchange need not wait for the swap budget: it costs nothing, or nobody has use for the GPU meanwhile,
        or it is for a burst, is no longer than bursts are, and takes nothing from those that run."""
        if displaced.cost_s == 0.0:
            return True
        if any(v in self._just_idle for v in displaced.sessions):
            return False
        cost_ns = displaced.cost_s * SECOND
        if not any(h.holds and not self._rests(h, cost_ns) for h in self._sessions):
            return True
        is_short = cost_ns <= BURST_EXCHANGES * self._policy.burst_ns
        is_burst = self.bursts_first and s.slice.burst_left_ns > 0.0
        return is_short and is_burst and not any(v.holds for v in displaced.sessions)

    # -- inside

    def _room_for(self, s: Session) -> int:
        return self._room + (s.report.swapped_bytes if self._can_exchange and not s.holds else 0)

    def _most_from_others(self, s: Session) -> int:
        """Most that the others could ever give, one after the other; what they have on the host stays there."""
        room = self._room_now + s.report.swapped_bytes
        if room >= self._movable_for_good + len(self._sessions) * self._loss:
            return self._movable_for_good - (_movable(s) if s.failures < FAILURES_FOR_GOOD else 0)
        movable = [_movable(v) for v in self._sessions if v is not s and v.failures < FAILURES_FOR_GOOD]
        most = 0
        for size in sorted(movable, reverse=True):
            gives = max(0, min(size, room - self._loss))
            most += gives
            room -= gives + self._loss
        return most

    def _least_out(self, short_bytes: int) -> int:
        """Least that must go to the host: claims that are given up need none."""
        unmet = sum(h.need_bytes - h.report.resident_bytes for h in self._sessions if h.holds)
        return short_bytes - unmet

    def _in_order(self, s: Session) -> list[Session]:
        behind = [
            w
            for w in self._sessions
            if w.active
            and not w.holds
            and w is not s
            and self.key(w) > self.key(s)
            and self._now >= w.retry_ns
        ]
        behind.sort(key=self.key, reverse=True)
        self.why = "its turn has not come: those that run are not ahead of it, or have only just begun"
        running = [h for h in self._sessions if h.holds and h is not s and self._now >= h.retry_ns]
        running = [h for h in running if self._has_had_its_turn(h, s)]
        running.sort(key=self.key, reverse=True)
        return [*self._just_idle, *behind, *running]

    def _has_had_its_turn(self, h: Session, s: Session) -> bool:
        if h.resident_since_ns is None:
            return self._now - h.grew_ns > self._budget.patience_ns(h.need_bytes)
        over_ns = h.resident_since_ns + self._policy.quantum_ns
        if self._now < over_ns:
            self._look_again(over_ns)
            return False
        if h.busy_seen_ns <= h.resident_since_ns and not self._is_stalled(h) and not h.slice.over_ceiling:
            return False  # it has its memory, and has not come to use it yet
        if s.overdue:
            return True
        if h.slice is s.slice:
            return self._is_impatient(s)
        ahead_ns = h.slice.virtual - s.slice.virtual
        if self._is_impatient(s):
            # Held back in time, a slice stays ahead by up to a quantum, though one of its sessions waits here for
            # memory while another one runs.
            ahead_ns += 2 * self._policy.quantum_ns / min(s.slice.share, h.slice.share)
        return ahead_ns > 0.0 or h.slice.over_ceiling or self._is_stalled(h)

    def _is_impatient(self, s: Session) -> bool:
        if s.blocked_since_ns is None:
            return False
        return self._now - s.blocked_since_ns > self._budget.patience_ns(s.need_bytes)

    def _is_overdue(self, s: Session, turns: float) -> bool:
        """A slice that gets its time through one of its sessions is never behind, so another one that waits for memory
        would never have its turn by virtual time; neither would it under a very uneven load."""
        if s.blocked_since_ns is None:
            return False
        longest_ns = OVERDUE_TURNS * turns * self._budget.patience_ns(s.need_bytes)
        return self._now - s.blocked_since_ns > longest_ns

    def _is_stalled(self, h: Session) -> bool:
        seen_ns = max(h.busy_seen_ns, h.resident_since_ns or 0)
        return not h.slice.held_back and self._now - seen_ns > STALLED_QUANTA * self._policy.quantum_ns

    def _rests(self, h: Session, cost_ns: float) -> bool:
        """Its ceiling keeps it from running for as long as the exchange lasts."""
        ceiling = h.slice.ceiling
        return ceiling is not None and ceiling.over and ceiling.resumes_in_ns() > cost_ns

    def _idle_enough_ns(self, s: Session) -> int:
        """From when on its memory is taken without a turn's cost: break-even of waiting and exchanging."""
        cost_s = self._budget.exchange_s(min(_movable(s), self._missing))
        enough_ns = s.worked_ns + int(cost_s * SECOND)
        if enough_ns > self._now:
            self._look_again(enough_ns)
        return enough_ns

    def _look_again(self, at_ns: int) -> None:
        self.next_ns = at_ns if self.next_ns is None else min(self.next_ns, at_ns)


def _movable(s: Session) -> int:
    return max(0, s.report.resident_bytes - s.report.fixed_bytes)
