"""Limits in time: an endless kernel ends its own session, a ceiling holds, and shares divide the GPU."""

from __future__ import annotations

from typing import Any


def test_a_kernel_that_runs_past_its_limit_ends_its_session_with_a_sentence(configured: Any) -> None:
    host = configured("256MiB", kernel_limit_s=5.0)
    bad, good = host.guest(), host.guest()
    for guest in (bad, good):
        guest.ask("start")
        assert guest.ask("scale 100 2") == "ok correct"
    assert bad.ask("spin") == "ok spins"
    assert bad.ask("sync") == "error 46"
    assert "longer than the 5 s that one may take" in bad.ask("why")
    assert good.ask("scale 100 3") == "ok correct"
    host.until(lambda: len(host.client.list_sessions()) == 1)


def test_a_run_that_does_not_pause_ends_its_sessions_with_a_sentence(configured: Any) -> None:
    host = configured("256MiB", run_limit_s=2.0)
    bad, good = host.guest(), host.guest()
    for guest in (bad, good):
        guest.ask("start")
    assert bad.ask("spin") == "ok spins"
    assert bad.ask("sync") == "error 46"
    assert "longer than the 2 seconds that one run may take" in bad.ask("why")
    host.until(lambda: len(host.client.list_sessions()) == 1)
    assert len(host.client.list_slices()) == 2
    assert good.ask("scale 100 3") == "ok correct"


def test_who_does_not_use_the_gpu_for_long_gives_it_back(configured: Any) -> None:
    host = configured("256MiB", idle_expiry_s=3.0)
    idle, busy = host.guest(), host.guest()
    for guest in (idle, busy):
        guest.ask("start")
    assert idle.ask("allocate 1048576") == "ok allocated"
    warned = set()

    def only_the_busy_one_is_left() -> bool:
        assert busy.ask("scale 1000 3") == "ok correct"
        warned.update(s.slice_id for s in host.client.list_slices() if 0.0 <= s.ends_in_s <= 3.0)
        return len(host.client.list_sessions()) == 1

    host.until(only_the_busy_one_is_left)
    assert warned
    assert idle.ask("sync") == "error 46"
    assert "did not use the GPU for 3 seconds" in idle.ask("why")
    slices = host.client.list_slices()
    assert sorted(s.phase == "ended" for s in slices) == [False, True]
    assert sum(s.used_bytes for s in slices if s.phase == "ended") == 0


def test_many_short_kernels_are_no_long_one(configured: Any) -> None:
    host = configured("256MiB", kernel_limit_s=5.0)
    guest = host.guest()
    guest.ask("start")
    for factor in range(2, 40):
        assert guest.ask(f"scale 100000 {factor}") == "ok correct"


def test_a_session_waits_for_others_to_catch_up_and_all_results_are_right(configured: Any) -> None:
    host = configured("256MiB", quantum_s=0.001)
    guests = [host.guest() for _ in range(3)]
    for guest in guests:
        guest.ask("start")
    for factor in range(2, 6):
        for guest in guests:
            guest.say(f"scale 200000 {factor}")
        for guest in guests:
            assert guest.process.stdout.readline() == "ok correct\n"
    assert all(session.gpu_s > 0 for session in host.client.list_sessions())
