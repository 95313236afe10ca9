"""How a slice looks in a notebook: what is said, and that no name of a stranger gets into the page as HTML."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from gpu_server.observation import Observation, ObservedSession
from jupyter_tfusion.slice_card import CellUse, SliceCard, cell_use, format_seconds

MIB = 1 << 20
EVIL = "<img src=x onerror=alert(1)>\"'&"


def session(phase: str = "idle", place: int = 0, name: str = "python3", swapped: int = 0) -> ObservedSession:
    return ObservedSession(
        11, 40, 8 * MIB, 0, name, 8 * MIB - swapped, swapped, 10**9, 10**6, phase, place, phase == "running"
    )


def card(*sessions: ObservedSession, name: str = "lab.ipynb") -> SliceCard:
    used = sum(s.used_bytes for s in sessions)
    return SliceCard(
        Observation(
            "NVIDIA H200", "580", 64 * MIB, used, {}, sessions, name, 125 * 10**9, 3 * 10**9, 5 * 10**8
        )
    )


def test_a_slice_without_a_program_says_so() -> None:
    text = repr(card())
    assert "Memory:  0 bytes of 64 MiB in use\n" in text
    assert "State:   no program uses the GPU at the moment" in text
    assert "3.00 s of GPU time, 500 ms waited, in 2 min 5 s since it was opened" in text


def test_memory_tells_what_lies_where() -> None:
    text = repr(card(session(), session("swapped out", swapped=5 * MIB)))
    assert "16 MiB of 64 MiB in use: 11 MiB on the GPU, 5 MiB swapped out" in text
    assert "Process: 11  python3  8 MiB  swapped out  40 %" in text


@pytest.mark.parametrize(
    ("sessions", "state"),
    [
        ([session(), session("running")], "running"),
        ([session("running"), session("waiting", 3)], "running"),
        ([session(), session("waiting", 3), session("waiting", 2)], "waiting: place 2"),
        ([session("waiting", 1)], "waiting: next"),
        ([session("waiting")], "waiting"),
        ([session("swapping in"), session("waiting", 1)], "swapping in"),
        ([session("swapped out"), session()], "idle"),
    ],
)
def test_the_state_is_the_most_telling_one(sessions: list[ObservedSession], state: str) -> None:
    assert card(*sessions).state == state


def test_names_are_text_and_the_card_is_well_formed() -> None:
    html = card(session(name=EVIL), name=EVIL)._repr_html_()
    assert "<img" not in html
    root = ElementTree.fromstring(html)
    texts = [cell.text for cell in root.iter("td")]
    assert texts.count(EVIL) == 2


def test_the_bar_has_a_part_for_each_place_and_is_read_out() -> None:
    root = ElementTree.fromstring(card(session("swapped out", swapped=2 * MIB))._repr_html_())
    (meter,) = [e for e in root.iter("div") if e.get("role") == "meter"]
    assert (meter.get("aria-valuenow"), meter.get("aria-valuemax")) == (str(8 * MIB), str(64 * MIB))
    assert "2 MiB swapped out" in (meter.get("aria-valuetext") or "")
    assert [part.get("style", "").split(";")[0] for part in meter] == ["width:9.38%", "width:3.12%"]


def test_what_a_cell_used_is_the_difference_and_the_peak_since_the_mark() -> None:
    before = Observation("G", "", 64 * MIB, 8 * MIB, {}, [], "", 0, 10, 20, 30, 40, 5, [8 * MIB])
    after = Observation("G", "", 64 * MIB, 9 * MIB, {}, [], "", 0, 110, 25, 37, 41, 6, [9 * MIB, 12 * MIB])
    use = cell_use(before, after, wall_ns=2 * 10**9)
    assert use == CellUse(2 * 10**9, 100, 5, 8 * MIB, 12 * MIB, 7, 1)
    assert "12 MiB at the most, 4 MiB more than before the cell" in repr(use)
    assert "12 MiB at the most" in ElementTree.fromstring(use._repr_html_()).findtext(".//tr[3]/td", "")


def test_a_peak_that_is_forgotten_is_not_guessed() -> None:
    before = Observation("G", "", 64 * MIB, 0, {}, [], mark=1, peak_bytes=[0])
    after = Observation("G", "", 64 * MIB, 0, {}, [], mark=20, peak_bytes=[0] * 8)
    assert "not known" in repr(cell_use(before, after, 1))


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ms"),
        (1_234_567, "1.23 ms"),
        (1_500_000_000, "1.50 s"),
        (125 * 10**9, "2 min 5 s"),
        (12_000 * 10**9, "3 h 20 min"),
    ],
)
def test_times_are_short(ns: int, text: str) -> None:
    assert format_seconds(ns) == text
