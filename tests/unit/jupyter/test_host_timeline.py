"""Samples of a slice, put together from those of its sessions."""

from __future__ import annotations

from gpu_server.client import TimelineSample
from jupyter_tfusion.host_timeline import WINDOW_S, slice_samples


def sample(at_s: float, session: str, phase: str, resident: int = 0, swapped: int = 0) -> TimelineSample:
    return TimelineSample(at_s, session, phase, resident, swapped, 0)


def test_a_slice_does_what_its_busiest_session_does_and_has_what_all_have() -> None:
    made = slice_samples(
        [
            sample(10, "a", "running", 5),
            sample(20, "b", "waiting", 1, 7),
            sample(30, "a", "idle", 5),
            sample(40, "b", "ended"),
            sample(50, "a", "ended"),
        ],
        60,
    )
    shown = [(s["at_s"], s["phase"], s["resident_bytes"], s["swapped_bytes"]) for s in made]
    assert shown == [
        (10, "running", 5, 0),
        (20, "running", 6, 7),
        (30, "waiting", 6, 7),
        (40, "idle", 5, 0),
        (50, "idle", 0, 0),
    ]


def test_what_was_before_the_window_is_its_first_sample() -> None:
    made = slice_samples(
        [sample(1, "a", "running", 5), sample(2, "a", "idle", 6), sample(990, "a", "running", 7)], 1000
    )
    assert [(s["at_s"], s["phase"], s["resident_bytes"]) for s in made] == [
        (1000 - WINDOW_S, "idle", 6),
        (990, "running", 7),
    ]


def test_samples_that_nobody_can_tell_apart_are_one() -> None:
    made = slice_samples([sample(900 + n / 1000, "a", "idle", n) for n in range(5000)], 1000)
    assert len(made) <= 6
    assert made[-1]["resident_bytes"] == 4999
    assert [s["at_s"] for s in made] == sorted(s["at_s"] for s in made)


def test_a_phase_that_is_not_known_is_passed_on() -> None:
    assert slice_samples([sample(1, "a", "dreaming")], 2)[0]["phase"] == "dreaming"
    assert slice_samples([], 2) == []
