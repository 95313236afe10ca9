"""Who holds memory, who waits for it, and who gives it.

A session that has work *holds* if it has a claim to everything that it needs; only then may it run. Claims are kept
from event to event; what has to be taken from the others follows from them afresh each time, so that it needs no
memory of its own and a lost or late report cannot lead it astray.

The rules, in the order in which they are tried for each session that wants in, those first in line first (bursts,
then least virtual time):

1. It fits, or fits with what idle sessions can give: it is let in. This goes for those further back, too (backfill):
   they may be sent out again when the one before them gets its turn, so they do not delay it. Only while memory is
   collected for one that is overdue is nobody else let in.
2. The first one that does not fit may displace sessions that have work: those that wait behind it, and those that run
   and are ahead of it in virtual time. Each such exchange is paid from the swap budget and waits until there is
   enough in it. A session that has only just become idle counts as one with work until it has been idle for as long
   as taking what is missing and bringing it back would last: a training loop that reads its next batch keeps its
   memory.
3. Otherwise it waits, and the story says what for.

What can never be met is denied.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_server.scheduler.policy import Policy
from gpu_server.scheduler.session import Session, Wish
from gpu_server.scheduler.story import Stories
from gpu_server.scheduler.swap_budget import SwapBudget
from gpu_server.scheduler.victims import Victims, place_in_line
from gpu_server.sizes import format_size


class MemoryPlan:
    """Claims to one GPU's memory. Writes the sessions' ``holds``, ``take_bytes`` and ``deny``."""

    def __init__(
        self, usable_bytes: int, host_bytes: int, policy: Policy, budget: SwapBudget, stories: Stories
    ) -> None:
        self._usable = usable_bytes
        self._host = host_bytes  # store and spill together
        self._policy = policy
        self._budget = budget
        self._stories = stories
        self._shortage_bytes = 0
        self._shortage_ns = 0
        self._held = 0
        self._loose = 0
        self.next_ns: int | None = None
        """When something about memory changes by the clock alone; None: never."""

    def decide(self, now_ns: int, sessions: Sequence[Session]) -> None:
        """Everything about memory, for this event."""
        self._budget.fill(now_ns)
        self.next_ns = None
        waiting = self._sort_out(now_ns, sessions)
        if waiting:
            self._let_in(now_ns, sessions, waiting)
        self._plan_takes(now_ns, sessions)
        self._note_residency(now_ns, sessions)

    def queue(self, sessions: Sequence[Session]) -> list[Session]:
        """The sessions that have work and wait for memory, first in line first."""
        return sorted((s for s in sessions if s.active and not s.holds), key=place_in_line)

    # -- claims

    def _sort_out(self, now_ns: int, sessions: Sequence[Session]) -> list[Session]:
        """Sums up what is claimed and what is not; gives the sessions that want in."""
        self._held = self._loose = 0
        waiting = []
        for s in sessions:
            report = s.report
            if report.wanted_bytes == 0:
                s.deny = False
            s.need_bytes = (
                report.resident_bytes + report.swapped_bytes + (0 if s.deny else report.wanted_bytes)
            )
            if not s.active:
                s.holds = s.overdue = False
                s.blocked_since_ns = None
            elif s.holds and self._got_nowhere(now_ns, s):
                self._block(now_ns, s, "the memory that it was to get did not become free")
                waiting.append(s)
            elif s.holds and (s.deny or report.wanted_bytes <= s.granted_bytes):
                if report.wanted_bytes == 0:
                    s.granted_bytes = 0
                self._held += s.need_bytes
                continue
            else:
                s.holds = False
                waiting.append(s)
            self._loose += report.resident_bytes
        return waiting

    def _got_nowhere(self, now_ns: int, s: Session) -> bool:
        """It gets no more and still lacks memory: who should give it does not, or cannot. Others run rather."""
        late_ns = s.grew_ns + 2 * self._budget.patience_ns(s.need_bytes)
        return not s.is_whole and now_ns > late_ns

    def _let_in(self, now_ns: int, sessions: Sequence[Session], waiting: list[Session]) -> None:
        if self._held + sum(s.need_bytes for s in waiting) + self._loose <= self._usable:
            # Nothing to choose: what waits fits even if all the others keep what they have.
            for s in waiting:
                self._admit(now_ns, s)
            return
        missing = self._held + self._loose - self._usable
        missing += sum(s.need_bytes - s.report.resident_bytes for s in waiting)
        victims = Victims(now_ns, self._usable, self._host, missing, sessions, self._policy, self._budget)
        # Whoever still has everything after a pause goes on, before anybody could take its pause for an end.
        back = [s for s in waiting if s.blocked_since_ns is None and s.is_whole and s.report.resident_bytes]
        for s in back:
            if self._short_by(s) <= victims.from_idle(s):
                self._admit(now_ns, s)
        waiting = sorted((s for s in waiting if not s.holds), key=victims.key)
        first, collecting = True, False
        for s in waiting:
            if s.report.wanted_bytes and not s.deny and victims.can_never_have(s):
                self._deny(s)
            short = self._short_by(s)
            if short <= victims.from_idle(s) and not (collecting and s.need_bytes > 0):
                self._admit(now_ns, s)
            elif first:
                first = False
                self._displace_for(now_ns, s, short, victims)
                collecting = s.overdue and not s.holds
            else:
                self._block(now_ns, s, "others are before it in the queue for memory")

    def _short_by(self, s: Session) -> int:
        """Bytes that somebody has to give before s, which does not hold, has all that it needs."""
        return self._held + s.need_bytes + self._loose - s.report.resident_bytes - self._usable

    def _displace_for(self, now_ns: int, s: Session, short: int, victims: Victims) -> None:
        self._shortage_bytes, self._shortage_ns = short, now_ns
        if s.slice.over_ceiling:
            self._block(now_ns, s, "it has had its ceiling, so nobody is displaced for it")
            return
        chosen = victims.choose(s, short)
        self._wake_at(victims.next_ns)
        if chosen is None:
            self._block(now_ns, s, victims.why, short)
            return
        opens_ns = 0 if victims.is_urgent(s, chosen) else self._budget.opens_in_ns(chosen.cost_s)
        if opens_ns > 0:
            self._wake_at(now_ns + opens_ns)
            self._block(now_ns, s, "its turn comes when enough time for swapping is saved up", short)
            return
        self._budget.spend(chosen.cost_s)
        for victim in chosen.sessions:
            if victim.holds:
                victim.holds = False
                self._held -= victim.need_bytes
                self._loose += victim.report.resident_bytes
                self._block(
                    now_ns, victim, f"slice {s.slice.slice_id} is furthest behind and needs the memory"
                )
        self._admit(now_ns, s)

    def _admit(self, now_ns: int, s: Session) -> None:
        report = s.report
        if s.blocked_since_ns is not None:
            waited = (now_ns - s.blocked_since_ns) / 1e6
            self._tell(
                s, f"may have {format_size(s.need_bytes)} on the GPU, after {waited:.0f} ms in the queue"
            )
        elif report.swapped_bytes > 0:
            self._tell(
                s, f"has work again: its {format_size(report.swapped_bytes)} on the host may come back"
            )
        s.held_since_ns = s.grew_ns = now_ns
        s.holds = True
        s.granted_bytes = 0 if s.deny else report.wanted_bytes
        s.blocked_since_ns = None
        s.blocked_why = ""
        s.overdue = False
        self._held += s.need_bytes
        self._loose -= report.resident_bytes

    def _block(self, now_ns: int, s: Session, why: str, short: int = 0) -> None:
        s.holds = False
        s.granted_bytes = 0
        if s.blocked_since_ns is None:
            s.blocked_since_ns = now_ns
        if why != s.blocked_why:
            s.blocked_why = why
            missing = f" ({format_size(short)} are missing)" if short > 0 else ""
            self._tell(s, f"waits to have {format_size(s.need_bytes)} on the GPU{missing}: {why}")

    def _deny(self, s: Session) -> None:
        s.deny = True
        asked, s.need_bytes = s.need_bytes, s.need_bytes - s.report.wanted_bytes
        self._tell(
            s,
            f"is denied {format_size(s.report.wanted_bytes)}: it would have {format_size(asked)}, and that much "
            "cannot be freed whoever gives up what can be swapped",
        )

    # -- what is taken from whom

    def _plan_takes(self, now_ns: int, sessions: Sequence[Session]) -> None:
        for s in sessions:
            s.take_bytes = 0
        wished = self._take_wished(now_ns, sessions)
        shortage = self._held + self._loose - wished - self._usable
        reserve = self._reserve_bytes(now_ns)
        if shortage <= 0 and shortage + reserve <= 0:
            return
        room = self._room(sessions) - wished
        idle = sorted((s for s in sessions if not s.active), key=lambda s: (s.worked_ns, s.number))
        behind = sorted((s for s in sessions if s.active and not s.holds), key=place_in_line, reverse=True)
        for s in [*idle, *behind]:
            if shortage <= 0:
                break
            if s.take_bytes:
                continue  # as much as there was room for, at its owner's wish
            s.take_bytes = max(0, min(self._takeable(now_ns, s), shortage, room))
            shortage -= s.take_bytes
            room -= s.take_bytes
        if shortage > 0:
            self._revoke(now_ns, sessions, shortage)
        elif shortage + reserve > 0:
            self._take_ahead(now_ns, idle, shortage + reserve, room)

    def _room(self, sessions: Sequence[Session]) -> int:
        return self._host - sum(s.report.swapped_bytes for s in sessions if not s.holds)

    def _take_wished(self, now_ns: int, sessions: Sequence[Session]) -> int:
        """What leaves because somebody asked, whether or not memory is short."""
        leaving = [s for s in sessions if s.wish is Wish.LEAVING]
        wished, room = 0, self._room(sessions) if leaving else 0
        for s in leaving:
            s.take_bytes = max(0, min(self._takeable(now_ns, s), room - wished))
            wished += s.take_bytes
        return wished

    def _takeable(self, now_ns: int, s: Session) -> int:
        if now_ns < s.retry_ns:
            self._wake_at(s.retry_ns)
            return 0
        return s.report.resident_bytes - s.report.fixed_bytes

    def _revoke(self, now_ns: int, sessions: Sequence[Session], shortage: int) -> None:
        """What was counted on did not come (a swap failed, or an idle session has work again): claims are given up,
        of those that cannot run yet, those last in line first."""
        for s in sorted((s for s in sessions if s.holds and not s.is_whole), key=place_in_line, reverse=True):
            if shortage <= 0:
                return
            shortage -= s.need_bytes - s.report.resident_bytes
            self._block(now_ns, s, "the memory that it was to get did not become free")

    def _reserve_bytes(self, now_ns: int) -> int:
        """What to keep free ahead of need: as much as was missing lately, but no more than a quarter of the GPU."""
        cooling_ns = self._policy.cooling_ns
        if not cooling_ns or not self._shortage_bytes or now_ns - self._shortage_ns > 10 * cooling_ns:
            return 0
        return min(self._shortage_bytes, self._usable // 4)

    def _take_ahead(self, now_ns: int, idle: Sequence[Session], missing: int, room: int) -> None:
        for s in idle:
            cooled_ns = s.worked_ns + self._policy.cooling_ns
            rest = min(self._takeable(now_ns, s) - s.take_bytes, missing, room)
            if rest <= 0:
                continue
            if now_ns < cooled_ns:
                self._wake_at(cooled_ns)  # least recently active first: the others cool later
                return
            s.take_bytes += rest
            missing -= rest
            room -= rest

    # -- since when

    def _note_residency(self, now_ns: int, sessions: Sequence[Session]) -> None:
        for s in sessions:
            # Neither a pause nor a want in between begins a new turn.
            if s.report.swapped_bytes > 0 or (s.active and not s.holds):
                s.resident_since_ns = None
            elif s.resident_since_ns is None and s.holds and s.is_whole:
                s.resident_since_ns = now_ns

    def _wake_at(self, at_ns: int | None) -> None:
        if at_ns is not None:
            self.next_ns = at_ns if self.next_ns is None else min(self.next_ns, at_ns)

    def _tell(self, s: Session, text: str) -> None:
        self._stories.tell(s.slice.slice_id, s.session_id, text)
