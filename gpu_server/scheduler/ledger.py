"""No byte of GPU memory is promised twice.

What must hold at every moment: the sum of the sessions' charges is at most the usable bytes. A session's charge is
the most that its worker may hold, whatever it has read of its orders: the highest allowance since the one that it
acknowledged, and what it holds. So an allowance that was lowered frees memory only when the worker has acknowledged
it and holds no more.

An acknowledgement is recognised by its value, and reports may come late. A new allowance therefore never has the value
of one that the worker may still go by; it is a byte or two more.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_server.scheduler.policy import Policy
from gpu_server.scheduler.session import Session

TOP_UP_PART = 1 / 4
"""Headroom is filled up again when less than this part of it is left: an order for each piece would be too many."""
KEPT_HEADROOMS = 2
"""So many times the headroom may stay after memory was freed."""
MOST_OUTSTANDING = 32
"""A worker that acknowledges nothing for so many orders is believed to go by the highest or the lowest of them."""


class Ledger:
    """Allowances of one GPU."""

    def __init__(self, usable_bytes: int, policy: Policy) -> None:
        self._usable = usable_bytes
        self._headroom = policy.headroom_bytes

    def charged(self, sessions: Sequence[Session]) -> int:
        """Bytes that are promised or in use."""
        return sum(s.charge_bytes() for s in sessions)

    def acknowledge(self, s: Session) -> None:
        """A report came: orders before the one that it acknowledges are over."""
        try:
            first = s.outstanding.index(s.report.allowance_bytes)
        except ValueError:
            return
        if first:
            del s.outstanding[:first]
            s.peak_bytes, s.lowest_bytes = max(s.outstanding), min(s.outstanding)

    def assign(self, now_ns: int, sessions: Sequence[Session]) -> None:
        """Sets the allowances that follow from claims and takes, as far as memory is free already.

        Called again with every report, so memory that is given up piece by piece is handed on piece by piece.
        """
        goals = self._goals(sessions)
        for s in sessions:
            if goals[s.number] < s.allowance_bytes:
                # A byte more fits: the higher allowance before stays charged.
                self._order(s, min(_distinct(s, goals[s.number]), s.allowance_bytes))
        free = self._usable - self.charged(sessions)
        claims = [s for s in sessions if s.allowance_bytes < goals[s.number]]
        # In the order in which they were let in: whoever comes later waits for what is freed for it.
        claims.sort(key=lambda s: (not s.holds, s.held_since_ns, s.number))
        for s in claims:
            charge = s.charge_bytes()
            most = charge + max(0, free)
            allowance = min(goals[s.number], most)
            allowance = min(_distinct(s, allowance), most)
            if allowance > s.allowance_bytes:
                if s.holds and s.allowance_bytes < s.need_bytes:
                    # What is wanted is allocated as a whole: it collects its memory though it holds no more of it.
                    s.grew_ns = now_ns
                free -= max(0, allowance - charge)
                self._order(s, allowance)

    def _order(self, s: Session, allowance: int) -> None:
        if allowance == s.allowance_bytes:
            return
        s.allowance_bytes = allowance
        s.outstanding.append(allowance)
        if len(s.outstanding) > MOST_OUTSTANDING:
            old = s.outstanding[: MOST_OUTSTANDING // 2]
            s.outstanding[: len(old)] = [min(old), max(old), min(old)]  # whichever is acknowledged, both stay
        s.peak_bytes, s.lowest_bytes = max(s.outstanding), min(s.outstanding)

    def _goals(self, sessions: Sequence[Session]) -> dict[int, int]:
        """The allowance that each session shall have in the end: what it needs or may keep, and some headroom."""
        base: dict[int, int] = {}
        slack: dict[int, int] = {}
        total = 0
        for s in sessions:
            keeps = s.need_bytes if s.holds else s.report.resident_bytes - s.take_bytes
            base[s.number] = keeps
            most = self._most_headroom(s, keeps)
            kept = s.allowance_bytes - keeps
            if kept > KEPT_HEADROOMS * most:
                kept = most
            slack[s.number] = max(0, kept)
            total += keeps + slack[s.number]
        if total > self._usable:
            self._cut(sessions, slack, total - self._usable)
        elif total < self._usable:
            self._top_up(sessions, base, slack, self._usable - total)
        return {number: keeps + slack[number] for number, keeps in base.items()}

    def _most_headroom(self, s: Session, keeps: int) -> int:
        if s.take_bytes or (s.active and not s.holds) or (s.report.swapped_bytes and not s.holds):
            return 0
        return max(0, min(self._headroom, s.limit_bytes - keeps))

    def _cut(self, sessions: Sequence[Session], slack: dict[int, int], excess: int) -> None:
        """Unused headroom goes first, of those that do not run before others; nobody is stopped for that."""
        for s in sorted(sessions, key=lambda s: (s.holds, -slack[s.number], s.number)):
            if excess <= 0:
                return
            cut = min(slack[s.number], excess)
            slack[s.number] -= cut
            excess -= cut

    def _top_up(
        self, sessions: Sequence[Session], base: dict[int, int], slack: dict[int, int], spare: int
    ) -> None:
        for holds in (True, False):
            for s in sessions:
                if s.holds is not holds:
                    continue
                most = self._most_headroom(s, base[s.number])
                if slack[s.number] < most * TOP_UP_PART:
                    more = min(most - slack[s.number], spare)
                    slack[s.number] += more
                    spare -= more


def _distinct(s: Session, allowance: int) -> int:
    while allowance in s.outstanding:
        allowance += 1
    return allowance
