"""What an observer is told: the layout is the header's, and only the slice of its token is in it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_server.account import SLOTS
from gpu_server.client import OpenedSlice
from gpu_server.events import EventKind
from gpu_server.handshake import MARK_MAGIC, OBSERVER_MAGIC, WELCOME, Hello, Welcome, WelcomeStatus
from gpu_server.observation import (
    FACTS,
    HEAD,
    MARKS,
    MAX_ROWS,
    PHASES,
    ROW,
    SIZE_BYTES,
    Observation,
    ObservedSession,
)
from gpu_server.scheduler import Phase
from gpu_server.utilization import PERIOD_S, Utilization

ROOT = Path(__file__).resolve().parents[3]
StartDaemon = Callable[..., Awaitable[Any]]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_layout_is_the_headers(tmp_path: Path) -> None:
    observation = Observation(
        "Software GPU",
        "580.159.03",
        4 << 30,
        7,
        {
            "driver_version": 13020,
            "compute_capability": (9, 0),
            "pci_bus_id": "0001:1B:02.0",
            "pci_device_id": 0x233510DE,
            "pci_subsystem_id": 0x18BE10DE,
        },
        [
            ObservedSession(11, 50, 3, 99, "one", 2, 1, 13, 14, "swapped out", 0, False),
            ObservedSession(12, 100, 4, 98, "two", 4, 0, 15, 16, "waiting", 3, True),
        ],
        "lab.ipynb",
        21,
        22,
        23,
        24,
        25,
        9,
        [31, 32, 33],
    )
    (tmp_path / "packed").write_bytes(observation.pack())
    (tmp_path / "read.cpp").write_text(r"""
#include <cstdio>
#include <cstring>
#include "protocol/observation.hpp"
using namespace tfusion::protocol;
int main(int, char** argv) {
  Observation o;
  std::FILE* file = std::fopen(argv[1], "rb");
  if (file == nullptr || std::fread(&o, sizeof o, 1, file) != 1 || std::fgetc(file) != EOF) return 1;
  const SliceFacts& f = o.facts;
  std::printf("%.7s|%s|%s|%lu|%d|%d|%u %x:%x:%x|%x %x|%lu %u\n", kObserverMagic, f.name, o.driver_version,
              f.total_bytes, f.cuda_version, f.compute_capability, f.pci_known, f.pci_domain, f.pci_bus,
              f.pci_device, f.pci_device_id, f.pci_subsystem_id, o.used_bytes, o.sessions);
  std::printf("%.7s|%s|%lu %lu %lu %lu %lu|%u %lu %lu %lu %lu\n", kMarkMagic, o.slice_name, o.age_ns, o.gpu_ns,
              o.waited_ns, o.swapped_out_bytes, o.swapped_in_bytes, o.mark, o.peak_bytes[0], o.peak_bytes[1],
              o.peak_bytes[2], o.peak_bytes[kMarks - 1]);
  for (const ObservedSession& s : o.rows) {
    if (s.pid == 0) continue;
    std::printf("%u %u %lu %lu %s %lu %lu %lu %lu %d %d %u %u\n", s.pid, s.busy_percent, s.used_bytes,
                s.sampled_us, s.name, s.resident_bytes, s.swapped_bytes, s.gpu_ns, s.waited_ns,
                s.phase == SessionPhase::swapped_out, s.phase == SessionPhase::waiting, s.place, s.busy);
  }
  std::printf("%u %u %u %u %u %u of %u\n", unsigned(SessionPhase::idle), unsigned(SessionPhase::running),
              unsigned(SessionPhase::waiting), unsigned(SessionPhase::swapping_in),
              unsigned(SessionPhase::swapping_out), unsigned(SessionPhase::swapped_out), kMarks);
  return kMaxObservedSessions == 64 && std::memcmp(kObserverMagic + 7, "", 1) == 0 ? 0 : 1;
}
""")
    program = tmp_path / "read"
    includes = ["-I", str(ROOT / "kernel_hook")]
    subprocess.run(
        ["g++", "-std=c++20", *includes, str(tmp_path / "read.cpp"), "-o", str(program)], check=True
    )
    said = subprocess.run([program, tmp_path / "packed"], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == [
        f"{OBSERVER_MAGIC[:7].decode()}|Software GPU|580.159.03|4294967296|13020|90|1 1:1b:2|233510de 18be10de|7 2",
        f"{MARK_MAGIC[:7].decode()}|lab.ipynb|21 22 23 24 25|9 31 32 33 0",
        "11 50 3 99 one 2 1 13 14 1 0 0 0",
        "12 100 4 98 two 4 0 15 16 0 1 3 1",
        " ".join(str(PHASES.index(phase.value)) for phase in Phase) + f" of {MARKS}",
    ]
    assert FACTS.size + HEAD.size + MAX_ROWS * ROW.size == SIZE_BYTES
    unpacked = Observation.unpack(observation.pack())
    assert unpacked.sessions == observation.sessions
    assert unpacked.gpu == {**observation.gpu, "pci_bus_id": "0001:1b:02.0"}
    assert (unpacked.slice_name, unpacked.age_ns, unpacked.gpu_ns, unpacked.waited_ns) == (
        "lab.ipynb",
        21,
        22,
        23,
    )
    assert (unpacked.swapped_out_bytes, unpacked.swapped_in_bytes, unpacked.mark) == (24, 25, 9)
    assert list(unpacked.peak_bytes) == [31, 32, 33, 0, 0, 0, 0, 0]
    assert [unpacked.peak_since(mark) for mark in (9, 8, 7, 1, 10)] == [31, 32, 33, None, None]
    with pytest.raises(ValueError, match="phase"):
        Observation.unpack(_with_phase(observation.pack(), 6))


def _with_phase(packed: bytes, phase: int) -> bytes:
    at = FACTS.size + HEAD.size + 56
    return packed[:at] + struct.pack("<I", phase) + packed[at + 4 :]


def test_what_no_worker_has_told_is_unknown_and_long_names_are_cut() -> None:
    odd = {
        "pci_bus_id": "nonsense",
        "driver_version": "1.2",
        "pci_device_id": 1 << 40,
        "compute_capability": 9,
    }
    packed = Observation("é" * 300, "", 1, 0, odd, []).pack()
    assert len(packed) == SIZE_BYTES
    assert Observation.unpack(packed).name == "é" * 127
    assert Observation.unpack(packed).gpu["compute_capability"] == (0, 0)
    assert Observation.unpack(packed).gpu["driver_version"] == 0
    assert "pci_bus_id" not in Observation.unpack(packed).gpu
    with pytest.raises(struct.error):
        Observation.unpack(packed[:-1])


def ask(
    path: str, opened: OpenedSlice, token: str | None = None, marks: bool = False
) -> tuple[Welcome, Observation | None]:
    """Asks as the hook's NVML library does, and reads to the end of the connection."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path)
        connection.sendall(
            Hello(
                os.getpid(),
                opened.slice_id,
                opened.token if token is None else token,
                "",
                observer=True,
                marks=marks,
            ).pack()
        )
        data = b""
        while True:
            chunk, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
            assert descriptors == []
            if not chunk:
                break
            data += chunk
    welcome = Welcome.unpack(data[: WELCOME.size])
    rest = data[WELCOME.size :]
    return welcome, Observation.unpack(rest) if rest else None


async def test_an_observer_sees_its_slices_sessions_and_no_others(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    ours, other = await d.open(), await d.open(name="another")
    first, _ = await d.connect(ours)
    second, _ = await d.connect(ours)
    stranger, _ = await d.connect(other)
    for peer in (first, first, second, stranger):
        assert await d.do(peer.ask, peer.ALLOCATE) == b"y"
    welcome, seen = await d.do(ask, d.session_socket, ours)
    assert (welcome.status, welcome.shared_bytes) == (WelcomeStatus.ACCEPTED, SIZE_BYTES)
    assert (seen.limit_bytes, seen.used_bytes) == (1 << 24, 3 << 20)
    assert [(s.pid, s.name, s.used_bytes) for s in seen.sessions] == [
        (os.getpid(), "test", 2 << 20),
        (os.getpid(), "test", 1 << 20),
    ]
    _, seen = await d.do(ask, d.session_socket, other)
    assert [s.used_bytes for s in seen.sessions] == [1 << 20]
    first.close()
    await d.until(lambda: d.details(EventKind.SESSION_ENDED))
    _, seen = await d.do(ask, d.session_socket, ours)
    assert [s.used_bytes for s in seen.sessions] == [1 << 20]


async def test_an_observer_is_told_what_its_slice_is_called_has_had_and_does(
    start_daemon: StartDaemon,
) -> None:
    d = await start_daemon()
    ours = await d.open(name="lab.ipynb")
    _, before = await d.do(ask, d.session_socket, ours)
    peer, _ = await d.connect(ours)
    assert await d.do(peer.ask, peer.ALLOCATE) == b"y"
    _, seen = await d.do(ask, d.session_socket, ours)
    assert (before.slice_name, before.gpu_ns, before.sessions) == ("lab.ipynb", 0, [])
    assert 0 < before.age_ns < seen.age_ns
    (session,) = seen.sessions
    assert (session.phase, session.place, session.busy) == ("idle", 0, False)
    assert (session.resident_bytes, session.swapped_bytes) == (1 << 20, 0)


async def test_a_mark_is_the_slices_own_and_numbers_rise(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    ours, other = await d.open(), await d.open(name="another")
    marks = [(await d.do(ask, d.session_socket, ours, None, True))[1].mark for _ in range(3)]
    assert marks == [1, 2, 3]
    assert (await d.do(ask, d.session_socket, ours))[1].mark == 3  # asking alone sets none
    assert (await d.do(ask, d.session_socket, other))[1].mark == 0
    welcome, _ = await d.do(ask, d.session_socket, ours, "0" * 64, True)
    assert welcome.status is WelcomeStatus.WRONG_TOKEN
    assert (await d.do(ask, d.session_socket, ours))[1].mark == 3


async def test_the_time_that_an_observer_is_told_is_not_older_than_a_tick(start_daemon: StartDaemon) -> None:
    """A session that works alone is looked at ten times a second, which is too seldom for who measures."""
    d = await start_daemon()
    ours = await d.open()
    await d.connect(ours)
    (session,) = d.daemon.server.sessions.sessions()
    turns, account = d.daemon.server.turns, session.turn._account
    account._words[1 + SLOTS + session.slot] = 7_000_000  # its worker says that it had so much
    turns._looked_ns.clear()
    _, seen = await d.do(ask, d.session_socket, ours)
    assert 0 < seen.gpu_ns <= 7_000_000
    assert seen.sessions[0].gpu_ns == seen.gpu_ns
    looked = turns._looked_ns[ours.gpu.uuid]
    turns._tick_ns = 1 << 60
    await d.do(ask, d.session_socket, ours)
    assert (
        turns._looked_ns[ours.gpu.uuid] == looked
    )  # who asks all the time makes no more work than a tick does


@pytest.mark.parametrize("wrong", ["token", "slice", "other"])
async def test_without_the_slices_token_an_observer_learns_nothing(
    start_daemon: StartDaemon, wrong: str
) -> None:
    d = await start_daemon()
    opened, other = await d.open(), await d.open(name="other")
    if wrong == "slice":
        object.__setattr__(opened, "slice_id", "0123456789abcdef")
    token = {"token": "0" * 64, "slice": None, "other": other.token}[wrong]
    welcome, seen = await d.do(ask, d.session_socket, opened, token)
    assert (welcome.status, welcome.shared_bytes, seen) == (WelcomeStatus.WRONG_TOKEN, 0, None)
    assert d.details(EventKind.SESSION_REFUSED) == []  # a monitor of a slice that is gone fills no log


async def test_observers_take_no_worker_and_no_place_in_the_slice(start_daemon: StartDaemon) -> None:
    d = await start_daemon(max_sessions_per_slice=1, warm_workers=0)
    opened = await d.open()
    for _ in range(5):
        welcome, seen = await d.do(ask, d.session_socket, opened)
        assert welcome.status is WelcomeStatus.ACCEPTED
        assert seen.sessions == []
    assert d.daemon.server.sessions.sessions() == []
    assert d.details(EventKind.SESSION_STARTED) == []
    _, welcome = await d.connect(opened)
    assert welcome.status is WelcomeStatus.ACCEPTED


async def test_observers_that_do_not_read_are_not_kept(start_daemon: StartDaemon) -> None:
    """Their number is bounded by the time of one answer: the daemon never waits for one to read."""
    d = await start_daemon()
    opened = await d.open()
    before = len(os.listdir("/proc/self/fd"))
    hello = Hello(1, opened.slice_id, opened.token, "", observer=True).pack()
    idle = []
    for _ in range(100):
        idle.append(d.peer())
        await d.do(idle[-1].socket.sendall, hello)
    # Our own ends are in this process too; the daemon's are gone.
    await d.until(lambda: len(os.listdir("/proc/self/fd")) <= before + len(idle) + 1)
    assert d.daemon.listener.silent == 0


async def test_more_than_one_question_on_a_connection_is_no_hello(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open()
    hello = Hello(1, opened.slice_id, opened.token, "", observer=True).pack()
    peer = d.peer()
    await d.do(peer.socket.sendall, hello + hello)
    assert (await d.do(peer.welcome)).status is WelcomeStatus.BAD_HELLO


async def test_utilization_is_the_busy_share_of_the_last_period() -> None:
    now_ns, busy_ns = 0, 0
    utilization = Utilization(clock_ns=lambda: now_ns)
    utilization.begin("s", lambda _: busy_ns)
    now_ns, busy_ns = 1000, 250
    assert utilization.sample("s").percent == 25  # since it began
    now_ns, busy_ns = 2000, 1000
    sampled = utilization.sample("s")
    while utilization._counters["s"].sample is None:
        await asyncio.sleep(PERIOD_S / 10)
    assert utilization.sample("s").percent == 50
    assert utilization.sample("s").unix_us >= sampled.unix_us
    first = utilization.sample("s")
    now_ns = 3000
    while utilization.sample("s") is first:
        await asyncio.sleep(PERIOD_S / 10)
    assert utilization.sample("s").percent == 0  # nothing more was done
    utilization.end("s")
    assert utilization._timer is None
    with pytest.raises(KeyError):
        utilization.sample("s")


async def test_a_counter_that_makes_no_sense_stays_within_a_hundred_percent() -> None:
    now_ns, busy_ns = 0, 500
    utilization = Utilization(clock_ns=lambda: now_ns)
    utilization.begin("s", lambda _: busy_ns)
    now_ns, busy_ns = 100, 1 << 60
    assert utilization.sample("s").percent == 100
    busy_ns = 0
    assert utilization.sample("s").percent == 0
    utilization.end("s")
