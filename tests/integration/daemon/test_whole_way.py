"""The whole way of a call: program, hook, ring, worker, software GPU; and what is seen when a part of it dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gpu_server.client import EventKind, connect
from gpu_server.runtime_folder import LOCK_FILE

MIB = 1 << 20
OUT_OF_MEMORY = "error 2"


def test_a_program_computes_on_its_slice(host: Any) -> None:
    guest = host.guest("64MiB")
    assert guest.ask("start") == "ok 1"
    assert guest.ask("memory") == f"ok {64 * MIB}"
    assert guest.ask("scale 1000 7") == "ok correct"
    (session,) = host.client.list_sessions()
    assert session.used_bytes > 0
    assert host.until(lambda: host.client.list_sessions()[0].calls > 0)
    assert guest.end() == 0
    host.until(lambda: not host.client.list_slices())
    assert guest.words() == ""


def test_the_slices_limit_binds_over_all_its_processes(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = host.guest("64MiB")
    guest.ask("start")
    assert guest.ask(f"allocate {48 * MIB}") == "ok allocated"
    (listed,) = host.client.list_slices()
    assert 48 * MIB <= listed.used_bytes <= 64 * MIB
    assert guest.ask(f"allocate {48 * MIB}") == OUT_OF_MEMORY
    assert guest.ask("sync") == "ok synchronised"


def test_two_programs_compute_at_once_and_apart(host: Any) -> None:
    one, two = host.guest(), host.guest()
    for guest in (one, two):
        assert guest.ask("start") == "ok 1"
    assert (one.ask("scale 5000 3"), two.ask("scale 5000 5")) == ("ok correct", "ok correct")
    assert len(host.client.list_sessions()) == 2


def test_a_wild_kernel_ends_its_own_session_only(host: Any) -> None:
    bad, good = host.guest(), host.guest()
    for guest in (bad, good):
        guest.ask("start")
        assert guest.ask("scale 100 2") == "ok correct"
    assert bad.ask("wild").startswith("error 7")
    assert bad.ask("sync").startswith("error 7")
    assert good.ask("scale 100 9") == "ok correct"


def test_a_killed_program_gives_everything_back(host: Any) -> None:
    guest = host.guest()
    guest.ask("start")
    guest.ask(f"allocate {32 * MIB}")
    (worker,) = host.workers()
    guest.say("die")
    assert host.gone(worker)
    assert guest.process.wait(60) == -signal.SIGKILL
    host.until(lambda: not host.client.list_slices())
    (gpu,) = host.client.list_gpus()
    assert (gpu.used_bytes, gpu.reserved_bytes) == (0, 0)


def test_a_killed_worker_is_an_error_in_its_program_and_an_event(host: Any) -> None:
    guest = host.guest()
    guest.ask("start")
    guest.ask(f"allocate {32 * MIB}")
    with host.client.watch_events() as events:
        os.kill(host.workers()[0], signal.SIGKILL)
        ended = next(event for event in events if event.kind is EventKind.SESSION_ENDED)
    assert "killed by signal 9" in ended.detail
    assert guest.ask("sync").startswith("error")
    (listed,) = host.client.list_slices()
    assert (listed.used_bytes, listed.sessions) == (0, 0)


def test_a_closed_slice_is_an_error_in_its_program(host: Any) -> None:
    guest = host.guest()
    guest.ask("start")
    (worker,) = host.workers()
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(60) == 0
    assert host.gone(worker)
    assert guest.ask("sync").startswith("error")


def test_a_killed_daemon_leaves_no_worker_and_its_successor_serves(host: Any) -> None:
    guest = host.guest()
    guest.ask("start")
    (worker,) = host.workers()
    host.process.kill()
    host.process.wait()
    assert host.gone(worker)
    assert guest.ask("sync").startswith("error")
    host.client.close()
    host.start()
    again = host.guest()
    again.ask("start")
    assert again.ask("scale 100 4") == "ok correct"


def test_without_a_daemon_one_is_started_and_serves(no_host: Any, tmp_path: Path) -> None:
    guest = no_host.guest(embedded=True)
    assert guest.ask("start") == "ok 1"
    assert guest.ask("scale 100 6") == "ok correct"
    assert guest.end() == 0
    with connect() as client:
        assert client.list_slices() == []
    pid = int((tmp_path / "run" / "tfusion" / LOCK_FILE).read_text())
    os.kill(pid, signal.SIGTERM)
    assert no_host.gone(pid)
