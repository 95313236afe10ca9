"""Where swapped memory may go: pinned host memory (the store) first, disk (spill) beyond that. Nothing twice.

What must hold at every moment: the grants of store sum to at most its budget, those of spill to at most theirs.
A grant is lowered no further than what the session has in it; while something is going out, which may go to either
place, no further than all that it has on the host then. Down to that the lowering counts at once, because the worker
has nothing there.

Pinning memory takes long. While the slices of a GPU were promised more than it has, a session therefore gets a grant
of store for all that it could swap ahead of need, as far as the budget lasts; whoever has to swap now takes it back.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_server.scheduler.session import Session
from gpu_server.sizes import MIB

PAGE_BYTES = 2 * MIB
"""Physical memory comes in these."""
LOWERED_PIECES = 8
"""An advance grant is lowered when it is larger than needed by so many pieces."""


class HostLedger:
    """Grants of host memory and disk of one GPU's sessions."""

    def __init__(self, store_budget_bytes: int, spill_budget_bytes: int, piece_bytes: int) -> None:
        self._piece = piece_bytes
        self._store_budget = self._whole(store_budget_bytes)
        self._spill_budget = self._whole(spill_budget_bytes)

    def assign(self, sessions: Sequence[Session], oversubscribed: bool) -> None:
        """Grants what the plan wants to take, and limits the plan to what can be granted."""
        for s in sessions:
            self._lower(s, oversubscribed)
        store_free = self._store_budget - sum(s.store_bytes for s in sessions)
        spill_free = self._spill_budget - sum(s.spill_bytes for s in sessions)
        for s in sessions:
            if not s.take_bytes:
                continue
            missing = self._goal(s) - s.store_bytes - s.spill_bytes
            if missing > 0:
                if missing > store_free:
                    store_free += self._take_back(sessions, s, missing - store_free)
                more = max(0, min(missing, store_free))
                s.store_bytes += more
                store_free -= more
                rest = max(0, min(missing - more, spill_free))
                s.spill_bytes += rest
                spill_free -= rest
                missing -= more + rest
            if missing > 0:  # what is granted must do even if the worker moves a piece too much
                room = s.store_bytes + s.spill_bytes - s.report.swapped_bytes
                s.take_bytes = max(0, min(s.take_bytes, room - (self._piece - PAGE_BYTES)))
        if oversubscribed:
            for s in sessions:
                if store_free <= 0:
                    return
                more = min(self._up(_movable(s) + s.report.swapped_bytes) - s.store_bytes, store_free)
                if more > 0:
                    s.store_bytes += more
                    store_free -= more

    def _lower(self, s: Session, oversubscribed: bool) -> None:
        if not s.take_bytes:
            s.spill_bytes = min(s.spill_bytes, self._up(self._occupied(s, s.report.spilled_bytes)))
        ahead = _movable(s) + s.report.swapped_bytes if oversubscribed else 0
        stored = self._occupied(s, s.report.stored_bytes)
        kept = self._up(max(ahead, s.report.swapped_bytes + s.take_bytes, stored))
        if not oversubscribed or s.store_bytes - kept > LOWERED_PIECES * self._piece:
            s.store_bytes = min(s.store_bytes, kept)

    def _take_back(self, sessions: Sequence[Session], needy: Session, missing: int) -> int:
        """Advance grants that others do not use yet."""
        freed = 0
        for s in sessions:
            if freed >= missing:
                break
            if s is needy:
                continue
            used = self._occupied(s, s.report.stored_bytes)
            if s.take_bytes:
                used = max(used, self._goal(s) - s.spill_bytes)
            unused = s.store_bytes - self._up(used)
            if unused > 0:
                back = min(unused, missing - freed)
                s.store_bytes -= back
                freed += back
        return freed

    def _occupied(self, s: Session, there: int) -> int:
        """What it has in one of the places, where it told of ``there``, or may be putting there now: a worker that
        swaps out moves whole pieces."""
        out = s.outgoing_bytes()
        return max(there, s.report.swapped_bytes + out + self._piece - PAGE_BYTES) if out else there

    def _goal(self, s: Session) -> int:
        """Room for what is to go out, and what may go out with it."""
        take = min(_movable(s), s.take_bytes + self._piece - PAGE_BYTES)
        return self._up(s.report.swapped_bytes + take)

    def _whole(self, size: int) -> int:
        return size // self._piece * self._piece

    def _up(self, size: int) -> int:
        return -(-size // self._piece) * self._piece


def _movable(s: Session) -> int:
    return max(0, s.report.resident_bytes - s.report.fixed_bytes)
