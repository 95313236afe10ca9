"""Watchers get every event in order, are told when they missed some, and end with the log."""

from __future__ import annotations

import pytest

from gpu_server import events
from gpu_server.events import EventKind, EventLog, WatcherTooSlow


def add(log: EventLog, count: int) -> None:
    for i in range(count):
        log.add(EventKind.SLICE_OPENED, f"event {i}", "s")


async def drain(watcher: events.EventWatcher) -> list[int]:
    return [event.sequence async for event in watcher]


async def test_a_watcher_gets_what_happens_after_it_came() -> None:
    log = EventLog()
    add(log, 2)
    with log.watch(replay=False) as watcher:
        add(log, 3)
        log.close()
        assert await drain(watcher) == [3, 4, 5]


async def test_replay_begins_with_what_is_remembered_without_a_gap() -> None:
    log = EventLog()
    add(log, events.REMEMBERED + 5)
    with log.watch(replay=True) as watcher:
        add(log, 2)
        log.close()
        assert await drain(watcher) == list(range(6, events.REMEMBERED + 8))


async def test_a_watcher_that_does_not_read_is_told_so_and_costs_bounded_memory() -> None:
    log = EventLog()
    with log.watch(replay=False) as watcher:
        add(log, events.REMEMBERED + events.BACKLOG + 10)
        got = 0
        with pytest.raises(WatcherTooSlow):
            async for _ in watcher:
                got += 1
        assert got == events.REMEMBERED + events.BACKLOG


async def test_watchers_are_counted_while_they_watch() -> None:
    log = EventLog()
    with log.watch(replay=False):
        assert log.watchers == 1
    assert log.watchers == 0


async def test_watching_a_closed_log_ends_at_once() -> None:
    log = EventLog()
    log.close()
    with log.watch(replay=False) as watcher:
        assert await drain(watcher) == []


def test_the_wall_clock_is_the_given_one() -> None:
    log = EventLog(wall_clock=lambda: 12.5)
    assert log.add(EventKind.WORKER_FAILED, "x").unix_time_s == 12.5
