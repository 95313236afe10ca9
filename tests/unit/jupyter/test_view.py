"""What the browser is told, from what GPU servers and provisioners say; in made-up time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_server.client import Gpu, Slice, StateChange
from jupyter_tfusion.daemon_link import STOPPED
from jupyter_tfusion.leases import Record
from jupyter_tfusion.view import UNKNOWN_SLICE, Difference, View

SOCKET, OTHER = Path("/run/one.sock"), Path("/run/other.sock")
GPU = Gpu("GPU-1", "a GPU", False, 1 << 30, 0, 0, 40, "13.0", 0)
SLICE = Slice(
    slice_id="s1",
    name="lab.ipynb",
    owner="ada",
    kernel_id="claimed",
    gpu_uuid="GPU-1",
    vram_bytes=1 << 20,
    used_bytes=5,
    share=1.0,
    age_s=10.0,
    expires_in_s=60.0,
    sessions=1,
    ceiling=0.0,
    resident_bytes=5,
    swapped_bytes=0,
    phase="idle",
    place=0,
    why="",
    gpu_s=1.0,
    waited_s=0.0,
    idle_s=3.0,
    ends_in_s=-1.0,
    ended_s=0.0,
)


def record(slice_id: str = "s1", kernel_id: str = "k1", socket: Path = SOCKET, **more: Any) -> Record:
    opened = SimpleNamespace(
        slice_id=slice_id, gpu=GPU, vram_bytes=1 << 20, time_to_live_s=60.0, token="secret"
    )
    lease: Any = SimpleNamespace(client=SimpleNamespace(socket=socket), opened=opened)
    return Record(kernel_id, lease, more.pop("launched_at", 0.0), **more)


class Bench:
    def __init__(self) -> None:
        self.now = 1000.0
        self.records: list[Record] = []
        self.view = View(SOCKET, lambda: self.records, lambda: self.now)
        self.difference = Difference()

    def told(self, *slices: Slice, full: bool = False, gone: tuple[str, ...] = (), gpus: Any = ()) -> None:
        self.view.take(SOCKET, StateChange(full, list(gpus), list(slices), list(gone), []))

    def changed(self, host: bool = False) -> Any:
        return self.difference.of(self.view, host, self.now)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_only_slices_of_our_kernels_are_shown_under_the_ids_that_we_know(bench: Bench) -> None:
    bench.records = [record()]
    bench.told(SLICE, replace(SLICE, slice_id="s2", kernel_id="k1"), full=True, gpus=[GPU])
    (shown,) = bench.view.own_slices()
    assert (shown["slice_id"], shown["kernel_id"]) == ("s1", "k1")
    assert {s["slice_id"] for s in bench.view.all_slices()} == {"s1", "s2"}


def test_nothing_secret_is_shown(bench: Bench) -> None:
    bench.records = [record()]
    bench.told(SLICE, full=True, gpus=[GPU])
    assert "secret" not in str(bench.changed())


def test_time_goes_on_between_two_messages(bench: Bench) -> None:
    bench.records = [record()]
    bench.told(replace(SLICE, ends_in_s=100.0), full=True)
    bench.now += 30
    (shown,) = bench.view.own_slices()
    assert (shown["age_s"], shown["idle_s"], shown["ends_in_s"]) == (40.0, 33.0, 70.0)
    bench.told(replace(SLICE, phase="running", idle_s=0.0))
    bench.now += 30
    assert bench.view.own_slices()[0]["idle_s"] == 0.0


def test_what_time_alone_changes_is_no_change(bench: Bench) -> None:
    bench.records = [record()]
    bench.told(replace(SLICE, ends_in_s=100.0), full=True, gpus=[GPU])
    assert [s["slice_id"] for s in bench.changed()["slices"]] == ["s1"]
    for _ in range(10):
        bench.now += 7
        assert bench.changed() is None


def test_a_change_tells_of_what_changed_only(bench: Bench) -> None:
    bench.records = [record(), record("s2", "k2")]
    bench.told(SLICE, replace(SLICE, slice_id="s2"), full=True, gpus=[GPU])
    bench.changed()
    bench.told(replace(SLICE, used_bytes=6))
    event = bench.changed()
    assert ([s["slice_id"] for s in event["slices"]], event["gone"]) == (["s1"], [])
    bench.records.pop()
    assert bench.changed()["gone"] == ["s2"]
    assert bench.changed() is None
    assert bench.changed(host=True)["host_changed"] is True


def test_a_gpu_that_is_a_little_busier_is_no_change(bench: Bench) -> None:
    bench.told(full=True, gpus=[GPU])
    bench.changed()
    bench.told(gpus=[replace(GPU, utilization_percent=41)])
    assert bench.changed() is None
    bench.told(gpus=[replace(GPU, utilization_percent=60)])
    assert bench.changed()["gpus"][0]["utilization_percent"] == 60


def test_a_slice_that_nobody_has_told_of_yet_is_idle_not_ended(bench: Bench) -> None:
    bench.records = [record(launched_at=999.0)]
    (shown,) = bench.view.own_slices()
    assert (shown["phase"], shown["vram_bytes"], shown["age_s"]) == ("idle", 1 << 20, 1.0)
    bench.told(full=True)
    assert bench.view.own_slices()[0]["phase"] == "idle"


def test_a_slice_that_is_gone_while_its_kernel_lives_is_ended_with_a_reason(bench: Bench) -> None:
    bench.records = [record()]
    bench.told(SLICE, full=True)
    bench.view.own_slices()
    bench.told(gone=("s1",))
    (shown,) = bench.view.own_slices()
    assert (shown["phase"], shown["why"], shown["name"]) == ("ended", UNKNOWN_SLICE, "lab.ipynb")
    assert (shown["used_bytes"], shown["sessions"]) == (0, 0)
    bench.records = [replace(bench.records[0], ended="It died.")]
    assert bench.view.own_slices()[0]["why"] == "It died."


def test_what_the_gpu_server_says_of_an_end_counts_more_than_what_the_heartbeat_finds(bench: Bench) -> None:
    bench.records = [record(ended="This slice is no longer open.")]
    bench.told(SLICE, full=True)
    bench.told(gone=("s1",))
    bench.view.note_end("s1", "It has expired.")
    assert bench.view.own_slices()[0]["why"] == "It has expired."
    bench.records = [record("s2")]
    bench.told(replace(SLICE, slice_id="s2"))
    assert [s["phase"] for s in bench.view.own_slices()] == ["idle"]


def test_a_slice_that_ends_before_anybody_has_looked_is_ended_all_the_same(bench: Bench) -> None:
    bench.records = [record()]
    bench.told(SLICE, full=True)
    bench.told(gone=("s1",))
    assert bench.view.own_slices()[0]["phase"] == "ended"


def test_a_gpu_server_that_stops_ends_the_slices_and_may_come_back_with_them(bench: Bench) -> None:
    bench.records = [record()]
    bench.told(SLICE, full=True, gpus=[GPU])
    bench.view.own_slices()
    bench.view.lose(SOCKET, STOPPED)
    assert bench.view.server() == {"connected": False, "sentence": STOPPED}
    assert bench.view.gpus() == []
    (shown,) = bench.view.own_slices()
    assert (shown["phase"], shown["why"]) == ("ended", f"{STOPPED} Restart the kernel to use the GPU again.")
    bench.view.lose(SOCKET, "No GPU server is running yet.")
    assert bench.view.own_slices()[0]["why"] == shown["why"]
    bench.told(SLICE, full=True, gpus=[GPU])
    assert bench.view.own_slices()[0]["phase"] == "idle"


def test_an_end_before_the_restart_is_over_with_it(bench: Bench) -> None:
    bench.records = [record(launched_at=990.0)]
    bench.told(replace(SLICE, phase="ended", why="It was reset.", ended_s=5.0), full=True)
    assert bench.view.own_slices()[0]["phase"] == "ended"
    bench.records = [record(launched_at=999.0)]
    (shown,) = bench.view.own_slices()
    assert (shown["phase"], shown["why"]) == ("idle", "")


def test_the_gpu_server_of_the_kernels_is_the_one_that_must_answer(bench: Bench) -> None:
    assert bench.view.server()["connected"] is False
    bench.view.lose(SOCKET, "There is none.")
    assert bench.view.server() == {"connected": False, "sentence": "There is none."}
    bench.records = [record(socket=OTHER)]
    bench.view.take(OTHER, StateChange(True, [GPU], [SLICE], [], []))
    assert bench.view.server() == {"connected": True, "sentence": ""}
    assert bench.view.socket_of("s1") == OTHER
    assert bench.view.socket_of("s2") is None


def test_the_hosts_slices_are_sorted_by_use(bench: Bench) -> None:
    bench.told(
        SLICE,
        replace(SLICE, slice_id="s2", resident_bytes=9),
        replace(SLICE, slice_id="s3", gpu_s=2.0),
        full=True,
    )
    assert [s["slice_id"] for s in bench.view.all_slices()] == ["s2", "s3", "s1"]
