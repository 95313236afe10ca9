"""The running GPU server, apart from how it is reached: slices, sessions, workers and GPUs wired together.

gpu_server/service.py answers the control API from it; gpu_server/daemon.py gives it sockets and a life. For one
event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_server import image_cache
from gpu_server.config import TFusionServer
from gpu_server.errors import NotNow, TFusionError
from gpu_server.events import EventKind, EventLog
from gpu_server.gpus import Gpu, Inventory
from gpu_server.runtime_folder import make_private
from gpu_server.scheduler import Policy
from gpu_server.sessions import STOPPING, SessionManager
from gpu_server.sizes import format_size
from gpu_server.slices import GpuCapacity, Slice, SliceLimits, SliceRegistry
from gpu_server.state import StateWatch
from gpu_server.time_limits import TimeLimits
from gpu_server.turns import NS_PER_S, Turns, swap_budget
from gpu_server.worker_pool import WorkerPool
from gpu_server.workers import WORKER_COMMAND, WorkerProcess, start_worker

if TYPE_CHECKING:
    from gpu_server.telemetry import Telemetry

log = logging.getLogger("tfusion.server")

CACHE_TRIM_PERIOD_S = 300.0
ADMIN = "an administrator of the GPU server"


def telemetry_of(config: TFusionServer) -> Telemetry | None:
    """What sends spans, if the configuration wants any; raises TFusionError where the extra is not installed."""
    if not config.telemetry_endpoint:
        return None
    try:
        from gpu_server.telemetry import Telemetry
    except ImportError as error:
        raise TFusionError(
            f"Spans cannot be sent: {error}. Install jupyter-tfusion[telemetry], or leave telemetry_endpoint empty."
        ) from None
    return Telemetry(config.telemetry_endpoint)


class GpuServer:
    """What the daemon does. start() begins, close() ends everything that was begun."""

    def __init__(
        self,
        config: TFusionServer,
        inventory: Inventory,
        session_socket: Path,
        worker_command: Sequence[str] = WORKER_COMMAND,
        admin_token: str = "",
    ) -> None:
        self.config = config
        self.inventory = inventory
        self.session_socket = session_socket
        self.clock = time.monotonic
        self.events = EventLog()
        self.state = StateWatch(self)
        self._worker_command = worker_command
        self.registry = SliceRegistry(
            [GpuCapacity(gpu.uuid, gpu.usable_bytes) for gpu in inventory.gpus()],
            SliceLimits(
                default_vram_bytes=config.default_slice_vram,
                max_vram_bytes=config.max_slice_vram,
                time_to_live_s=config.slice_ttl_s,
                max_sessions=config.max_sessions_per_slice,
                oversubscription=config.oversubscription,
            ),
            self.clock,
            admin_token,
        )
        self.pools = {gpu.uuid: self._pool(gpu) for gpu in inventory.gpus()}
        gpus = inventory.gpus()
        self.telemetry = telemetry_of(config)
        self.turns = Turns(
            {gpu.uuid: gpu.usable_bytes for gpu in gpus},
            swap_budget(config, len(gpus)),
            Policy(
                quantum_ns=int(config.quantum_s * NS_PER_S),
                swap_part=config.swap_part,
                cooling_ns=int(config.cooling_s * NS_PER_S),
            ),
            kernel_limit_s=config.kernel_limit_s,
            telemetry=self.telemetry,
            on_change=self.state.note,
        )
        spill_folder = config.swap_path()
        self.sessions = SessionManager(
            self.registry,
            self.pools,
            self.events,
            inventory,
            self.turns,
            spill_folder=str(spill_folder or ""),
            stop_grace_s=config.worker_stop_grace_s,
            clock=self.clock,
            on_bad_end=self.state.session_ended,
        )
        self.time_limits = TimeLimits(self, idle_s=config.idle_expiry_s, run_s=config.run_limit_s)
        self._expiry_changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self.stopping = False

    def start(self) -> None:
        """Starts the warm workers and the clockwork; raises TFusionError if the image cache cannot be used."""
        image_cache.prepare(self.config.image_cache())
        spill_folder = self.config.swap_path()
        if spill_folder is not None:
            make_private(spill_folder)
        for pool in self.pools.values():
            pool.fill()
        clockwork = (self._expire(), self._trim_cache(), self.time_limits.watch())
        self._tasks = [asyncio.create_task(work) for work in clockwork]

    async def close(self) -> None:
        """Ends all slices, sessions and workers."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for open_slice in self.registry.slices():
            open_slice.ending = True
            self._end_in_background(open_slice, STOPPING)
        if self._ending:
            await asyncio.wait(set(self._ending))
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))
        self.turns.close()
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)  # a collector may not answer
        self.events.close()
        await self.state.close()

    # -- slices

    def open_slice(
        self, name: str, vram_bytes: int, share: float, owner: str, kernel_id: str, ceiling: float
    ) -> tuple[Slice, str]:
        """Opens a slice; gives it and its token. Raises NoCapacity or InvalidRequest."""
        opened, token = self.registry.open(name, vram_bytes, share, owner, kernel_id, ceiling)
        try:
            self.sessions.begin_slice(opened)
        except OSError:
            opened.ending = True
            self.registry.forget(opened.slice_id)
            raise
        self._expiry_changed.set()
        self.state.note()
        if self.telemetry is not None:
            self.telemetry.slice_opened(opened)
        self.events.add(
            EventKind.SLICE_OPENED, f'"{opened.name}" got {format_size(opened.vram_bytes)}.', opened.slice_id
        )
        return opened, token

    def renew_slice(self, slice_id: str, token: str) -> float:
        """Heartbeat; the time to live in seconds. Raises SliceNotFound or WrongToken."""
        return self.registry.renew(slice_id, token)

    async def close_slice(self, slice_id: str, token: str) -> None:
        """Ends the slice and returns when its sessions are gone. Raises SliceNotFound or WrongToken."""
        _, by_admin = self.registry.owned(slice_id, token)
        closed = self.registry.close(slice_id, token)
        by = f" by {ADMIN}" if by_admin else ""
        self.events.add(EventKind.SLICE_CLOSED, f'"{closed.name}" was closed{by}.', slice_id)
        if by_admin:
            self.state.slice_ended(closed, f"The slice was closed by {ADMIN}.")
        # Shielded: the caller may hang up, the slice ends all the same.
        await asyncio.shield(self._end_in_background(closed, "The slice was closed."))

    def swap_out_slice(self, slice_id: str, token: str) -> None:
        """Its memory leaves the GPU when its work there is over. Raises SliceNotFound, WrongToken or NotNow."""
        owned, _ = self.registry.owned(slice_id, token)
        if self.config.oversubscription <= 1.0:
            raise NotNow(
                "GPU memory is not freed this way here: this GPU server promises no more memory than the GPU has, so "
                "nobody waits for it. Delete what the program does not need, or ask whoever runs the server for "
                "oversubscription."
            )
        self.turns.send_out(owned.gpu_uuid, slice_id)

    def resume_slice(self, slice_id: str, token: str) -> None:
        """Its memory comes to the GPU before there is work for it. Raises SliceNotFound or WrongToken."""
        owned, _ = self.registry.owned(slice_id, token)
        self.turns.call_back(owned.gpu_uuid, slice_id)

    async def reset_slice(self, slice_id: str, token: str) -> None:
        """Ends the slice's sessions, returns when they are gone. Raises SliceNotFound or WrongToken."""
        reset, by_admin = self.registry.owned(slice_id, token)
        by = ADMIN if by_admin else "its owner"
        self.events.add(EventKind.SLICE_RESET, f'"{reset.name}" was reset by {by}.', slice_id)
        reason = f"The slice was reset by {by}; restart the kernel to use the GPU again."
        # Shielded: the caller may hang up, the sessions end all the same.
        await asyncio.shield(self._in_background(self.sessions.reset_slice(slice_id, reason)))

    def end_sessions(self, slice_id: str, reason: str) -> None:
        """Ends the slice's sessions with a sentence for the learner; the slice stays open."""
        self._in_background(self.sessions.reset_slice(slice_id, reason))

    def gpu_used_bytes(self, gpu_uuid: str) -> int:
        """What all sessions on a GPU hold of its memory; not what of theirs is swapped out."""
        return self.turns.resident_bytes(gpu_uuid)

    # -- inside

    def _end_in_background(self, ended: Slice, reason: str) -> asyncio.Task[None]:
        async def end() -> None:
            await self.sessions.end_slice(ended.slice_id, reason)
            self.registry.forget(ended.slice_id)
            self.turns.forget_slice(ended.slice_id)
            if self.telemetry is not None:
                self.telemetry.slice_ended(ended.slice_id, reason)

        self.state.note()
        return self._in_background(end())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _expire(self) -> None:
        while True:
            for expired in self.registry.expire():
                self.events.add(
                    EventKind.SLICE_EXPIRED,
                    f'"{expired.name}" was not renewed for {self.config.slice_ttl_s:g} s and has expired.',
                    expired.slice_id,
                )
                self.state.slice_ended(
                    expired,
                    f"The slice was not renewed for {self.config.slice_ttl_s:g} s and has expired.",
                )
                self._end_in_background(expired, "The slice has expired.")
            self._expiry_changed.clear()
            next_expiry = self.registry.next_expiry()
            wait_s = None if next_expiry is None else max(0.0, next_expiry - self.clock())
            try:
                await asyncio.wait_for(self._expiry_changed.wait(), wait_s)
            except asyncio.TimeoutError:
                pass

    async def _trim_cache(self) -> None:
        while True:
            removed = await asyncio.to_thread(
                image_cache.trim, self.config.image_cache(), self.config.image_cache_size
            )
            if removed:
                log.info("the image cache was too large: %s removed", format_size(removed))
            await asyncio.sleep(CACHE_TRIM_PERIOD_S)

    def _pool(self, gpu: Gpu) -> WorkerPool:
        def start() -> WorkerProcess:
            return start_worker(gpu, self.config.image_cache(), self._worker_command)

        def on_ready(worker: WorkerProcess) -> None:
            log.info("worker %d is ready on %s", worker.pid, gpu.name)
            self.inventory.note_facts(gpu.uuid, worker.facts)

        def on_failure(sentence: str) -> None:
            self.events.add(EventKind.WORKER_FAILED, sentence)

        return WorkerPool(
            gpu.name,
            start,
            warm=self.config.warm_workers,
            max_starting=self.config.max_starting_workers,
            start_timeout_s=self.config.worker_start_timeout_s,
            on_failure=on_failure,
            on_ready=on_ready,
        )
