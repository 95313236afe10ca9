"""What goes into a scheduler and what comes out of it.

A report and an order are absolute, never differences: either may be lost, repeated or come late, and the next one
puts it right. Both are written to a shared page by one side and read by the other.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """What a worker says of itself."""

    waiting: bool
    """It has commands that it may not replay now."""
    busy: bool
    """It has work on the GPU now."""
    busy_ns: int
    """For how long it has had work on the GPU, in total so far."""
    resident_bytes: int
    """Physical GPU memory that it holds, fixed bytes included."""
    fixed_bytes: int
    """Of that, what cannot be swapped (arrays)."""
    swapped_bytes: int
    """Its memory that lies on the host."""
    stored_bytes: int
    """Room that it takes in its store; at least what it took by the order that it acknowledges."""
    spilled_bytes: int
    """The same on disk."""
    wanted_bytes: int
    """More that it needs at once to go on (an allocation that waits); 0 if none."""
    allowance_bytes: int
    """The allowance that it goes by now: acknowledges an order."""
    stopped: bool
    """It goes by run=False: it replays nothing, and nothing of it runs on the GPU."""
    want_number: int = 1
    """Which want ``wanted_bytes`` is: another number for each, never 0. A denial is of one want."""
    swap_failed: bool = False
    """Its last swap-out could not be done (host memory, disk, driver). It clears this when a later one was done."""

    @property
    def has_work(self) -> bool:
        """It has commands to replay, or work on the GPU."""
        return self.busy or self.waiting or self.wanted_bytes > 0


@dataclass(frozen=True)
class Order:
    """What a worker has to go by from now on. The shell writes it to the worker's page."""

    session_id: str
    run: bool
    """It may replay commands, and swap in as far as its allowance reaches."""
    allowance_bytes: int
    """Most resident bytes. Below those that it has: it stops, and swaps out down to it."""
    store_bytes: int
    """Most pinned host memory that its swapped bytes may take."""
    spill_bytes: int
    """And beyond that, most disk."""
    contended: bool
    """Others compete: keep the backlog on the GPU short."""
    watch: bool
    """Ring when there is work again: nobody looks at this session otherwise."""
    denied_want: int
    """The want with this number can never be met: answer CUDA_ERROR_OUT_OF_MEMORY. 0: none is denied."""


class CannotSwap(Exception):
    """Memory cannot leave the GPU on request; str() is a sentence for whoever asked. Nothing has changed."""


class Phase(enum.Enum):
    """What a session does, in one word."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    SWAPPING_IN = "swapping in"
    SWAPPING_OUT = "swapping out"
    SWAPPED_OUT = "swapped out"


@dataclass(frozen=True)
class SessionState:
    """A session as `tfusion status` shows it."""

    session_id: str
    slice_id: str
    phase: Phase
    place: int | None
    """Place in the queue of a session that waits, 1 is next; None for the others."""
    virtual_ns: int
    """GPU time of its slice divided by the slice's share, credit included: who has least is furthest behind."""
    gpu_ns: int
    """GPU time charged to this session."""
    resident_bytes: int
    swapped_bytes: int
    has_work: bool
    """It has commands to replay, or work on the GPU, by its last report."""
    allowance_bytes: int
    """What was ordered last."""
    why: str
    """Why it waits, as a sentence; empty if it does not."""
    worked_ns: int
    """When it was last seen with work, waiting or on the GPU."""
