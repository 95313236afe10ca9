"""What the scheduler knows of a session: the last report, the last order, and what was decided in between."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from gpu_server.scheduler.messages import Order, Report
from gpu_server.scheduler.slice_account import SliceAccount

NOTHING_YET = Report(
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
"""A worker before its first report."""


class Wish(enum.Enum):
    """What people asked for a session's memory."""

    NONE = "none"
    LEAVE = "leave"
    """To leave the GPU as soon as the session has no work there."""
    LEAVING = "leaving"
    """The same, and the work is over: it goes, unless there is new work before it is gone."""
    COME_BACK = "come back"
    """To be on the GPU before there is work for it."""


@dataclass
class Session:
    """One session. The parts of the machine that write a field are named with it."""

    session_id: str
    slice: SliceAccount
    limit_bytes: int
    number: int
    """Order of arrival; breaks ties, so that the same events give the same decisions."""

    report: Report = NOTHING_YET
    order: Order | None = None

    # -- time (fairness.py)
    looked_ns: int = 0
    looked_integral: float = 0.0
    utilization: float = 0.0
    """Part of the time between the last two looks in which it had work on the GPU."""
    gpu_ns: float = 0.0
    worked_ns: int = 0
    """When it was last seen with work, waiting or on the GPU."""
    busy_seen_ns: int = 0
    """When it was last seen to have used the GPU."""
    active: bool = False

    # -- memory (memory_plan.py)
    holds: bool = False
    """It has work, and a claim to all the memory that it needs for it."""
    granted_bytes: int = 0
    """How much of a want the claim includes."""
    resident_since_ns: int | None = None
    """Since when it holds and has everything; None otherwise."""
    held_since_ns: int = 0
    grew_ns: int = 0
    """When it was let in, or since then last got memory or leave to have more of what it needs: a slow host or disk
    is no reason to send it out again."""
    blocked_since_ns: int | None = None
    """Since when it waits for memory; None if it does not."""
    blocked_why: str = ""
    overdue: bool = False
    """It has waited for memory so long that it goes first, whatever its virtual time (victims.py)."""
    need_bytes: int = 0
    take_bytes: int = 0
    """To be swapped out of it."""
    deny: bool = False
    failures: int = 0
    """Swap-outs that failed in a row."""
    failure_seen_ns: int = 0
    retry_ns: int = 0
    """Nothing is taken from it before this time."""
    taking: bool = False
    """The last order was to swap out."""

    # -- what people asked for (wishes.py)
    wish: Wish = Wish.NONE

    # -- what was promised (ledger.py)
    outstanding: list[int] = field(default_factory=lambda: [0])
    """Allowances that the worker may go by: the one that it acknowledged, and all that were ordered since."""
    peak_bytes: int = 0
    """Highest of them."""
    lowest_bytes: int = 0
    """Lowest of them."""

    # -- what the next order says
    run: bool = True
    allowance_bytes: int = 0
    store_bytes: int = 0
    spill_bytes: int = 0
    contended: bool = False
    watch: bool = False

    @property
    def is_whole(self) -> bool:
        """It has all its memory on the GPU, and wants no more (or was told that it cannot have it)."""
        return self.report.swapped_bytes == 0 and (self.report.wanted_bytes == 0 or self.deny)

    def charge_bytes(self) -> int:
        """What it may hold of the GPU's memory at this moment, whatever it has read of its orders."""
        return max(self.peak_bytes, self.report.allowance_bytes, self.report.resident_bytes)

    def outgoing_bytes(self) -> int:
        """The most that it may be swapping out at this moment; it may have grown since its report."""
        return max(0, self.charge_bytes() - self.lowest_bytes)

    def host_bytes(self) -> int:
        """What it has on the host, or may be about to put there."""
        return self.report.swapped_bytes + self.outgoing_bytes()
