"""The teacher's view: all slices of the host, for whom both the setting and the authorizer allow it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from gpu_server.client import ControlClient

MIB = 1 << 20
HOST_PATHS = [
    ("GET", "host"),
    ("GET", "host/timeline"),
    *(("POST", f"host/slices/0123456789abcdef/{action}") for action in ("swap-out", "resume", "reset")),
]


@pytest.fixture
def stranger(server: Any) -> Iterator[tuple[ControlClient, Any]]:
    """A slice that no kernel of this server has."""
    server.kernel()  # starts the daemon
    with server.daemon() as client:
        opened = client.open_slice("somebody's", vram_bytes=16 * MIB, owner="somebody")
        server.until(lambda: len(server.api("GET", "host")[1]["slices"]) == 2)
        yield client, opened
        if any(s.slice_id == opened.slice_id for s in client.list_slices()):
            client.close_slice(opened.slice_id, opened.token)


def test_the_teacher_sees_all_slices_and_the_learner_only_those_of_the_server(
    server: Any, stranger: Any
) -> None:
    _, opened = stranger
    host = server.api("GET", "host")[1]
    assert {s["owner"] for s in host["slices"] if s["slice_id"] == opened.slice_id} == {"somebody"}
    assert [gpu["reserved_bytes"] for gpu in host["gpus"]] == [64 * MIB]
    own = server.api("GET", "state")[1]
    assert own["may_see_host"] is True
    assert opened.slice_id not in {s["slice_id"] for s in own["slices"]}


def test_a_change_of_somebodys_slice_is_told_without_saying_whose(server: Any, stranger: Any) -> None:
    client, opened = stranger
    events = server.events()
    client.close_slice(opened.slice_id, opened.token)
    event = events.until(lambda e: e.get("host_changed"))
    assert opened.slice_id not in str(event)


@pytest.mark.parametrize("action", ["swap-out", "resume", "reset"])
def test_the_teacher_acts_on_anybodys_slice(server: Any, stranger: Any, action: str) -> None:
    _, opened = stranger
    assert server.api("POST", f"host/slices/{opened.slice_id}/{action}") == (204, None)


def test_a_reset_by_the_teacher_says_so_to_the_learner(server: Any) -> None:
    kernel = server.kernel()
    kernel.ask("start")
    server.until(lambda: kernel.slice()["sessions"] == 1)
    slice_id = kernel.slice()["slice_id"]
    assert server.api("POST", f"host/slices/{slice_id}/reset")[0] == 204
    server.until(lambda: kernel.slice()["phase"] == "ended")
    assert "reset by an administrator" in kernel.slice()["why"]


def test_a_slice_that_is_not_there_is_not_found(server: Any) -> None:
    status, refusal = server.api("POST", "host/slices/0123456789abcdef/reset")
    assert (status, refusal["message"]) == (404, "There is no open slice of that id. It may have ended.")


def test_the_timeline_has_samples_of_who_used_the_gpu(server: Any) -> None:
    kernel = server.kernel()
    kernel.ask("start")
    kernel.ask("fill 24 1")

    def samples() -> Any:
        timeline = server.api("GET", "host/timeline")[1]
        found = [s for s in timeline["slices"] if s["slice_id"] == kernel.slice()["slice_id"]]
        return (
            found
            and found[0]["samples"]
            and found[0]["samples"][-1]["resident_bytes"] >= 24 * MIB
            and timeline
        )

    timeline = server.until(samples)
    times = [sample["at_s"] for s in timeline["slices"] for sample in s["samples"]]
    assert times == sorted(times)
    assert times[-1] <= timeline["now_s"]


def test_without_the_setting_the_host_is_not_seen(own_server: Any) -> None:
    server = own_server()
    for method, path in HOST_PATHS:
        status, refusal = server.api(method, path)
        assert status == 403, path
        assert "You may not see or change the slices of others" in refusal["message"]


def test_without_the_setting_nobody_learns_of_changes_of_others(own_server: Any) -> None:
    server = own_server()
    kernel = server.kernel()
    server.until(lambda: kernel.slice()["name"])
    assert server.api("GET", "state")[1]["may_see_host"] is False
    events = server.events()
    with server.daemon() as client:
        client.open_slice("somebody's", vram_bytes=16 * MIB)
    event = events.until(lambda e: e.get("gpus") and e["gpus"][0]["reserved_bytes"] == 64 * MIB)
    assert event["host_changed"] is False
    assert event["slices"] == []


def test_an_admin_token_out_of_reach_is_a_sentence(server: Any, stranger: Any) -> None:
    _, opened = stranger
    path = server.socket.with_name("admin.token")
    os.rename(path, path.with_suffix(".away"))
    try:
        status, refusal = server.api("POST", f"host/slices/{opened.slice_id}/reset")
    finally:
        os.rename(path.with_suffix(".away"), path)
    assert status == 409
    assert "admin token of the GPU server cannot be read" in refusal["message"]
