"""What a slice's sessions did when: their phases, memory and calls, kept for a while for `tfusion trace`.

A sample is taken when the scheduler has decided something, and kept if the session's phase or memory is another than
before. So an idle slice costs nothing, and the times between two samples are told apart by what was true in them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SAMPLES = 5_000  # some 600 KiB for a slice that changes all the time
US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class TimelineSample:
    """One session from ``at_s`` on (CLOCK_MONOTONIC, seconds). ``calls`` is their number so far."""

    at_s: float
    session_id: str
    phase: str
    resident_bytes: int
    swapped_bytes: int
    calls: int


class Timeline:
    """The samples of one slice, the oldest of which go when there are too many."""

    def __init__(self) -> None:
        self._samples: deque[TimelineSample] = deque(maxlen=SAMPLES)
        self._last: dict[str, TimelineSample] = {}

    def note(self, sample: TimelineSample) -> None:
        """Keeps the sample if it says anything new."""
        last = self._last.get(sample.session_id)
        if last is None or _shown(last) != _shown(sample):
            self._samples.append(sample)
            self._last[sample.session_id] = sample

    def end(self, session_id: str, at_s: float) -> None:
        """The session is over."""
        last = self._last.pop(session_id, None)
        if last is not None:
            self._samples.append(TimelineSample(at_s, session_id, ENDED, 0, 0, last.calls))

    def samples(self) -> list[TimelineSample]:
        """Oldest first."""
        return list(self._samples)


ENDED = "ended"


def _shown(sample: TimelineSample) -> tuple[str, int, int]:
    return sample.phase, sample.resident_bytes, sample.swapped_bytes


def perfetto(
    name: str, samples: Sequence[TimelineSample], decisions: Iterable[tuple[float, str, str]], now_s: float
) -> str:
    """A trace in the JSON format that Perfetto and chrome://tracing open.

    ``decisions``: (seconds, session id, sentence) of the slice's story. The phases become slices of a track per
    session, memory and call rates counters, decisions instants. Format: "Trace Event Format", Google, 2016.
    """
    tracks = {
        session: number for number, session in enumerate(dict.fromkeys(s.session_id for s in samples), 1)
    }
    events: list[dict[str, object]] = [_named("process_name", 0, f"slice {name}")]
    for session, track in tracks.items():
        events.append(_named("thread_name", track, f"session {session}"))
        own = [sample for sample in samples if sample.session_id == session]
        for sample, following in zip(own, [*own[1:], None], strict=True):
            events += _of_sample(sample, following, track, now_s)
    for at_s, session, sentence in decisions:
        events.append(
            {
                "ph": "i",
                "s": "t",
                "pid": 1,
                "tid": tracks.get(session, 0),
                "ts": at_s * US_PER_S,
                "name": sentence,
            }
        )
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})


def _of_sample(
    sample: TimelineSample, following: TimelineSample | None, track: int, now_s: float
) -> list[dict[str, object]]:
    ends_s = now_s if following is None else following.at_s
    took_s = max(0.0, ends_s - sample.at_s)
    where: dict[str, object] = {"pid": 1, "tid": track, "ts": sample.at_s * US_PER_S}
    memory = {"resident": sample.resident_bytes, "swapped": sample.swapped_bytes}
    made: list[dict[str, object]] = [
        {"ph": "C", "name": f"memory {sample.session_id}", "args": memory, **where}
    ]
    if sample.phase == ENDED:
        return made
    made.append({"ph": "X", "name": sample.phase, "dur": took_s * US_PER_S, **where})
    if following is not None and took_s > 0:
        rate = (following.calls - sample.calls) / took_s
        made.append({"ph": "C", "name": f"calls/s {sample.session_id}", "args": {"calls/s": rate}, **where})
    return made


def _named(kind: str, track: int, name: str) -> dict[str, object]:
    return {"ph": "M", "pid": 1, "tid": track, "name": kind, "args": {"name": name}}
