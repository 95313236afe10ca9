"""What was decided about a slice, and why: `tfusion status --story SLICE`.

Bounded twice. A slice that competes is held back and let go many times a second, so those entries have a short list
of their own: they can never push out why memory was taken. Stories of slices that are gone are kept for a while,
because the question comes after the kernel has ended.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gpu_server.scheduler.policy import SECOND

ENTRIES = 800
TURN_ENTRIES = 200
KEPT_NS = 600 * SECOND
KEPT_STORIES = 200


@dataclass(frozen=True)
class StoryEntry:
    """One decision. ``session_id`` is empty where it was about the slice as a whole."""

    at_ns: int
    slice_id: str
    session_id: str
    text: str


@dataclass
class _Story:
    entries: deque[tuple[int, StoryEntry]] = field(default_factory=lambda: deque(maxlen=ENTRIES))
    turns: deque[tuple[int, StoryEntry]] = field(default_factory=lambda: deque(maxlen=TURN_ENTRIES))
    ended_ns: int | None = None


class Stories:
    """The stories of one GPU's slices. ``now_ns`` is set by the machine before it decides anything."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._stories: dict[str, _Story] = {}
        self._count = 0

    def tell(self, slice_id: str, session_id: str, text: str, turn: bool = False) -> None:
        """Notes a decision. ``turn``: one of those that recur with every quantum."""
        story = self._stories.get(slice_id)
        if story is None:
            story = self._stories[slice_id] = _Story()
        self._count += 1
        entry = StoryEntry(self.now_ns, slice_id, session_id, text)
        (story.turns if turn else story.entries).append((self._count, entry))

    def of(self, slice_id: str) -> list[StoryEntry]:
        """A slice's decisions, oldest first; empty if nothing is known of it."""
        story = self._stories.get(slice_id)
        if story is None:
            return []
        return [
            entry for _, entry in sorted([*story.entries, *story.turns], key=lambda numbered: numbered[0])
        ]

    def begin(self, slice_id: str) -> None:
        """The slice has a session (again): its story is not forgotten while it has one."""
        self._stories.setdefault(slice_id, _Story()).ended_ns = None

    def end(self, slice_id: str) -> None:
        """The slice's last session is gone."""
        story = self._stories.pop(slice_id, None)
        if story is None:
            return
        story.ended_ns = self.now_ns
        self._stories[slice_id] = story  # moved to the end: ended stories lie in the order of their ends
        ended = [one for one, s in self._stories.items() if s.ended_ns is not None]
        for position, one in enumerate(ended):
            if len(ended) - position > KEPT_STORIES or self._is_old(self._stories[one]):
                del self._stories[one]

    def _is_old(self, story: _Story) -> bool:
        return story.ended_ns is not None and self.now_ns - story.ended_ns > KEPT_NS
