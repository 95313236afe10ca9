"""Memory that leaves the GPU, or comes back to it, because somebody asked.

A session whose memory is to leave finishes its work first; then all goes that can be swapped, and the next call brings
it back as always. One whose memory is to come back counts as one with work until it has it: it takes its place in the
line and its swaps are paid as for a call, so that asking gains nothing over calling. What must hold: a wish never
outlives the reason for it, so that nothing is taken of a session that has work again.

The machine tells the wishes with the events, looks after them with every report, and the memory plan takes what is to
leave.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_server.scheduler.messages import CannotSwap
from gpu_server.scheduler.session import Session, Wish
from gpu_server.scheduler.story import Stories
from gpu_server.scheduler.victims import FAILURES_FOR_GOOD
from gpu_server.sizes import format_size


class Wishes:
    """What was asked for the memory of one GPU's sessions. Writes the sessions' ``wish``."""

    def __init__(self, host_bytes: int, piece_bytes: int, stories: Stories) -> None:
        self._host = host_bytes
        self._piece = piece_bytes
        self._stories = stories

    def send_out(self, sessions: Sequence[Session], chosen: Sequence[Session]) -> None:
        """The memory of the chosen ones is to leave the GPU; raises CannotSwap if the host has no room for it."""
        sizes = {s.session_id: _movable(s) for s in chosen}
        leaving = sum(sizes.values())
        if leaving:
            self._check_room(sessions, leaving, sum(1 for size in sizes.values() if size))
        for s in chosen:
            s.wish = Wish.NONE
            if not sizes[s.session_id]:
                self._tell(s, "was asked to leave the GPU, and has nothing there that could")
                continue
            s.wish = Wish.LEAVE
            when = "when its work there is over" if s.active else "now"
            self._tell(
                s,
                f"was asked to leave the GPU: its {format_size(sizes[s.session_id])} there go to the host {when}",
            )

    def call_back(self, now_ns: int, chosen: Sequence[Session]) -> None:
        """The memory of the chosen ones is to be on the GPU before there is work for it."""
        for s in chosen:
            if s.wish in (Wish.LEAVE, Wish.LEAVING):
                s.wish = Wish.NONE
                self._tell(s, "was asked to come back before all of it had left the GPU")
            if s.report.swapped_bytes == 0:
                continue
            if s.wish is not Wish.COME_BACK:
                self._tell(
                    s, f"was asked to come back: {format_size(s.report.swapped_bytes)} of it are on the host"
                )
            s.wish = Wish.COME_BACK
            s.active = True
            s.worked_ns = now_ns

    def look_after(self, now_ns: int, sessions: Sequence[Session]) -> None:
        """Ends the wishes that are granted, or that what happened since has overtaken."""
        for s in sessions:
            if s.wish is Wish.NONE:
                continue
            if s.wish is Wish.COME_BACK:
                if s.report.swapped_bytes == 0:
                    s.wish = Wish.NONE
                    s.active = s.report.has_work
                    s.worked_ns = now_ns
                    self._tell(s, "is back on the GPU, as it was asked to")
                continue
            if s.wish is Wish.LEAVE and not s.active:
                s.wish = Wish.LEAVING
            if s.wish is not Wish.LEAVING:
                continue
            if s.active:
                s.wish = Wish.NONE
                self._tell(s, "has work again before all of it had left the GPU")
            elif not _movable(s):
                s.wish = Wish.NONE
                self._tell(s, "has left the GPU, as it was asked to")
            elif s.failures >= FAILURES_FOR_GOOD:
                s.wish = Wish.NONE
                self._tell(
                    s, f"stays on the GPU though it was asked to leave: {s.failures} attempts have failed"
                )

    def _check_room(self, sessions: Sequence[Session], leaving: int, pieces: int) -> None:
        used = sum(s.host_bytes() for s in sessions)
        # Rounded up twice: to the pieces that are moved, and to those that are granted.
        room = self._host - used - 2 * pieces * self._piece
        if self._host == 0:
            raise CannotSwap(
                "The GPU memory of this kernel cannot be freed without ending its work: this GPU server has no host "
                "memory to keep it in. Delete what the program does not need, or ask whoever runs the server to set "
                "swap_memory."
            )
        if leaving > room:
            raise CannotSwap(
                f"The GPU memory of this kernel cannot be freed now: {format_size(leaving)} would have to be kept on "
                f"the host, which has room for {format_size(max(0, room))}. Try again when other kernels need less, "
                "or delete what the program does not need."
            )

    def _tell(self, s: Session, text: str) -> None:
        self._stories.tell(s.slice.slice_id, s.session_id, text)


def _movable(s: Session) -> int:
    return max(0, s.report.resident_bytes - s.report.fixed_bytes)
