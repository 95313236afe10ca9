"""What an owner or an administrator does with an open slice: swap out, resume, reset; who may; and the state watch."""

from __future__ import annotations

import os
import queue
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_server.client import (
    Ending,
    EndingKind,
    NotNow,
    Slice,
    SliceNotFound,
    StateChange,
    WrongToken,
    connect,
    read_admin_token,
)

MIB = 1 << 20
PATIENCE_S = 60.0


@pytest.fixture
def small(configured: Any) -> Any:
    return configured("64MiB", oversubscription=8.0, swap_memory="512MiB", cooling_s=0.0)


class Watch:
    """A state watch, read on a thread: what is known now, and every message."""

    def __init__(self, host: Any) -> None:
        self.messages: queue.Queue[StateChange] = queue.Queue()
        self.all: list[StateChange] = []
        self.slices: dict[str, Slice] = {}
        self.endings: list[Ending] = []
        self.stream = host.client.watch_state()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        self.until(lambda: self.all)

    def _read(self) -> None:
        for change in self.stream:
            self.messages.put(change)

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            change = self.messages.get(timeout=60)
            self.all.append(change)
            if change.full:
                self.slices.clear()
            self.slices.update({s.slice_id: s for s in change.slices})
            for slice_id in change.gone:
                del self.slices[slice_id]
            self.endings += change.endings

    def close(self) -> None:
        self.stream.close()
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def watch() -> Iterator[Callable[[Any], Watch]]:
    watches: list[Watch] = []

    def start(host: Any) -> Watch:
        watches.append(Watch(host))
        return watches[-1]

    yield start
    for one in watches:
        one.close()


def of(host: Any) -> Slice:
    (only,) = host.client.list_slices()
    return only


def admin(host: Any) -> str:
    return read_admin_token(host.socket)


def test_memory_is_freed_on_request_and_comes_back_with_the_next_call(small: Any) -> None:
    guest = small.guest("48MiB")
    guest.ask("start")
    assert guest.ask("fill 40 1") == "ok filled"
    slice_id = of(small).slice_id
    small.client.swap_out_slice(slice_id, admin(small))
    small.until(lambda: of(small).phase == "swapped out")
    assert of(small).resident_bytes == 0
    assert of(small).swapped_bytes >= 40 * MIB
    story = [entry.sentence for entry in small.client.story(slice_id)]
    assert any("was asked to leave the GPU" in sentence for sentence in story)
    assert any("has left the GPU, as it was asked to" in sentence for sentence in story)
    assert guest.ask("unchanged") == "ok unchanged"
    assert of(small).swapped_bytes == 0


def test_memory_comes_back_ahead_of_need(small: Any) -> None:
    guest = small.guest("48MiB")
    guest.ask("start")
    guest.ask("fill 40 1")
    slice_id = of(small).slice_id
    small.client.swap_out_slice(slice_id, admin(small))
    small.until(lambda: of(small).phase == "swapped out")
    small.client.resume_slice(slice_id, admin(small))
    small.until(lambda: of(small).swapped_bytes == 0 and of(small).phase == "idle")
    assert of(small).resident_bytes >= 40 * MIB
    assert guest.ask("unchanged") == "ok unchanged"


def test_swapping_out_waits_for_the_end_of_the_work_that_goes_on(small: Any) -> None:
    guest = small.guest("48MiB")
    guest.ask("start")
    guest.ask("fill 8 1")
    guest.ask("spin")
    small.until(lambda: of(small).phase == "running")
    small.client.swap_out_slice(of(small).slice_id, admin(small))
    story = [entry.sentence for entry in small.client.story(of(small).slice_id)]
    assert any("when its work there is over" in sentence for sentence in story)
    assert of(small).swapped_bytes == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "promises no more memory than the GPU has"),
        ({"oversubscription": 4.0, "swap_memory": "4MiB"}, "has room for"),
    ],
)
def test_where_memory_cannot_be_freed_that_is_said_and_nothing_is_lost(
    configured: Any, settings: dict[str, object], words: str
) -> None:
    host = configured("64MiB", **settings)
    guest = host.guest("48MiB")
    guest.ask("start")
    guest.ask("fill 32 1")
    with pytest.raises(NotNow, match=words):
        host.client.swap_out_slice(of(host).slice_id, admin(host))
    host.client.resume_slice(of(host).slice_id, admin(host))
    assert guest.ask("unchanged") == "ok unchanged"


def test_a_reset_ends_the_sessions_with_a_sentence_and_the_slice_goes_on(small: Any, watch: Any) -> None:
    guest = small.guest("48MiB")
    guest.ask("start")
    guest.ask("fill 8 1")
    seen = watch(small)
    before = of(small)
    small.client.reset_slice(before.slice_id, admin(small))
    assert small.client.list_sessions() == []
    after = of(small)
    assert (after.slice_id, after.phase) == (before.slice_id, "ended")
    sentence = (
        "The slice was reset by an administrator of the GPU server; restart the kernel to use the GPU again."
    )
    assert after.why == sentence
    assert guest.ask("sync").startswith("error")
    assert sentence in guest.ask("why")
    seen.until(lambda: seen.endings)
    assert seen.endings == [Ending(EndingKind.SESSION, before.slice_id, "", sentence)]


def test_after_a_reset_the_slice_serves_new_processes(small: Any) -> None:
    opened = small.client.open_slice("mine", vram_bytes=48 * MIB)
    first = small.guest_of(opened)
    first.ask("start")
    first.ask("fill 40 1")
    small.client.reset_slice(opened.slice_id, opened.token)
    assert "was reset by its owner" in of(small).why
    second = small.guest_of(opened)
    assert second.ask("start") == "ok 1"
    assert second.ask("fill 40 2") == "ok filled"
    assert second.ask("unchanged") == "ok unchanged"
    small.until(lambda: (of(small).phase, of(small).why) == ("idle", ""))


def test_a_reset_ends_an_endless_kernel(small: Any) -> None:
    guest = small.guest("48MiB")
    guest.ask("start")
    guest.ask("spin")
    small.client.reset_slice(of(small).slice_id, admin(small))
    assert small.client.list_sessions() == []
    assert of(small).why.startswith("The slice was reset by")


def test_a_slices_token_fits_no_other_slice_and_the_admin_token_fits_all(small: Any) -> None:
    one, other = (small.client.open_slice(name, vram_bytes=16 * MIB) for name in ("one", "other"))
    actions = ("swap_out_slice", "resume_slice", "reset_slice", "renew_slice", "close_slice")
    for action in actions:
        for token in (other.token, "", "0" * 64, "x"):
            with pytest.raises(WrongToken):
                getattr(small.client, action)(one.slice_id, token)
        with pytest.raises(SliceNotFound):
            getattr(small.client, action)("nobody", admin(small))
    for action in actions:
        getattr(small.client, action)(one.slice_id, admin(small))
    assert [s.slice_id for s in small.client.list_slices()] == [other.slice_id]


def test_the_admin_token_opens_no_session(small: Any) -> None:
    opened = small.client.open_slice("mine", vram_bytes=48 * MIB)
    guest = small.guest_of(opened, token=admin(small))
    assert guest.ask("start").startswith("error")
    assert small.client.list_sessions() == []


def test_the_admin_token_is_private_new_with_each_start_and_gone_at_the_end(small: Any) -> None:
    path = small.socket.with_name("admin.token")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = admin(small)
    small.process.kill()
    small.process.wait()
    assert path.read_text() == first  # a killed daemon leaves it
    small.client.close()
    small.start()
    assert admin(small) != first
    small.process.terminate()
    small.process.wait(60)
    assert not path.exists()


def test_the_watch_tells_of_everything_that_people_see(small: Any, watch: Any) -> None:
    seen = watch(small)
    assert seen.all[0].full
    assert [gpu.reserved_bytes for gpu in seen.all[0].gpus] == [0]
    guest = small.guest("48MiB")
    guest.ask("start")
    seen.until(lambda: [s.sessions for s in seen.slices.values()] == [1])
    (slice_id,) = seen.slices
    guest.ask("fill 40 1")
    seen.until(lambda: seen.slices[slice_id].used_bytes >= 40 * MIB)
    guest.ask("spin")
    seen.until(lambda: seen.slices[slice_id].phase == "running")
    guest.end()
    seen.until(lambda: not seen.slices)
    assert seen.endings == []  # nothing ended that should not


def test_the_watch_says_nothing_while_nothing_changes(small: Any, watch: Any) -> None:
    guest = small.guest("48MiB")
    guest.ask("start")
    guest.ask("fill 8 1")
    seen = watch(small)
    seen.until(lambda: [s.phase for s in seen.slices.values()] == ["idle"])
    # Another watch shows that time has passed: its first message comes when the daemon has looked again.
    for _ in range(4):
        watch(small)
    small.until(seen.messages.empty)
    count = len(seen.all)
    guest.ask("fill 8 2")
    seen.until(lambda: len(seen.all) > count)
    assert next(iter(seen.slices.values())).used_bytes >= 16 * MIB


def test_the_watch_says_why_one_waits(small: Any, watch: Any) -> None:
    one, two = small.guest("48MiB"), small.guest("48MiB")
    for guest in (one, two):
        guest.ask("start")
    seen = watch(small)
    one.ask("fill 40 1")
    one.ask("spin")
    two.say("fill 40 2")
    seen.until(lambda: any(s.phase == "waiting" and s.why for s in seen.slices.values()))
    (waiting,) = (s for s in seen.slices.values() if s.phase == "waiting")
    assert waiting.place == 1
    assert waiting.why.startswith("It waits to have ")
    assert seen.all[-1].gpus or any(change.gpus[0].waiting for change in seen.all if change.gpus)


def test_a_killed_worker_and_an_expired_slice_are_endings_with_a_sentence(
    configured: Any, watch: Any
) -> None:
    host = configured("64MiB", slice_ttl_s=2.0)
    seen = watch(host)
    guest = host.guest("48MiB")
    guest.ask("start")
    os.kill(host.workers()[0], signal.SIGKILL)
    seen.until(lambda: seen.endings)
    assert seen.endings[0].kind is EndingKind.SESSION
    assert "killed" in seen.endings[0].sentence.lower() or "signal" in seen.endings[0].sentence
    host.client.open_slice("nobody renews it", vram_bytes=MIB, kernel_id="k1")
    seen.until(lambda: len(seen.endings) == 2)
    assert (seen.endings[1].kind, seen.endings[1].kernel_id) == (EndingKind.SLICE, "k1")
    assert "was not renewed" in seen.endings[1].sentence


def test_a_watch_keeps_no_embedded_daemon_alive(tmp_path: Path) -> None:
    settings = tmp_path / "config" / "tfusion" / "tfusion_server_config.py"
    settings.parent.mkdir(parents=True)
    settings.write_text("c.TFusionServer.device = 'software'\nc.TFusionServer.embedded_idle_s = 0.5\n")
    with connect() as client:
        messages = list(client.watch_state())  # ends when the daemon does
    assert messages[0].full
    deadline = time.monotonic() + PATIENCE_S
    while client.socket.exists():  # it goes a moment after the last message
        assert time.monotonic() < deadline
        time.sleep(0.01)
