"""The warm pool of one GPU: keeps ready workers, hands one to each session, starts others in their place.

What must hold: ready + starting workers aim at the configured number plus the sessions that wait; a GPU whose workers
die before they are ready is tried again after ever longer pauses, and meanwhile waiting sessions get the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from gpu_server.errors import WorkerFailed
from gpu_server.workers import WorkerProcess

log = logging.getLogger("tfusion.pool")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class WorkerPool:
    """Workers of one GPU. For one event loop."""

    def __init__(
        self,
        gpu_name: str,
        start: Callable[[], WorkerProcess],
        *,
        warm: int,
        max_starting: int,
        start_timeout_s: float,
        on_failure: Callable[[str], None],
        on_ready: Callable[[WorkerProcess], None],
    ) -> None:
        self._gpu_name = gpu_name
        self._start = start
        self._warm = warm
        self._max_starting = max_starting
        self._start_timeout_s = start_timeout_s
        self._on_failure = on_failure
        self._on_ready = on_ready
        self._ready: deque[WorkerProcess] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._takers: deque[asyncio.Future[WorkerProcess]] = deque()
        self._failures = 0
        self._last_failure = ""
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def ready(self) -> int:
        """Workers that wait for a session."""
        return len(self._ready)

    def fill(self) -> None:
        """Starts the workers that are missing; returns at once."""
        if self._closed or self._pause is not None:
            return
        missing = self._warm + len(self._takers) - len(self._ready) - len(self._starting)
        for _ in range(min(missing, self._max_starting - len(self._starting))):
            task = asyncio.create_task(self._start_one())
            self._starting.add(task)
            task.add_done_callback(self._started)

    async def take(self) -> WorkerProcess:
        """A ready worker, which is the caller's from now on; raises WorkerFailed with a sentence."""
        if self._ready:
            worker = self._ready.popleft()
            self.fill()
            return worker
        if self._closed:
            raise WorkerFailed("The GPU server is stopping.")
        if self._pause is not None and not self._starting:
            raise WorkerFailed(self._last_failure)
        taker: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._takers.append(taker)
        self.fill()
        try:
            return await asyncio.wait_for(asyncio.shield(taker), self._start_timeout_s)
        except asyncio.TimeoutError:
            self._abandon(taker)
            raise WorkerFailed(
                f"No worker for {self._gpu_name} became ready within {self._start_timeout_s:g} s. The GPU host is "
                "overloaded or its driver hangs; try again, and look into the GPU server's log if it stays so."
            ) from None
        except asyncio.CancelledError:
            self._abandon(taker)
            raise

    def _abandon(self, taker: asyncio.Future[WorkerProcess]) -> None:
        if taker in self._takers:
            self._takers.remove(taker)
        elif taker.done() and taker.exception() is None:
            self.give_back(taker.result())  # it was served in the moment in which it gave up

    def give_back(self, worker: WorkerProcess) -> None:
        """Returns a worker that got no session after all."""
        if self._closed:
            worker.kill()
        elif not worker.exited.done():
            self._offer(worker)

    async def close(self) -> None:
        """Ends all workers that wait or start, and returns when they are gone."""
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        for taker in self._takers:
            if not taker.done():
                taker.set_exception(WorkerFailed("The GPU server is stopping."))
                taker.exception()
        self._takers.clear()
        starting = list(self._starting)
        for task in starting:
            task.cancel()
        if starting:
            await asyncio.wait(starting)
        for worker in self._ready:
            worker.kill()
        if self._ready:
            await asyncio.wait([worker.exited for worker in self._ready])
        self._ready.clear()

    # -- inside

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        self.fill()

    async def _start_one(self) -> None:
        worker: WorkerProcess | None = None
        try:
            worker = self._start()
            await asyncio.wait_for(asyncio.shield(worker.ready), self._start_timeout_s)
        except asyncio.TimeoutError:
            assert worker is not None
            await _killed(worker)
            self._failed(f"A worker for {self._gpu_name} was not ready within {self._start_timeout_s:g} s.")
        except WorkerFailed as error:
            self._failed(str(error))
        except asyncio.CancelledError:
            if worker is not None:
                await _killed(worker)
            raise
        else:
            self._failures = 0
            self._on_ready(worker)
            worker.exited.add_done_callback(lambda _: self._died_waiting(worker))
            self._offer(worker)

    def _offer(self, worker: WorkerProcess) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(worker)
                return
        self._ready.append(worker)

    def _died_waiting(self, worker: WorkerProcess) -> None:
        if worker in self._ready and not self._closed:
            self._ready.remove(worker)
            ending = worker.exited.result()
            last = f" It said last: {ending.tail[-1]}" if ending.tail else ""
            self._failed(f"A waiting worker for {self._gpu_name} {ending.how()}.{last}")
            self.fill()

    def _failed(self, sentence: str) -> None:
        if self._closed:
            return
        self._failures += 1
        self._last_failure = sentence
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 16))
        log.error("%s Next try in %.1f s.", sentence, pause_s)
        self._on_failure(sentence)
        if self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(pause_s, self._pause_over)
        if not self._ready:
            for taker in self._takers:
                if not taker.done():
                    taker.set_exception(WorkerFailed(sentence))
                    taker.exception()
            self._takers.clear()

    def _pause_over(self) -> None:
        self._pause = None
        self.fill()


async def _killed(worker: WorkerProcess) -> None:
    worker.kill()
    await asyncio.wait([worker.exited])
