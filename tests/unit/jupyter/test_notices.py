"""Notices: each end once, and a warning before a limit ends something."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_server.client import Ending, EndingKind
from jupyter_tfusion.leases import Record
from jupyter_tfusion.notices import Notices


def record(slice_id: str = "s1") -> Record:
    lease: Any = SimpleNamespace(opened=SimpleNamespace(slice_id=slice_id))
    return Record("k1", lease, 0.0)


class Bench:
    def __init__(self, warn_before_s: float = 300.0) -> None:
        self.told: list[dict[str, Any]] = []
        self.came = asyncio.Event()
        self.notices = Notices(self._tell, warn_before_s)

    def _tell(self, notice: dict[str, Any]) -> None:
        self.told.append(notice)
        self.came.set()

    def kinds(self) -> list[str]:
        return [notice["kind"] for notice in self.told]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_session_may_end_often_a_slice_once(bench: Bench) -> None:
    for why in ("It was reset.", "It ran for too long."):
        bench.notices.ended(record(), Ending(EndingKind.SESSION, "s1", "k1", why), False)
        bench.notices.ended(record(), Ending(EndingKind.SLICE, "s1", "k1", "It has expired."), False)
        bench.notices.lost(record(), "It is gone.")
    assert bench.kinds() == ["ended", "lost", "ended"]
    assert bench.told[1] == {
        "kernel_id": "k1",
        "slice_id": "s1",
        "kind": "lost",
        "sentence": "It has expired.",
        "what_to_do": "Restart the kernel to use the GPU again. What it had in GPU memory is gone.",
    }


async def test_what_ends_many_processes_at_once_is_told_once(bench: Bench) -> None:
    for _ in range(4):
        bench.notices.ended(record(), Ending(EndingKind.SESSION, "s1", "k1", "It was reset."), False)
    bench.notices.ended(record("s2"), Ending(EndingKind.SESSION, "s2", "k1", "It was reset."), False)
    assert [notice["slice_id"] for notice in bench.told] == ["s1", "s2"]


async def test_who_lost_one_program_of_several_is_not_told_to_restart(bench: Bench) -> None:
    bench.notices.ended(record(), Ending(EndingKind.SESSION, "s1", "k1", "It ran for too long."), True)
    assert "others go on" in bench.told[0]["what_to_do"]


async def test_a_short_limit_is_not_warned_of_at_each_pause(bench: Bench) -> None:
    for _ in range(3):
        bench.notices.note_limit(record(), 0.1, 239.9)
        await asyncio.sleep(0)
        bench.notices.note_limit(record(), 0.0, -1.0)  # a cell runs
    assert bench.told == []
    bench.notices.note_limit(record(), 121.0, 119.0)
    await bench.came.wait()
    assert bench.kinds() == ["idle_warning"]


async def test_a_limit_that_is_near_is_warned_of_once(bench: Bench) -> None:
    bench.notices.note_limit(record(), 600.0, 240.0)
    await bench.came.wait()
    bench.notices.note_limit(record(), 600.0, 200.0)
    bench.notices.note_limit(record(), 600.0, 100.0)
    await asyncio.sleep(0)
    assert bench.kinds() == ["idle_warning"]
    assert bench.told[0]["sentence"].endswith("what it has there is given back in 4 minutes.")


async def test_the_warning_comes_when_the_time_has_come_without_another_word() -> None:
    bench = Bench(warn_before_s=300.0)
    bench.notices.note_limit(record(), 600.0, 300.05)
    assert bench.told == []
    await bench.came.wait()
    assert bench.told[0]["sentence"].endswith("what it has there is given back in 5 minutes.")


async def test_work_puts_the_warning_off_and_another_idleness_is_warned_of_again(bench: Bench) -> None:
    bench.notices.note_limit(record(), 600.0, 300.05)
    bench.notices.note_limit(record(), 600.0, -1.0)  # it works
    bench.notices.note_limit(record(), 600.0, 240.0)
    await bench.came.wait()
    bench.came.clear()
    bench.notices.note_limit(record(), 600.0, 1000.0)
    bench.notices.note_limit(record(), 600.0, 45.0)
    await bench.came.wait()
    assert bench.kinds() == ["idle_warning", "idle_warning"]
    assert bench.told[1]["sentence"].endswith("what it has there is given back in 45 seconds.")


async def test_nobody_is_warned_of_a_slice_that_is_gone(bench: Bench) -> None:
    bench.notices.note_limit(record(), 600.0, 240.0)
    bench.notices.note_limit(record("s2"), 600.0, 240.0)
    bench.notices.forget({"s2"})
    await bench.came.wait()
    assert [notice["slice_id"] for notice in bench.told] == ["s2"]
    bench.notices.note_limit(record("s3"), 600.0, 240.0)
    bench.notices.close()
    await asyncio.sleep(0.01)
    assert len(bench.told) == 1
