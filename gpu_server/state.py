"""How GPUs and slices are, as the control API tells it, and a watch that says so whenever people would see a change.

The watch has one task for all watchers, and none while nobody watches. It is woken by what the scheduler decides and by
slices that open and end; memory that a program takes without the scheduler is found by looking at the accounts now and
then, which costs a few reads of shared memory for each slice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpu_server.errors import TFusionError
from gpu_server.observation import MOST_TELLING
from gpu_server.proto import control_pb2 as pb
from gpu_server.scheduler import Phase
from gpu_server.slices import Slice
from gpu_server.turns import NS_PER_S, SliceWork

if TYPE_CHECKING:
    from gpu_server.server import GpuServer

log = logging.getLogger("tfusion.state")

LEAST_PAUSE_S = 0.25
"""Between two messages to a watcher."""
SAMPLE_S = 0.5
"""How often memory that nobody told of is looked for."""
BACKLOG = 16
"""Messages that a watcher may leave unread; then it gets the whole state instead."""
UTILIZATION_STEP = 5
"""Per cent: a GPU that is as busy as before, give or take so much, has not changed."""

DEADLINE_STEP_S = 5.0
"""A deadline of a limit that has moved by less has not changed."""

ENDED = "ended"


async def gpu_states(server: GpuServer) -> list[pb.Gpu]:
    """All GPUs of the daemon."""
    utilization = await server.inventory.utilization_percent()
    return [
        pb.Gpu(
            uuid=gpu.uuid,
            name=gpu.name,
            software=gpu.software,
            memory_bytes=gpu.usable_bytes,
            reserved_bytes=server.registry.reserved_bytes(gpu.uuid),
            used_bytes=server.gpu_used_bytes(gpu.uuid),
            utilization_percent=utilization[gpu.uuid],
            driver_version=gpu.driver_version,
            waiting=sum(state.place is not None for state in server.turns.states(gpu.uuid)),
        )
        for gpu in server.inventory.gpus()
    ]


def slice_states(server: GpuServer) -> list[pb.Slice]:
    """All open slices, oldest first."""
    work = server.turns.work()
    return [_slice(server, s, work.get(s.slice_id, SliceWork())) for s in server.registry.slices()]


def _slice(server: GpuServer, owner: Slice, work: SliceWork) -> pb.Slice:
    now = server.clock()
    ended = server.sessions.bad_end(owner.slice_id)
    states = work.states
    waiting = min((s for s in states if s.place), key=lambda s: s.place or 0, default=None)
    swapped = sum(s.swapped_bytes for s in states)
    phase = _phase([s.phase for s in states], swapped, sum(s.resident_bytes for s in states))
    # Both clocks are CLOCK_MONOTONIC.
    idle_since = work.worked_ns / NS_PER_S if work.worked_ns else owner.opened_at
    return pb.Slice(
        slice_id=owner.slice_id,
        name=owner.name,
        owner=owner.owner,
        kernel_id=owner.kernel_id,
        gpu_uuid=owner.gpu_uuid,
        vram_bytes=owner.vram_bytes,
        used_bytes=server.sessions.used_bytes(owner.slice_id),
        share=owner.share,
        ceiling=owner.ceiling,
        age_s=now - owner.opened_at,
        expires_in_s=max(0.0, owner.expires_at - now),
        sessions=len(server.sessions.sessions(owner.slice_id)),
        resident_bytes=sum(s.resident_bytes for s in states),
        swapped_bytes=swapped,
        phase=ENDED if ended else phase.value,
        place=waiting.place or 0 if waiting else 0,
        why=ended.sentence if ended else next((s.why for s in states if s.why), ""),
        gpu_s=work.use.gpu_ns / NS_PER_S,
        waited_s=work.use.waited_ns / NS_PER_S,
        idle_s=0.0 if work.works else max(0.0, now - idle_since),
        ends_in_s=server.time_limits.ends_in_s(work),
        ended_s=max(0.0, now - ended.at) if ended else 0.0,
    )


def _phase(phases: Sequence[Phase], swapped: int, resident: int) -> Phase:
    """Of a slice's sessions the one that does most; a slice of which everything is on the host is swapped out."""
    if not phases:
        return Phase.IDLE
    most = min(phases, key=lambda phase: MOST_TELLING.index(phase.value))
    return Phase.SWAPPED_OUT if most is Phase.IDLE and swapped and not resident else most


def _seen_of_slice(s: pb.Slice) -> tuple[object, ...]:
    """What people see of it; time that just goes by is left out, and time at work is shown in seconds."""
    # The age goes by as the time to the end does: their sum moves only if the end does.
    ends = round((s.age_s + s.ends_in_s) / DEADLINE_STEP_S) if s.ends_in_s >= 0 else None
    return (
        s.name, s.used_bytes, s.resident_bytes, s.swapped_bytes, s.sessions, s.phase, s.place, s.why,
        int(s.gpu_s), int(s.waited_s), ends, s.idle_s == 0,
    )  # fmt: skip


def _seen_of_gpu(g: pb.Gpu) -> tuple[object, ...]:
    return (
        g.uuid,
        g.reserved_bytes,
        g.used_bytes,
        g.waiting,
        round(g.utilization_percent / UTILIZATION_STEP),
    )


class StateWatch:
    """Feeds the watchers of a daemon's state. For one event loop."""

    def __init__(self, server: GpuServer) -> None:
        self._server = server
        self._watchers: set[StateWatcher] = set()
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._endings: list[pb.Ending] = []
        self._closed = False
        self._gpus: list[pb.Gpu] = []
        self._slices: dict[str, pb.Slice] = {}

    # -- what happens

    def note(self) -> None:
        """Something may have changed."""
        if self._watchers:
            self._dirty.set()

    def session_ended(self, slice_id: str, sentence: str) -> None:
        """A session ended though its program did not end it."""
        owner = self._server.registry.find(slice_id)
        if owner is not None:
            self._end(pb.Ending.SESSION, owner, sentence)

    def slice_ended(self, owner: Slice, sentence: str) -> None:
        """A slice ended though whoever opened it did not close it."""
        self._end(pb.Ending.SLICE, owner, sentence)

    def _end(self, kind: pb.Ending.Kind, owner: Slice, sentence: str) -> None:
        if self._watchers:
            self._endings.append(
                pb.Ending(
                    kind=kind,
                    slice_id=owner.slice_id,
                    kernel_id=owner.kernel_id,
                    sentence=sentence,
                )
            )
            self._dirty.set()

    # -- watchers

    def watch(self) -> StateWatcher:
        """All that there is, and from then on what changes. Use it in a `with`."""
        watcher = StateWatcher(self)
        if self._closed:
            watcher.end()
            return watcher
        self._watchers.add(watcher)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        self._dirty.set()
        return watcher

    def forget(self, watcher: StateWatcher) -> None:
        """The watcher has had enough."""
        self._watchers.discard(watcher)

    async def close(self) -> None:
        """Ends every watcher's stream."""
        self._closed = True
        for watcher in self._watchers:
            watcher.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # -- inside

    async def _run(self) -> None:
        """While anybody watches; the last one to leave ends it."""
        try:
            while self._watchers:
                self._dirty.clear()
                change, whole = await self._look()
                for watcher in self._watchers:
                    watcher.offer(change, whole)
                await asyncio.sleep(LEAST_PAUSE_S)
                try:
                    await asyncio.wait_for(self._dirty.wait(), SAMPLE_S)
                except asyncio.TimeoutError:
                    pass
        except Exception as error:
            log.exception("the state could not be told")
            for watcher in self._watchers:
                watcher.fail(f"The state of this GPU server cannot be told: {error}.")
        finally:
            self._task = None
            self._gpus, self._slices, self._endings = [], {}, []

    async def _look(self) -> tuple[pb.StateChange, pb.StateChange]:
        """What has changed since the last look, and all that there is."""
        gpus = await gpu_states(self._server)
        slices = {s.slice_id: s for s in slice_states(self._server)}
        endings, self._endings = self._endings, []
        change = pb.StateChange(
            slices=[
                s
                for s in slices.values()
                if (before := self._slices.get(s.slice_id)) is None
                or _seen_of_slice(before) != _seen_of_slice(s)
            ],
            gone=[slice_id for slice_id in self._slices if slice_id not in slices],
            endings=endings,
        )
        if [_seen_of_gpu(g) for g in self._gpus] != [_seen_of_gpu(g) for g in gpus]:
            change.gpus.extend(gpus)
            self._gpus = gpus
        # What was not told stays as it was told: many small steps must add up to a change.
        told = {s.slice_id for s in change.slices}
        self._slices = {i: s if i in told else self._slices[i] for i, s in slices.items()}
        return change, pb.StateChange(full=True, gpus=gpus, slices=slices.values(), endings=endings)


class StateWatcher:
    """One watcher's stream: an asynchronous iterator that ends when the daemon stops.

    Raises TFusionError when the watch broke; who watches again may have more luck.
    """

    def __init__(self, watch: StateWatch) -> None:
        self._watch = watch
        self._unread: list[pb.StateChange] = []
        self._needs_all = True
        self._ended = False
        self._why = ""
        self._ready = asyncio.Event()

    def offer(self, change: pb.StateChange, whole: pb.StateChange) -> None:
        """The watch's: what has changed, and what there is in case the watcher does not know."""
        if self._needs_all:
            self._needs_all = False
            change = whole
        elif not (change.gpus or change.slices or change.gone or change.endings):
            return
        if len(self._unread) >= BACKLOG:
            # Its next message will be all that there is.
            self._unread, self._needs_all = [], True
            self._ready.clear()
            return
        self._unread.append(change)
        self._ready.set()

    def end(self) -> None:
        """The watch's: nothing follows."""
        self._ended = True
        self._ready.set()

    def fail(self, sentence: str) -> None:
        """The watch's: it broke, so nothing follows."""
        self._why = sentence
        self.end()

    def __enter__(self) -> StateWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.forget(self)

    def __aiter__(self) -> StateWatcher:
        return self

    async def __anext__(self) -> pb.StateChange:
        await self._ready.wait()
        if self._why:
            raise TFusionError(self._why)
        if self._ended:
            raise StopAsyncIteration
        change = self._unread.pop(0)
        if not self._unread:
            self._ready.clear()
        return change
