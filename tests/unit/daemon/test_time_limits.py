"""Limits of time on slices: what counts as a run, and what as idle."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_server import time_limits
from gpu_server.scheduler import Phase, SessionState
from gpu_server.time_limits import TimeLimits
from gpu_server.turns import NS_PER_S, SliceWork


class Bench:
    """A daemon whose slices do what the test says, looked at as often as it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, idle_s: float = 0.0, run_s: float = 0.0) -> None:
        self.now = 1000.0
        self.work: dict[str, SliceWork] = {}
        self.ended: list[tuple[str, str]] = []
        server: Any = SimpleNamespace(
            clock=lambda: self.now,
            turns=SimpleNamespace(work=lambda: self.work),
            end_sessions=lambda slice_id, sentence: self.ended.append((slice_id, sentence)),
        )
        self.limits = TimeLimits(server, idle_s=idle_s, run_s=run_s)
        self._monkeypatch = monkeypatch

    def works(self, slice_id: str, *sessions: str, phase: Phase = Phase.RUNNING) -> None:
        states = [self._state(slice_id, name, phase, True) for name in sessions]
        self.work[slice_id] = SliceWork(states, worked_ns=int(self.now * NS_PER_S))

    def rests(self, slice_id: str, *sessions: str, phase: Phase = Phase.IDLE) -> None:
        before = self.work.get(slice_id, SliceWork(worked_ns=int(self.now * NS_PER_S)))
        states = [self._state(slice_id, name, phase, False) for name in sessions]
        self.work[slice_id] = SliceWork(states, worked_ns=before.worked_ns)

    def look(self) -> None:
        """One round of the watch."""

        async def stop(_: float) -> None:
            raise asyncio.CancelledError

        with self._monkeypatch.context() as patch, pytest.raises(asyncio.CancelledError):
            patch.setattr(time_limits.asyncio, "sleep", stop)
            asyncio.run(self.limits.watch())

    def _state(self, slice_id: str, name: str, phase: Phase, has_work: bool) -> SessionState:
        return SessionState(name, slice_id, phase, None, 0, 0, 0, 0, has_work, 0, "", 0)


def test_a_run_is_work_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, run_s=600.0)
    for _ in range(3):  # each too short
        for _ in range(5):
            bench.works("a", "p")
            bench.look()
            bench.now += 100.0
        bench.rests("a", "p")
        bench.now += 2.0
        bench.look()
    assert bench.ended == []
    for _ in range(8):
        bench.works("a", "p")
        bench.look()
        bench.now += 100.0
    assert [slice_id for slice_id, _ in bench.ended] == ["a"]
    assert "longer than the 10 minutes that one run may take" in bench.ended[0][1]


def test_waiting_for_a_turn_counts_and_work_while_memory_leaves_is_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, idle_s=60.0, run_s=600.0)
    for phase in (Phase.WAITING, Phase.SWAPPING_OUT) * 4:
        bench.works("a", "p", phase=phase)
        assert bench.limits.ends_in_s(bench.work["a"]) == -1.0
        bench.look()
        bench.now += 100.0
    assert [slice_id for slice_id, _ in bench.ended] == ["a"]


def test_a_new_program_does_not_go_on_with_the_run_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, run_s=600.0)
    bench.works("a", "p")
    bench.look()
    bench.now += 500.0
    bench.works("a", "q")  # at once, between two looks
    bench.look()
    bench.now += 500.0
    bench.works("a", "q")
    bench.look()
    bench.work["a"] = SliceWork()  # nobody is there
    bench.look()
    bench.now += 3600.0
    bench.works("a", "r")
    bench.look()
    bench.now += 1.0
    bench.works("a", "r")
    bench.look()
    assert bench.ended == []


def test_nothing_is_remembered_of_slices_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, run_s=600.0)
    for number in range(50):
        bench.work = {}
        bench.works(f"slice {number}", "p")
        bench.look()
    assert len(bench.limits._runs) == 1


def test_idle_time_ends_what_a_slice_has_and_how_long_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, idle_s=150.0)
    bench.works("a", "p")
    assert bench.limits.ends_in_s(bench.work["a"]) == -1.0
    bench.rests("a", "p", phase=Phase.SWAPPED_OUT)
    bench.now += 100.0
    bench.look()
    assert bench.ended == []
    assert bench.limits.ends_in_s(bench.work["a"]) == pytest.approx(50.0)
    bench.now += 51.0
    bench.look()
    assert "did not use the GPU for 2.5 minutes" in bench.ended[0][1]
    bench.rests("a")  # its processes are gone
    assert bench.limits.ends_in_s(bench.work["a"]) == -1.0


def test_without_limits_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.works("a", "p")
    asyncio.run(bench.limits.watch())
    assert bench.limits.ends_in_s(bench.work["a"]) == -1.0
