"""What a learner's browser gets and does: the state, live changes, notices, and actions on its own kernels."""

from __future__ import annotations

import os
import signal
import uuid
from typing import Any

import pytest

from gpu_server.client import ControlClient, read_admin_token
from jupyter_tfusion.kernelspec import install_kernelspec

MIB = 1 << 20


def test_before_the_first_kernel_nothing_is_started_and_that_is_said(own_server: Any) -> None:
    server = own_server()
    status, state = server.api("GET", "state")
    assert status == 200
    assert state.pop("serial") >= 0
    assert state == {
        "server": {
            "connected": False,
            "sentence": "No GPU server is running yet. It starts by itself with the first vGPU kernel.",
        },
        "may_see_host": False,
        "gpus": [],
        "slices": [],
    }
    assert not server.socket.exists()


def test_a_kernel_shows_with_its_slice_and_goes_with_it(server: Any) -> None:
    events = server.events()
    kernel = server.kernel()
    told = events.slice_is(kernel.kernel_id, lambda s: s["name"])
    assert told["vram_bytes"] == 48 * MIB
    assert told["phase"] == "idle"
    assert told["ends_in_s"] == -1
    state = server.api("GET", "state")[1]
    assert state["server"] == {"connected": True, "sentence": ""}
    (gpu,) = state["gpus"]
    assert (gpu["software"], gpu["memory_bytes"], gpu["reserved_bytes"]) == (True, 64 * MIB, 48 * MIB)
    assert [s["slice_id"] for s in state["slices"]] == [told["slice_id"]]
    server.end_kernels()
    assert server.api("GET", "state")[1]["slices"] == []


def test_events_follow_what_the_kernel_does(server: Any) -> None:
    kernel = server.kernel()
    events = server.events()
    kernel.ask("start")
    assert kernel.ask("fill 24 1") == "ok filled"
    events.slice_is(kernel.kernel_id, lambda s: s["used_bytes"] >= 24 * MIB and s["sessions"] == 1)
    kernel.ask("spin")
    events.slice_is(kernel.kernel_id, lambda s: s["phase"] == "running" and s["idle_s"] == 0)
    server.request("DELETE", f"api/kernels/{kernel.kernel_id}")
    events.until(lambda e: e.get("gone"))


def test_events_are_counted_so_that_a_missed_one_is_noticed(server: Any) -> None:
    events = server.events()
    kernel = server.kernel()
    kernel.ask("start")
    kernel.ask("fill 8 1")
    events.slice_is(kernel.kernel_id, lambda s: s["used_bytes"] >= 8 * MIB)
    serials = [event["serial"] for event in events.all if "serial" in event]
    assert serials == list(range(serials[0], serials[0] + len(serials)))
    assert server.api("GET", "state")[1]["serial"] >= serials[-1]


def test_memory_is_freed_and_fetched_and_the_browser_sees_it(server: Any) -> None:
    kernel = server.kernel()
    events = server.events()
    kernel.ask("start")
    kernel.ask("fill 24 1")
    assert kernel.act("swap-out") == (204, None)
    told = events.slice_is(kernel.kernel_id, lambda s: s["phase"] == "swapped out")
    assert told["resident_bytes"] == 0
    assert told["swapped_bytes"] >= 24 * MIB
    assert kernel.act("resume") == (204, None)
    events.slice_is(kernel.kernel_id, lambda s: s["phase"] == "idle" and s["swapped_bytes"] == 0)
    assert kernel.ask("unchanged") == "ok unchanged"
    status, story = server.api("GET", f"kernels/{kernel.kernel_id}/story")
    assert status == 200
    sentences = [entry["sentence"] for entry in story["entries"]]
    assert any("was asked to leave the GPU" in sentence for sentence in sentences)
    assert any("is back on the GPU, as it was asked to" in sentence for sentence in sentences)


def test_who_waits_sees_why_and_in_which_place(server: Any) -> None:
    one, two = server.kernel(), server.kernel()
    events = server.events()
    for kernel in (one, two):
        kernel.ask("start")
    one.ask("fill 40 1")
    one.ask("spin")
    two.say("fill 40 2")
    told = events.slice_is(two.kernel_id, lambda s: s["phase"] == "waiting" and s["why"])
    assert told["place"] == 1
    assert told["why"].startswith("It waits to have ")
    assert one.act("reset") == (204, None)
    assert two.answer() == "ok filled"


def test_a_reset_reads_as_a_sentence_everywhere_and_a_restart_makes_it_good(server: Any) -> None:
    kernel = server.kernel()
    kernel.ask("start")
    events = server.events()
    assert kernel.act("reset") == (204, None)
    sentence = "The slice was reset by its owner; restart the kernel to use the GPU again."
    notice = events.notice(kernel.kernel_id)
    assert (notice["kind"], notice["sentence"]) == ("ended", sentence)
    assert "Restart the kernel" in notice["what_to_do"]
    ended = server.until(lambda: (s := kernel.slice())["phase"] == "ended" and s)
    assert ended["why"] == sentence
    assert kernel.ask("sync").startswith("error")
    assert sentence in kernel.ask("why")
    kernel.restart()
    server.until(lambda: kernel.slice()["phase"] == "idle")
    assert kernel.slice()["slice_id"] == ended["slice_id"]
    assert kernel.slice()["why"] == ""
    kernel.ask("start")
    assert kernel.ask("fill 24 1") == "ok filled"


def test_a_killed_worker_reads_as_a_sentence(server: Any) -> None:
    kernel = server.kernel()
    kernel.ask("start")
    events = server.events()
    with server.daemon() as daemon:
        (session,) = daemon.list_sessions()
    os.kill(session.worker_pid, signal.SIGKILL)
    notice = events.notice(kernel.kernel_id)
    assert notice["kind"] == "ended"
    assert "worker" in notice["sentence"]
    ended = server.until(lambda: (s := kernel.slice())["phase"] == "ended" and s)
    assert ended["why"] == notice["sentence"]


def test_a_slice_closed_by_an_administrator_stays_in_view_while_its_kernel_lives(server: Any) -> None:
    kernel = server.kernel()
    kernel.ask("start")
    server.until(lambda: kernel.slice()["name"])
    events = server.events()
    slice_id = kernel.slice()["slice_id"]
    with server.daemon() as daemon:
        daemon.close_slice(slice_id, read_admin_token(server.socket))
    notice = events.notice(kernel.kernel_id)
    assert (notice["kind"], notice["slice_id"]) == ("lost", slice_id)
    assert notice["sentence"] == "The slice was closed by an administrator of the GPU server."
    ended = server.until(lambda: (s := kernel.slice())["phase"] == "ended" and s)
    assert ended["why"] == notice["sentence"]
    assert ended["used_bytes"] == 0
    status, refusal = kernel.act("swap-out")
    assert (status, "no longer open" in refusal["message"]) == (409, True)
    kernel.restart()
    server.until(lambda: kernel.slice()["phase"] == "idle")
    assert kernel.slice()["slice_id"] != slice_id


def test_a_gpu_server_of_one_kernels_own_is_shown_while_that_kernel_lives(
    server: Any, software_daemon: ControlClient
) -> None:
    def gpu_sizes() -> set[int]:
        return {gpu["memory_bytes"] for gpu in server.api("GET", "state")[1]["gpus"]}

    prefix, socket = str(server.folder / "prefix"), str(software_daemon.socket)
    install_kernelspec(prefix=prefix, server=socket, vram="32MiB", name="elsewhere")
    server.kernel()
    server.until(lambda: gpu_sizes() == {64 * MIB})
    kernel = server.kernel("elsewhere")
    server.until(lambda: gpu_sizes() == {64 * MIB, 768 * MIB})
    server.until(lambda: kernel.slice()["name"])
    assert kernel.act("reset") == (204, None)
    server.request("DELETE", f"api/kernels/{kernel.kernel_id}")
    server.until(lambda: gpu_sizes() == {64 * MIB})
    assert server.api("GET", "state")[1]["server"]["connected"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_gpu_server_that_ends_is_said_and_followed_again_when_it_is_back(
    own_server: Any, how: signal.Signals
) -> None:
    server = own_server()
    kernel = server.kernel()
    kernel.ask("start")
    events = server.events()
    server.stop_daemon(how)
    notice = events.notice(kernel.kernel_id)
    assert (notice["kind"], "has stopped" in notice["sentence"]) == ("lost", True)
    down = server.until(lambda: not (state := server.api("GET", "state")[1])["server"]["connected"] and state)
    assert down["server"]["sentence"]
    assert [s["phase"] for s in down["slices"]] == ["ended"]
    assert kernel.act("reset")[0] == 409
    kernel.restart()  # which starts a GPU server
    events.until(lambda e: e.get("server", {}).get("connected"))
    server.until(lambda: [s["phase"] for s in server.api("GET", "state")[1]["slices"]] == ["idle"])
    assert kernel.ask("start") == "ok 1"


def test_nothing_is_emitted_while_nothing_changes(server: Any) -> None:
    kernel = server.kernel()
    kernel.ask("start")
    kernel.ask("fill 8 1")
    events = server.events()

    def emitted() -> float:
        text = server.jupyter.text("metrics")
        lines = [line for line in text.splitlines() if line.startswith("jupyter_tfusion_events_total")]
        return sum(float(line.split()[-1]) for line in lines)

    def silent() -> bool:
        """For as long as it takes the daemon to look at everything six times."""
        before = emitted()
        for _ in range(6):
            with server.daemon() as daemon, daemon.watch_state() as changes:
                next(iter(changes))
        return emitted() == before

    server.until(silent)  # what was still to be told of the filling has been told
    kernel.ask("fill 8 2")
    events.slice_is(kernel.kernel_id, lambda s: s["used_bytes"] >= 16 * MIB)


def test_only_kernels_of_this_server_can_be_acted_upon(server: Any) -> None:
    status, plain = server.request("POST", "api/kernels", body={"name": "python3"})
    assert status == 201
    for kernel_id, words in (
        (plain["id"], "has no GPU slice"),
        (str(uuid.uuid4()), "no kernel of that id"),
    ):
        for action in ("swap-out", "resume", "reset"):
            status, refusal = server.api("POST", f"kernels/{kernel_id}/{action}")
            assert status == 404
            assert words in refusal["message"]
        assert server.api("GET", f"kernels/{kernel_id}/story")[0] == 404
    assert server.api("GET", "state")[1]["slices"] == []


def test_where_memory_cannot_be_freed_the_sentence_is_the_answer(own_server: Any) -> None:
    server = own_server()
    settings = server.folder / "config" / "tfusion" / "tfusion_server_config.py"
    settings.write_text(settings.read_text().replace("oversubscription = 4.0", "oversubscription = 1.0"))
    kernel = server.kernel()
    kernel.ask("start")
    status, refusal = kernel.act("swap-out")
    assert status == 409
    assert refusal["message"].startswith("GPU memory is not freed this way here")


def test_the_metrics_of_the_server_have_those_of_the_slices(server: Any) -> None:
    kernel = server.kernel()
    kernel.ask("start")
    kernel.ask("fill 24 1")
    server.until(lambda: kernel.slice()["used_bytes"] >= 24 * MIB)
    text = server.jupyter.text("metrics")
    assert "jupyter_tfusion_server_connected 1.0" in text
    line = f'jupyter_tfusion_slice_memory_bytes{{kernel="{kernel.kernel_id}",kind="used"}} '
    (used,) = (row.removeprefix(line) for row in text.splitlines() if row.startswith(line))
    assert float(used) >= 24 * MIB
