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
