"""The warm pool with real worker processes: kept full, replaced, and honest about workers that fail."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpu_server import worker_pool, workers
from gpu_server.errors import WorkerFailed
from gpu_server.gpus import Gpu
from gpu_server.worker_pool import WorkerPool
from gpu_server.workers import WorkerProcess, start_worker

FAKE_WORKER = (workers.sys.executable, str(Path(__file__).with_name("fake_core_worker.py")))
GPU = Gpu(
    "GPU-x",
    "Test GPU",
    True,
    1 << 30,
    1 << 30,
    Path("/lib/libcuda.so.1"),
    environment={"CUDA_VISIBLE_DEVICES": "7"},
)


class Bench(SimpleNamespace):
    pool: WorkerPool
    started: list[WorkerProcess]
    failures: list[str]

    async def until(self, condition: Callable[[], object]) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(wait(), 30)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(warm: int = 1, max_starting: int = 4, timeout_s: float = 30.0) -> Bench:
        one = Bench(started=[], failures=[])

        def start() -> WorkerProcess:
            one.started.append(start_worker(GPU, tmp_path, FAKE_WORKER))
            return one.started[-1]

        one.pool = WorkerPool(
            "Test GPU",
            start,
            warm=warm,
            max_starting=max_starting,
            start_timeout_s=timeout_s,
            on_failure=one.failures.append,
            on_ready=lambda worker: None,
        )
        made.append(one)
        return one

    yield make
    for one in made:
        await one.pool.close()
        for worker in one.started:
            worker.kill()
            await worker.exited


async def test_it_keeps_the_number_warm_and_replaces_what_is_taken(bench: Callable[..., Bench]) -> None:
    b = bench(warm=2)
    b.pool.fill()
    await b.until(lambda: b.pool.ready == 2)
    taken = await b.pool.take()
    assert taken.facts["name"] == "Fake GPU"
    await b.until(lambda: b.pool.ready == 2)
    assert len(b.started) == 3
    taken.kill()


async def test_without_warm_workers_one_is_started_per_session(bench: Callable[..., Bench]) -> None:
    b = bench(warm=0)
    b.pool.fill()
    assert b.started == []
    first, second = await asyncio.gather(b.pool.take(), b.pool.take())
    assert first is not second
    assert len(b.started) == 2


async def test_no_more_than_allowed_start_at_once(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench(warm=0, max_starting=1)
    taking = [asyncio.create_task(b.pool.take()) for _ in range(3)]
    await b.until(lambda: any(task.done() for task in taking))
    assert len(b.started) <= 2
    assert len({id(worker) for worker in await asyncio.gather(*taking)}) == 3


async def test_a_worker_that_cannot_open_the_gpu_says_why(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CORE", "cannot_open")
    b = bench(warm=0)
    with pytest.raises(WorkerFailed, match=r"The driver /lib/libcuda\.so\.1 reports no GPU\."):
        await b.pool.take()
    assert b.failures == ["The driver /lib/libcuda.so.1 reports no GPU."]


async def test_a_worker_that_dies_early_is_reported_with_its_last_words(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CORE", "dies")
    with pytest.raises(
        WorkerFailed, match=r"ended with status 7 before it was ready\. It said last: last words"
    ):
        await bench().pool.take()


async def test_a_worker_that_is_never_ready_is_killed(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CORE", "hangs")
    b = bench(timeout_s=0.5)
    with pytest.raises(WorkerFailed, match=r"within 0\.5 s"):
        await b.pool.take()
    await b.until(lambda: b.failures)
    assert (await b.started[0].exited).returncode == -signal.SIGKILL


async def test_between_tries_it_pauses_longer_and_answers_at_once(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(worker_pool, "LONGEST_PAUSE_S", 3600.0)
    monkeypatch.setenv("FAKE_CORE", "dies")
    b = bench(warm=0)
    for _ in range(3):
        with pytest.raises(WorkerFailed, match="last words"):
            await b.pool.take()
    assert len(b.started) == 1


async def test_it_recovers_when_the_gpu_does(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setenv("FAKE_CORE", "dies")
    b = bench()
    b.pool.fill()
    await b.until(lambda: b.failures)
    monkeypatch.delenv("FAKE_CORE")
    await b.until(lambda: b.pool.ready == 1)


async def test_a_waiting_worker_that_is_killed_is_reported_and_replaced(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.pool.fill()
    await b.until(lambda: b.pool.ready == 1)
    os.kill(b.started[0].pid, signal.SIGKILL)
    await b.until(lambda: b.failures)
    assert "was killed by signal 9 (SIGKILL)" in b.failures[0]
    await b.until(lambda: b.pool.ready == 1)
    assert len(b.started) == 2


async def test_a_taker_that_gives_up_loses_no_worker(bench: Callable[..., Bench]) -> None:
    b = bench(warm=0)
    taking = asyncio.create_task(b.pool.take())
    await b.until(lambda: b.started)
    taking.cancel()
    await asyncio.wait([taking])
    await b.until(lambda: b.pool.ready == 1)
    assert await b.pool.take() is b.started[0]


async def test_closing_ends_every_worker_and_every_wait(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench(warm=1)
    b.pool.fill()
    await b.until(lambda: b.pool.ready == 1)
    monkeypatch.setenv("FAKE_CORE", "hangs")
    await b.pool.take()
    waiting = asyncio.create_task(b.pool.take())
    await b.until(lambda: len(b.started) >= 2)
    await b.pool.close()
    with pytest.raises(WorkerFailed, match="stopping"):
        await waiting
    assert all(worker.exited.done() for worker in b.started[1:])


async def test_a_worker_has_a_clean_environment_and_its_own_session(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFUSION_TOKEN", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/keep")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    worker = await bench().pool.take()
    environment = worker.facts["environment"]
    assert "TFUSION_TOKEN" not in environment
    assert "LD_PRELOAD" not in environment
    assert environment["LD_LIBRARY_PATH"] == "/keep"
    assert environment["CUDA_VISIBLE_DEVICES"] == "7"
    assert os.getsid(worker.pid) == worker.pid
    descriptors = {os.readlink(entry.path).split(":")[0] for entry in os.scandir(f"/proc/{worker.pid}/fd")}
    assert descriptors <= {"/dev/null", "pipe", "socket"}
    status = Path(f"/proc/{worker.pid}/status").read_text()
    assert "Umask:\t0077" in status
