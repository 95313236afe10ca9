"""The daemon's events: what happened to slices, sessions and workers, for logs, the sidebar and `tfusion status`.

The last ones are remembered. Sequence numbers rise by one, so a watcher can tell that it missed some.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

REMEMBERED = 1000
BACKLOG = 1000


class EventKind(enum.IntEnum):
    """As Event.Kind of control.proto."""

    SLICE_OPENED = 1
    SLICE_CLOSED = 2
    SLICE_EXPIRED = 3
    SESSION_STARTED = 4
    SESSION_ENDED = 5
    SESSION_REFUSED = 6
    WORKER_FAILED = 7
    SLICE_RESET = 8


@dataclass(frozen=True)
class Event:
    """Something that happened. Sequence numbers rise by one; ``detail`` is a sentence for people,
    ``unix_time_s`` the wall clock."""

    sequence: int
    unix_time_s: float
    kind: EventKind
    slice_id: str
    session_id: str
    detail: str


class WatcherTooSlow(Exception):
    """The watcher did not take its events in time; it may begin again with replay."""


class EventLog:
    """Keeps the last events and feeds the watchers. For one event loop; not thread-safe."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._last: deque[Event] = deque(maxlen=REMEMBERED)
        self._sequence = 0
        self._watchers: set[EventWatcher] = set()
        self._closed = False

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    def remembered(self) -> list[Event]:
        """The last events, oldest first."""
        return list(self._last)

    def add(self, kind: EventKind, detail: str, slice_id: str = "", session_id: str = "") -> Event:
        """Records an event and tells the watchers."""
        self._sequence += 1
        event = Event(self._sequence, self._wall_clock(), kind, slice_id, session_id, detail)
        self._last.append(event)
        for watcher in self._watchers:
            watcher.offer(event)
        return event

    def watch(self, replay: bool) -> EventWatcher:
        """Events from this moment on, with ``replay`` first the remembered ones. Use it in a `with`."""
        watcher = EventWatcher(self, self.remembered() if replay else [])
        if self._closed:
            watcher.end()
        self._watchers.add(watcher)
        return watcher

    def forget(self, watcher: EventWatcher) -> None:
        """The watcher has had enough."""
        self._watchers.discard(watcher)

    def close(self) -> None:
        """Ends every watcher's stream after what it was already given."""
        self._closed = True
        for watcher in self._watchers:
            watcher.end()


class EventWatcher:
    """One watcher's stream: an asynchronous iterator that ends when the log closes."""

    def __init__(self, log: EventLog, past: list[Event]) -> None:
        self._log = log
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._missed = False
        for event in past:
            self._queue.put_nowait(event)

    def offer(self, event: Event) -> None:
        """The log's: one more event, unless the watcher has fallen too far behind."""
        if self._queue.qsize() >= REMEMBERED + BACKLOG:
            self._missed = True
        if not self._missed:
            self._queue.put_nowait(event)

    def end(self) -> None:
        """The log's: nothing follows."""
        self._queue.put_nowait(None)

    def __enter__(self) -> EventWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.forget(self)

    def __aiter__(self) -> EventWatcher:
        return self

    async def __anext__(self) -> Event:
        if self._missed and self._queue.empty():
            raise WatcherTooSlow
        event = await self._queue.get()
        if event is None:
            raise StopAsyncIteration
        return event
