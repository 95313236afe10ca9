"""A slice's timeline keeps what changed, and becomes a trace that Perfetto opens."""

from __future__ import annotations

import json

from gpu_server.timeline import SAMPLES, Timeline, TimelineSample, perfetto


def sample(
    at_s: float, phase: str = "running", resident: int = 1, calls: int = 0, session: str = "a"
) -> TimelineSample:
    return TimelineSample(at_s, session, phase, resident, 0, calls)


def test_only_what_changed_is_kept() -> None:
    timeline = Timeline()
    for one in (sample(1.0), sample(2.0, calls=5), sample(3.0, "waiting"), sample(4.0, "waiting", 2)):
        timeline.note(one)
    assert [kept.at_s for kept in timeline.samples()] == [1.0, 3.0, 4.0]


def test_sessions_are_told_apart_and_end() -> None:
    timeline = Timeline()
    timeline.note(sample(1.0))
    timeline.note(sample(1.0, session="b"))
    timeline.end("a", 2.0)
    timeline.end("unknown", 2.0)
    assert [(kept.session_id, kept.phase) for kept in timeline.samples()] == [
        ("a", "running"),
        ("b", "running"),
        ("a", "ended"),
    ]


def test_the_oldest_go_first() -> None:
    timeline = Timeline()
    for number in range(SAMPLES + 10):
        timeline.note(sample(float(number), resident=number))
    assert len(timeline.samples()) == SAMPLES
    assert timeline.samples()[0].at_s == 10.0


def test_a_trace_has_a_track_per_session_with_phases_memory_calls_and_decisions() -> None:
    samples = [
        sample(1.0),
        sample(1.5, "waiting", 0, 100),
        sample(1.0, session="b"),
        TimelineSample(3.0, "b", "ended", 0, 0, 7),
    ]
    events = json.loads(perfetto("ada", samples, [(1.5, "a", "waits")], 2.0))["traceEvents"]
    names = {event["args"]["name"]: event["tid"] for event in events if event["ph"] == "M"}
    assert names == {"slice ada": 0, "session a": 1, "session b": 2}
    phases = [(e["tid"], e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert phases == [(1, "running", 1e6, 5e5), (1, "waiting", 1.5e6, 5e5), (2, "running", 1e6, 2e6)]
    rates = [e["args"]["calls/s"] for e in events if e["ph"] == "C" and e["name"] == "calls/s a"]
    assert rates == [200.0]
    assert [(e["tid"], e["name"]) for e in events if e["ph"] == "i"] == [(1, "waits")]
