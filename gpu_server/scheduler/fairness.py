"""Fair queueing in virtual GPU time: who was charged what, who is ahead, and who waits for the others.

A slice's virtual time is the GPU time that it had, divided by its share. The hardware itself slices time equally
between processes with work; this only holds back whoever gets ahead of the one furthest behind by more than a
quantum. What must hold: the slice furthest behind that keeps the GPU occupied is never held back.

Three things that plain fair queueing lacks:

* A slice that comes back from idleness enters a burst before those that ran all along, and is not held back until the
  burst is used up. Bursts are rationed to half of the time, so that a stream of short-lived slices cannot starve a
  long run.
* Nobody is held back for a slice that leaves the GPU idle most of the time: it could not use what the other gives up.
* Nobody who could run is held back for ever: a slice that waited very long for another one's arrears (of a wait for
  memory, say) gets a quantum in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpu_server.scheduler.messages import Report
from gpu_server.scheduler.policy import SECOND, Policy
from gpu_server.scheduler.session import Session, Wish
from gpu_server.scheduler.slice_account import SliceAccount
from gpu_server.scheduler.story import Stories

BURST_PART = 0.5
"""Part of the time that bursts may take."""
BURSTS_SAVED = 8
"""How many bursts can be saved up."""
PRESSING_UTILIZATION = 0.5
"""Others are held back only for a slice that occupies the GPU for at least this part of the time."""
RESUME_PART = 0.5
"""A slice that is held back goes on when its lead is down to this part of the quantum."""
PATIENCE_QUANTA = 4


class Fairness:
    """Time of one GPU. The machine calls observe() with every report, then settle(), then hold_back()."""

    def __init__(self, policy: Policy, stories: Stories) -> None:
        self._policy = policy
        self._stories = stories
        self._integral = 0.0
        self._integral_ns: int | None = None
        self._virtual_ns = 0.0
        self._burst_tokens_ns = float(BURSTS_SAVED * policy.burst_ns)

    # -- charging

    def observe(self, now_ns: int, sessions: Mapping[str, Session], reports: Mapping[str, Report]) -> None:
        """Charges what the sessions used since they were last looked at, and takes their reports.

        The GPU's time between two events is divided among the sessions that had work. The integral of each one's
        part over time is kept, so that a session that is looked at rarely is charged what it had meanwhile.
        """
        utilizations: dict[str, float] = {}
        for session_id, report in reports.items():
            s = sessions[session_id]
            elapsed = now_ns - s.looked_ns
            used = min(max(0, report.busy_ns - s.report.busy_ns), elapsed)
            utilizations[session_id] = used / elapsed if elapsed > 0 else 0.0
        together = sum(utilizations.values())
        if len(reports) < len(sessions):
            together += sum(1.0 for i, s in sessions.items() if s.report.busy and i not in reports)
        if self._integral_ns is not None:
            passed = now_ns - self._integral_ns
            self._integral += passed / max(1.0, together)
            ration = self._burst_tokens_ns + passed * BURST_PART
            self._burst_tokens_ns = min(float(BURSTS_SAVED * self._policy.burst_ns), ration)
        self._integral_ns = now_ns
        for session_id, report in reports.items():
            s = sessions[session_id]
            if now_ns > s.looked_ns:
                s.utilization = utilizations[session_id]
                if s.utilization > 0.0:
                    s.busy_seen_ns = now_ns
                    self._charge(s, s.utilization * (self._integral - s.looked_integral))
                s.looked_ns, s.looked_integral = now_ns, self._integral
            if report.want_number != s.report.want_number:
                s.deny, s.granted_bytes = False, 0  # what was decided about the want before is over
            if report.resident_bytes > s.report.resident_bytes:
                s.grew_ns = now_ns
            s.report = report
            s.active = report.has_work or s.wish is Wish.COME_BACK
            if s.active:
                s.worked_ns = now_ns

    def enter(self, now_ns: int, s: Session) -> None:
        """A session that was not there before."""
        s.looked_ns, s.looked_integral = now_ns, self._integral
        s.worked_ns = s.busy_seen_ns = now_ns
        if self._integral_ns is None:
            self._integral_ns = now_ns

    def leave(self, account: SliceAccount) -> None:
        """A slice's last session is gone: what it did not use of its burst goes to others."""
        self._burst_tokens_ns += account.burst_left_ns

    def _charge(self, s: Session, gpu_ns: float) -> None:
        account = s.slice
        if not account.active:
            self._come_back(account)  # it came and went between two looks
        s.gpu_ns += gpu_ns
        account.gpu_ns += gpu_ns
        account.virtual_ns = account.virtual + gpu_ns / account.share
        account.burst_left_ns = max(0.0, account.burst_left_ns - gpu_ns)
        if account.ceiling is not None:
            account.ceiling.charge(gpu_ns)

    # -- virtual time

    def settle(self, slices: Iterable[SliceAccount]) -> None:
        """Notes which slices have work, and moves the GPU's own virtual time, at which newcomers enter.

        It follows the mean of those that run, never backwards, so that newcomers cannot pull it down; and it is
        never ahead of everybody.
        """
        total = weights = 0.0
        furthest = 0.0
        any_active = False
        for account in slices:
            active = any(s.active for s in account.sessions.values())
            if active and not account.active:
                account.active = True
                self._come_back(account)
            elif not active:
                account.active = account.able = account.held_back = False
                self._burst_tokens_ns += account.burst_left_ns
                account.burst_left_ns = 0.0
            if active:
                furthest = account.virtual if not any_active else max(furthest, account.virtual)
                any_active = True
                if account.able:
                    total += account.virtual * account.share
                    weights += account.share
        if weights > 0.0:
            self._virtual_ns = max(self._virtual_ns, total / weights)
        if any_active:
            self._virtual_ns = min(self._virtual_ns, furthest)

    def _come_back(self, account: SliceAccount) -> None:
        """The slice has work after idleness: old arrears lapse, but for a burst."""
        behind_ns = float("inf")
        if account.virtual_ns is not None:
            behind_ns = (self._virtual_ns - account.virtual_ns) * account.share
        if behind_ns <= 0.0:
            return
        credit = min(behind_ns, float(self._policy.burst_ns), self._burst_tokens_ns)
        self._burst_tokens_ns -= credit
        account.virtual_ns = self._virtual_ns - credit / account.share
        account.burst_left_ns = credit

    # -- holding back

    def hold_back(self, now_ns: int, slices: Iterable[SliceAccount]) -> None:
        """Decides which slices wait for others, by what is known of their memory and ceilings."""
        able: list[SliceAccount] = []
        least: SliceAccount | None = None
        shares = 0.0
        for account in slices:
            account.able = False
            if not account.active:
                continue
            if account.over_ceiling:
                account.held_back = False
                continue
            presses = False
            for s in account.sessions.values():
                if s.active and s.holds and s.is_whole:
                    account.able = True
                    presses = presses or s.report.waiting or s.utilization >= PRESSING_UTILIZATION
            if not account.able:
                account.held_back = False
                continue
            able.append(account)
            shares += account.share
            if presses and (least is None or account.virtual < least.virtual):
                least = account
        for account in able:
            self._decide(now_ns, account, least, shares)

    def _decide(self, now_ns: int, account: SliceAccount, least: SliceAccount | None, shares: float) -> None:
        quantum_ns = self._policy.quantum_ns
        ahead_ns = (account.virtual - least.virtual) * account.share if least is not None else 0.0
        if not account.held_back:
            if (
                least is None
                or ahead_ns <= quantum_ns
                or account.burst_left_ns > 0.0
                or account.virtual < account.free_until_virtual_ns
            ):
                return
            account.held_back, account.held_since_ns = True, now_ns
            self._tell(
                account, f"waits: {_ms(ahead_ns)} of GPU time ahead of slice {least.slice_id}, which has work"
            )
            return
        patience_ns = max(SECOND, PATIENCE_QUANTA * quantum_ns * shares / account.share)
        if least is None or ahead_ns <= quantum_ns * RESUME_PART:
            why = (
                f"{_ms(ahead_ns)} ahead of the others" if ahead_ns > 0.0 else "nobody with work is behind it"
            )
        elif now_ns - account.held_since_ns >= patience_ns:
            account.free_until_virtual_ns = account.virtual + quantum_ns / account.share
            why = f"it waited {_ms(now_ns - account.held_since_ns)} and gets a quantum, though {_ms(ahead_ns)} ahead"
        else:
            return
        account.held_back = False
        self._tell(account, f"goes on: {why}")

    def _tell(self, account: SliceAccount, text: str) -> None:
        self._stories.tell(account.slice_id, "", text, turn=True)

    # -- ceilings

    def apply_ceilings(self, now_ns: int, slices: Iterable[SliceAccount]) -> None:
        """Fills the ceilings' buckets and stops or lets go who is over or under."""
        for account in slices:
            ceiling = account.ceiling
            if ceiling is None:
                continue
            ceiling.fill(now_ns)
            if not ceiling.decide():
                continue
            if ceiling.over:
                text = f"waits: has had its ceiling of {ceiling.part:.0%} of the time"
            else:
                text = f"goes on: under its ceiling of {ceiling.part:.0%} again"
                # What it could not use because of its ceiling is no arrears.
                arrears = self._policy.burst_ns / account.share
                account.virtual_ns = max(account.virtual, self._virtual_ns - arrears)
            self._tell(account, text)


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.1f} ms"
