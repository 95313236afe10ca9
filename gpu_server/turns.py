"""Feeds each GPU's scheduler (gpu_server/scheduler) and carries out what it says: bells in, orders out, and its clock.

The schedulers decide; here is the I/O that they have none of. A session's turn begins with its worker's session and
ends when that worker's process is gone, so memory is not given on before it is free.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gpu_server.account import Account
from gpu_server.config import TFusionServer
from gpu_server.errors import NotNow
from gpu_server.scheduler import CannotSwap, GpuScheduler, Order, Phase, Policy, SessionState, StoryEntry
from gpu_server.slices import Slice
from gpu_server.timeline import Timeline, TimelineSample
from gpu_server.turn import Swaps, Turn

if TYPE_CHECKING:
    from gpu_server.telemetry import Telemetry

NS_PER_S = 1_000_000_000
LEAST_TICK_S = 0.001
LONE_LOOK_S = 0.1
# Large pieces are quick to move; of a small GPU, small ones leave more to the others.
SMALL_GPU_BYTES = 4 << 30
SMALL_PIECE_BYTES = 2 << 20
# A swap smaller than this says little about the link's speed.
LEAST_MEASURED_BYTES = 256 << 20


@dataclass(frozen=True)
class SwapBudget:
    """How much memory and disk of the host one GPU's sessions may be swapped out to, in bytes."""

    memory_bytes: int
    disk_bytes: int


def swap_budget(config: TFusionServer, gpus: int) -> SwapBudget:
    """What one of ``gpus`` GPUs gets of the configured budget."""
    memory = config.swap_memory
    if memory == 0 and config.oversubscription > 1.0:
        memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return SwapBudget(memory // max(1, gpus), config.swap_disk // max(1, gpus))


@dataclass(frozen=True)
class SliceUse:
    """What a slice has had of its GPU since it was opened, by the sessions that are over and those that go on."""

    gpu_ns: int = 0
    waited_ns: int = 0
    grants: int = 0
    revocations: int = 0
    refused: int = 0  # calls to functions that the virtual GPU does not have
    swaps: Swaps = field(default_factory=Swaps)

    def __add__(self, other: SliceUse) -> SliceUse:
        return SliceUse(
            self.gpu_ns + other.gpu_ns,
            self.waited_ns + other.waited_ns,
            self.grants + other.grants,
            self.revocations + other.revocations,
            self.refused + other.refused,
            self.swaps + other.swaps,
        )


@dataclass(frozen=True)
class SliceWork:
    """What a slice does and has had. ``worked_ns``: when it last had work (CLOCK_MONOTONIC); 0 if it never had."""

    states: list[SessionState] = field(default_factory=list)
    use: SliceUse = field(default_factory=SliceUse)
    worked_ns: int = 0

    @property
    def works(self) -> bool:
        """Whether it has work now, or waits for some; not if its memory only comes back because somebody asked."""
        return any(s.has_work for s in self.states)


@dataclass(eq=False)
class _Member:
    turn: Turn
    gpu_uuid: str
    slice_id: str
    account: Account
    slot: int
    runs: bool = False
    grants: int = 0
    revocations: int = 0
    seen: Swaps = field(default_factory=Swaps)  # that there are spans of
    measured: Swaps = field(default_factory=Swaps)  # that the scheduler knows the speed of

    def use(self, gpu_ns: int) -> SliceUse:
        refused = self.account.refused(self.slot)
        return SliceUse(gpu_ns, self.turn.waited_ns, self.grants, self.revocations, refused, self.turn.swaps)


class Turns:
    """All GPUs' schedulers and all sessions' turns. For one event loop."""

    def __init__(
        self,
        usable_bytes: Mapping[str, int],
        budget: SwapBudget,
        policy: Policy,
        *,
        kernel_limit_s: float = 0.0,
        telemetry: Telemetry | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._pieces = {
            uuid: SMALL_PIECE_BYTES if usable < SMALL_GPU_BYTES else policy.piece_bytes
            for uuid, usable in usable_bytes.items()
        }
        self._schedulers = {
            uuid: GpuScheduler(
                usable,
                budget.memory_bytes,
                budget.disk_bytes,
                replace(policy, piece_bytes=self._pieces[uuid]),
            )
            for uuid, usable in usable_bytes.items()
        }
        self._on_change = on_change
        self._telemetry = telemetry
        self._kernel_limit_ns = int(kernel_limit_s * NS_PER_S)
        self._tick_ns = policy.tick_ns
        self._looked_ns: dict[str, int] = {}
        self._members: dict[str, _Member] = {}
        self._timelines: dict[str, Timeline] = {}
        self._past: dict[str, SliceWork] = {}  # of sessions that are over, by slice
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def begin(self, session_id: str, owner: Slice, account: Account, slot: int) -> Turn:
        """A session's turn, with its first order on the page. Raises OSError when out of descriptors."""
        turn = Turn(account, slot)
        self._members[session_id] = _Member(turn, owner.gpu_uuid, owner.slice_id, account, slot)
        asyncio.get_running_loop().add_reader(turn.bell_fd, self._heard, session_id)
        scheduler = self._schedulers[owner.gpu_uuid]
        self._carry_out(
            owner.gpu_uuid,
            scheduler.add(
                time.monotonic_ns(),
                session_id,
                owner.slice_id,
                owner.share,
                owner.vram_bytes,
                owner.ceiling or None,
            ),
        )
        return turn

    def end(self, session_id: str) -> None:
        """The session's worker is gone, and with it what it held."""
        member = self._members[session_id]
        scheduler = self._schedulers[member.gpu_uuid]
        state = next(s for s in scheduler.state() if s.session_id == session_id)
        past = self._past.get(member.slice_id, SliceWork())
        self._past[member.slice_id] = SliceWork(
            use=past.use + member.use(state.gpu_ns), worked_ns=max(past.worked_ns, state.worked_ns)
        )
        del self._members[session_id]
        self._timelines[member.slice_id].end(session_id, time.monotonic())
        asyncio.get_running_loop().remove_reader(member.turn.bell_fd)
        member.turn.close()
        self._carry_out(member.gpu_uuid, scheduler.remove(time.monotonic_ns(), session_id))

    def forget_slice(self, slice_id: str) -> None:
        """The slice has ended, and with it its count."""
        self._past.pop(slice_id, None)
        self._timelines.pop(slice_id, None)

    def uses(self) -> dict[str, SliceUse]:
        """What each slice has had, by id; slices that never had a session are left out."""
        return {slice_id: work.use for slice_id, work in self.work().items()}

    def work(self) -> dict[str, SliceWork]:
        """What each slice does and has had, by id; slices that never had a session are left out."""
        work = dict(self._past)
        for scheduler in self._schedulers.values():
            for state in scheduler.state():
                before = work.get(state.slice_id, SliceWork())
                work[state.slice_id] = SliceWork(
                    [*before.states, state],
                    before.use + self._members[state.session_id].use(state.gpu_ns),
                    max(before.worked_ns, state.worked_ns),
                )
        return work

    def send_out(self, gpu_uuid: str, slice_id: str) -> None:
        """The slice's memory leaves the GPU when its work there is over. Raises NotNow."""
        self._look(gpu_uuid)  # what the workers have done since, counts
        try:
            orders = self._schedulers[gpu_uuid].send_out(time.monotonic_ns(), slice_id)
        except CannotSwap as refusal:
            raise NotNow(str(refusal)) from None
        self._carry_out(gpu_uuid, orders)

    def call_back(self, gpu_uuid: str, slice_id: str) -> None:
        """The slice's memory comes to the GPU before there is work for it."""
        self._look(gpu_uuid)
        self._carry_out(gpu_uuid, self._schedulers[gpu_uuid].call_back(time.monotonic_ns(), slice_id))

    def use_of(self, slice_id: str) -> SliceUse:
        """What one slice has had."""
        return self.uses().get(slice_id, SliceUse())

    def look_again(self, gpu_uuid: str) -> None:
        """What is said of this GPU's sessions from now on is at most a tick old; costs no more than competition does.

        Alone, a session is looked at ten times a second only, which is too seldom for who measures one cell.
        """
        now_ns = time.monotonic_ns()
        if now_ns - self._looked_ns.get(gpu_uuid, 0) >= self._tick_ns:
            self._look(gpu_uuid)

    def piece_bytes(self, gpu_uuid: str) -> int:
        """How large the pieces are that workers of this GPU move."""
        return self._pieces[gpu_uuid]

    def resident_bytes(self, gpu_uuid: str) -> int:
        """What all sessions hold of the GPU's memory at this moment."""
        return sum(m.turn.resident_bytes for m in self._members.values() if m.gpu_uuid == gpu_uuid)

    def states(self, gpu_uuid: str) -> list[SessionState]:
        """What the GPU's scheduler thinks of its sessions."""
        return self._schedulers[gpu_uuid].state()

    def story(self, slice_id: str) -> list[StoryEntry]:
        """What was decided about a slice, and why, oldest first; also some while after its end."""
        return [entry for scheduler in self._schedulers.values() for entry in scheduler.story(slice_id)]

    def timeline(self, slice_id: str) -> list[TimelineSample]:
        """What an open slice's sessions did when, oldest first."""
        kept = self._timelines.get(slice_id)
        return kept.samples() if kept else []

    def close(self) -> None:
        """Stops the clocks. Precondition: every turn has ended."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    # -- inside

    def _heard(self, session_id: str) -> None:
        member = self._members[session_id]
        member.turn.heard()
        self._measure(session_id, self._schedulers[member.gpu_uuid], member)
        self._look(member.gpu_uuid)

    def _tick(self, gpu_uuid: str) -> None:
        del self._timers[gpu_uuid]
        self._look(gpu_uuid)

    def _look(self, gpu_uuid: str) -> None:
        # Always at all of them: what one has used since the last look decides about the others.
        now_ns = self._looked_ns[gpu_uuid] = time.monotonic_ns()
        reports = {
            session_id: member.turn.report(now_ns)
            for session_id, member in self._members.items()
            if member.gpu_uuid == gpu_uuid
        }
        self._carry_out(gpu_uuid, self._schedulers[gpu_uuid].look(now_ns, reports))

    def _note(self, gpu_uuid: str) -> bool:
        """Puts down how things are; whether somebody runs."""
        now_s = time.monotonic()
        states = self._schedulers[gpu_uuid].state()
        for state in states:
            member = self._members[state.session_id]
            self._timelines.setdefault(state.slice_id, Timeline()).note(
                TimelineSample(
                    now_s,
                    state.session_id,
                    state.phase.value,
                    state.resident_bytes,
                    state.swapped_bytes,
                    member.account.calls(member.slot),
                )
            )
        return any(state.phase is Phase.RUNNING for state in states)

    def _tell_swaps(self, telemetry: Telemetry, session_id: str, member: _Member, new: Swaps) -> None:
        last, member.seen = member.seen, new
        for direction, moved_bytes, took_ns in (
            ("out", new.out_bytes - last.out_bytes, new.out_ns - last.out_ns),
            ("in", new.in_bytes - last.in_bytes, new.in_ns - last.in_ns),
        ):
            if moved_bytes > 0:
                telemetry.swapped(member.slice_id, session_id, direction, moved_bytes, took_ns)

    def _measure(self, session_id: str, scheduler: GpuScheduler, member: _Member) -> None:
        new, seen = member.turn.swaps, member.measured
        if self._telemetry is not None and new != member.seen:
            self._tell_swaps(self._telemetry, session_id, member, new)
        moved_bytes = new.out_bytes + new.in_bytes - seen.out_bytes - seen.in_bytes
        took_ns = new.out_ns + new.in_ns - seen.out_ns - seen.in_ns
        if moved_bytes >= LEAST_MEASURED_BYTES and took_ns > 0:
            scheduler.note_swap_speed(moved_bytes * NS_PER_S / took_ns)
            member.measured = new

    def _carry_out(self, gpu_uuid: str, orders: list[Order]) -> None:
        for order in orders:
            member = self._members[order.session_id]
            if order.run != member.runs:
                member.runs = order.run
                member.grants += order.run
                member.revocations += not order.run
            member.turn.give(order, self._kernel_limit_ns)
        runs = self._note(gpu_uuid)
        self._on_change()
        timer = self._timers.pop(gpu_uuid, None)
        if timer is not None:
            timer.cancel()
        due_ns = self._schedulers[gpu_uuid].next_look_ns()
        if due_ns is not None:
            wait_s = max(LEAST_TICK_S, (due_ns - time.monotonic_ns()) / NS_PER_S)
        elif runs or any(m.account.is_busy(m.slot) for m in self._members.values() if m.gpu_uuid == gpu_uuid):
            # Nothing to decide, but time goes on for who works alone: whoever joins later starts from there. And a
            # worker does not tell that its work is over: who was seen to run is looked at once more.
            wait_s = LONE_LOOK_S
        else:
            return
        loop = asyncio.get_running_loop()
        self._timers[gpu_uuid] = loop.call_later(wait_s, self._tick, gpu_uuid)
