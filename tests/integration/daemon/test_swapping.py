"""More memory is promised than the GPU has: who does not compute is swapped out, and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

MIB = 1 << 20
GPU_BYTES = 64 * MIB


@pytest.fixture
def oversubscribed(configured: Any) -> Any:
    def start(**settings: object) -> Any:
        return configured(
            "64MiB", **{"oversubscription": 8.0, "swap_memory": "512MiB", "cooling_s": 0.0, **settings}
        )

    return start


@pytest.fixture
def small(oversubscribed: Any) -> Any:
    return oversubscribed()


def session(host: Any, guest: Any) -> Any:
    """The session of a guest, which has one: that of its slice's process."""
    children = Path(f"/proc/{guest.process.pid}/task/{guest.process.pid}/children").read_text().split()
    return next(
        s for s in host.client.list_sessions() if str(s.client_pid) in [*children, str(guest.process.pid)]
    )


def never_too_much(host: Any) -> None:
    assert sum(s.resident_bytes for s in host.client.list_sessions()) <= GPU_BYTES


def test_two_that_do_not_fit_take_turns_and_keep_their_memory(small: Any) -> None:
    one, two = small.guest("48MiB"), small.guest("48MiB")
    for seed, guest in enumerate((one, two)):
        assert guest.ask("start") == "ok 1"
        assert guest.ask(f"fill 40 {seed}") == "ok filled"
        never_too_much(small)
    assert session(small, one).swapped_bytes > 0
    for _ in range(3):
        for guest in (one, two):
            assert guest.ask("unchanged") == "ok unchanged"
            never_too_much(small)
            assert guest.ask("scale 1000 3") == "ok correct"
    assert one.words() == two.words() == ""


def test_who_takes_memory_in_a_loop_gives_memory_up_and_comes_back(small: Any) -> None:
    churns, other = small.guest("48MiB"), small.guest("48MiB")
    for guest in (churns, other):
        guest.ask("start")
    assert churns.ask("fill 32 1") == "ok filled"
    churns.say("churn 300 2")
    assert other.ask("fill 40 2") == "ok filled"
    assert other.ask("unchanged") == "ok unchanged"
    assert churns.process.stdout.readline() == "ok churned\n"
    for guest in (churns, other, churns):
        assert guest.ask("unchanged") == "ok unchanged"
    never_too_much(small)


def observed(guest: Any, *mark: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(guest.ask(" ".join(["observe", *mark])).removeprefix("ok "))
    return answer


def test_an_observer_is_told_what_went_out_and_came_back_and_the_wait_for_it(small: Any) -> None:
    one, two = small.guest("48MiB"), small.guest("48MiB")
    for seed, guest in enumerate((one, two)):
        guest.ask("start")
        assert guest.ask(f"fill 40 {seed}") == "ok filled"
    before = observed(one, "mark")
    (session_before,) = before["sessions"]
    assert session_before["phase"] == "swapped out"
    assert session_before["swapped_bytes"] == before["swapped_out_bytes"] > 0
    assert session_before["used_bytes"] == before["used_bytes"] >= 40 * MIB
    assert one.ask("unchanged") == "ok unchanged"
    after = observed(one)
    (session_after,) = after["sessions"]
    assert session_after["swapped_bytes"] == 0
    assert session_after["resident_bytes"] == after["used_bytes"] == before["used_bytes"]
    assert after["swapped_in_bytes"] == before["swapped_in_bytes"] + session_before["swapped_bytes"]
    assert after["waited_ns"] > before["waited_ns"]
    assert after["peak_bytes"][0] == before["used_bytes"]  # where it lies makes no difference
    other = observed(two)
    assert other["swapped_out_bytes"] > 0
    assert other["mark"] == 0


def test_only_as_much_goes_as_is_needed(small: Any) -> None:
    one, two = small.guest("48MiB"), small.guest("48MiB")
    one.ask("start")
    assert [one.ask(f"fill 8 {seed}") for seed in range(4)] == ["ok filled"] * 4
    two.ask("start")
    assert [two.ask(f"fill 8 {seed}") for seed in range(5)] == ["ok filled"] * 5
    assert 8 * MIB <= session(small, one).swapped_bytes <= 16 * MIB
    assert session(small, two).swapped_bytes == 0


def test_memory_of_the_virtual_memory_api_is_swapped_as_well(small: Any) -> None:
    one, two = small.guest("48MiB"), small.guest("48MiB")
    one.ask("start")
    answer = one.ask("map 32 5")
    assert answer.startswith("ok ")
    two.ask("start")
    assert two.ask("fill 48 6") == "ok filled"
    assert session(small, one).swapped_bytes >= 16 * MIB
    for part in (1, 0, 1, 0):
        assert one.ask(f"reach {answer[3:]} {part}") == "ok reached"
        assert one.ask("unchanged") == "ok unchanged"
        assert two.ask("unchanged") == "ok unchanged"


def test_four_that_compute_at_once_all_come_to_their_turn(small: Any) -> None:
    guests = [small.guest("40MiB") for _ in range(4)]
    for seed, guest in enumerate(guests):
        guest.ask("start")
        assert guest.ask(f"fill 32 {seed}") == "ok filled"
    wrong: list[str] = []

    def work(guest: Any) -> None:
        for factor in range(2, 6):
            for question, right in (("unchanged", "ok unchanged"), (f"scale 4000 {factor}", "ok correct")):
                if (answer := guest.ask(question)) != right:
                    wrong.append(answer)

    threads = [threading.Thread(target=work, args=(guest,)) for guest in guests]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        never_too_much(small)
        threads[0].join(0.05)
        threads = [thread for thread in threads if thread.is_alive()] or threads[:1]
    assert wrong == []


def test_what_the_host_does_not_hold_goes_to_disk(oversubscribed: Any, tmp_path: Path) -> None:
    host = oversubscribed(swap_memory="32MiB", swap_disk="256MiB", swap_folder=str(tmp_path / "swap"))
    guests = [host.guest("48MiB") for _ in range(3)]
    for seed, guest in enumerate(guests):
        guest.ask("start")
        assert guest.ask(f"fill 44 {seed}") == "ok filled", host.client.story(session(host, guest).slice_id)
    assert sum(s.spilled_bytes for s in host.client.list_sessions()) > 0
    assert [guest.ask("unchanged") for guest in guests] == ["ok unchanged"] * 3
    assert list((tmp_path / "swap").iterdir()) == []  # the file has no name
    assert (tmp_path / "swap").stat().st_mode & 0o777 == 0o700


def test_without_room_for_others_memory_is_refused_and_nobody_loses_any(oversubscribed: Any) -> None:
    host = oversubscribed(swap_memory="1MiB")
    one, two = host.guest("48MiB"), host.guest("48MiB")
    for guest in (one, two):
        guest.ask("start")
    assert one.ask("fill 40 1") == "ok filled"
    assert two.ask("fill 40 2") == "error 2"
    assert one.ask("unchanged") == "ok unchanged"
    assert two.ask("fill 16 3") == "ok filled"
    assert two.ask("unchanged") == "ok unchanged"


def test_a_killed_program_makes_room_for_who_waits(small: Any) -> None:
    one, two = small.guest("48MiB"), small.guest("48MiB")
    one.ask("start")
    one.ask("fill 40 1")
    two.ask("start")
    assert two.ask("fill 40 2") == "ok filled"
    os.kill(session(small, two).client_pid, signal.SIGKILL)
    assert one.ask("unchanged") == "ok unchanged"
    small.until(lambda: session(small, one).swapped_bytes == 0)


def test_a_killed_worker_in_the_middle_costs_its_own_session_only(small: Any) -> None:
    one, two, three = (small.guest("48MiB") for _ in range(3))
    for seed, guest in enumerate((one, two, three)):
        guest.ask("start")
        assert guest.ask(f"fill 36 {seed}") == "ok filled"
    one.say("unchanged")  # now the third's memory leaves
    os.kill(session(small, three).worker_pid, signal.SIGKILL)
    assert one.process.stdout is not None
    assert one.process.stdout.readline().strip() == "ok unchanged"
    assert two.ask("unchanged") == "ok unchanged"
    assert three.ask("sync").startswith("error")


def test_the_story_says_what_was_decided_and_why(small: Any) -> None:
    one, two = small.guest("48MiB"), small.guest("48MiB")
    for guest in (one, two):
        guest.ask("start")
        guest.ask("fill 40 1")
    story = small.client.story(session(small, one).slice_id)
    assert story
    assert all(entry.sentence for entry in story)
    assert [entry.age_s for entry in story] == sorted((entry.age_s for entry in story), reverse=True)
