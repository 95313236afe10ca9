"""Watchers of the state: what each is given, and what becomes of one that does not read."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_server.errors import TFusionError
from gpu_server.proto import control_pb2 as pb
from gpu_server.state import BACKLOG, StateWatch, StateWatcher


class Server:
    """What a watch needs of a daemon without GPUs and slices, which may be broken."""

    def __init__(self) -> None:
        self.broken = False
        self.inventory: Any = SimpleNamespace(utilization_percent=self._utilization, gpus=list)
        self.turns = SimpleNamespace(work=dict)
        self.registry = SimpleNamespace(slices=list)

    async def _utilization(self) -> dict[str, int]:
        if self.broken:
            raise ValueError("a number that cannot be")
        return {}


def new_watch(server: Any = None) -> StateWatch:
    return StateWatch(server or Server())


WHOLE = pb.StateChange(full=True, slices=[pb.Slice(slice_id="a")])


def change(slice_id: str = "a") -> pb.StateChange:
    return pb.StateChange(slices=[pb.Slice(slice_id=slice_id)])


async def test_the_first_message_is_all_there_is_then_come_changes() -> None:
    watcher = StateWatcher(new_watch())
    watcher.offer(change(), WHOLE)
    watcher.offer(change("b"), WHOLE)
    assert (await anext(watcher)).full
    assert [s.slice_id for s in (await anext(watcher)).slices] == ["b"]


async def test_what_is_no_change_is_not_told() -> None:
    watcher = StateWatcher(new_watch())
    watcher.offer(pb.StateChange(), WHOLE)
    assert (await anext(watcher)).full
    watcher.offer(pb.StateChange(), WHOLE)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(anext(watcher), 0.01)


async def test_who_does_not_read_gets_all_there_is_instead_of_a_backlog() -> None:
    watcher = StateWatcher(new_watch())
    for number in range(10 * BACKLOG):
        watcher.offer(change(str(number)), pb.StateChange(full=True, slices=[pb.Slice(slice_id=str(number))]))
        assert len(watcher._unread) <= BACKLOG
    read = []
    while watcher._unread:
        read.append(await anext(watcher))
    assert read[0].full
    # Nothing between is lost: from the last full message on, the numbers rise by one.
    numbers = [int(s.slice_id) for message in read for s in message.slices]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_the_end_of_the_watch_ends_the_stream() -> None:
    watch = new_watch()
    with watch.watch() as watcher:
        watcher.offer(change(), WHOLE)
        watcher.end()
        assert [message async for message in watcher] == []
    assert watch._watchers == set()
    await watch.close()


async def test_a_watch_that_breaks_is_an_error_for_all_and_the_next_one_begins_anew() -> None:
    server = Server()
    watch = new_watch(server)
    with watch.watch() as one, watch.watch() as other:
        for watcher in (one, other):
            assert (await anext(watcher)).full
        server.broken = True
        watch.note()
        for watcher in (one, other):
            with pytest.raises(TFusionError, match="cannot be told: a number that cannot be"):
                await anext(watcher)
    server.broken = False
    with watch.watch() as again:
        assert (await anext(again)).full
    await watch.close()
