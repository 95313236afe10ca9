"""What NVML says of a slice's state through its daemon: a stand-in for the daemon answers, late, wrongly or not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from gpu_server.handshake import HELLO, Hello, Welcome, WelcomeStatus
from gpu_server.observation import SIZE_BYTES, Observation, ObservedSession

Ask = Callable[..., Any]
LIMIT = 4 << 30
H200 = {
    "driver_version": 13020,
    "compute_capability": (9, 0),
    "pci_bus_id": "0000:1b:00.0",
    "pci_device_id": 0x233510DE,
    "pci_subsystem_id": 0x18BE10DE,
}
LOST, TIMEOUT, SIZE, NOT_FOUND = (
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_TIMEOUT,
    pynvml.NVML_ERROR_INSUFFICIENT_SIZE,
    pynvml.NVML_ERROR_NOT_FOUND,
)


def observation(*sessions: ObservedSession, gpu: dict[str, Any] | None = None) -> bytes:
    seen = Observation(
        "NVIDIA H200",
        "580.1",
        LIMIT,
        sum(s.used_bytes for s in sessions),
        H200 if gpu is None else gpu,
        sessions,
    )
    return Welcome(WelcomeStatus.ACCEPTED, shared_bytes=SIZE_BYTES).pack() + seen.pack()


class Daemon:
    """Answers each observer with `answer`, in `pieces`; None: never."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: bytes | None = observation()
        self.pieces = 1
        self.hellos: list[Hello] = []
        self._held: list[socket.socket] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(os.fspath(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            data = b""
            while len(data) < HELLO.size and (more := connection.recv(HELLO.size - len(data))):
                data += more
            if len(data) < HELLO.size:
                connection.close()
                continue
            self.hellos.append(Hello.unpack(data))
            if self.answer is None:
                self._held.append(connection)
                continue
            step = max(1, len(self.answer) // self.pieces)
            for at in range(0, len(self.answer), step):
                connection.sendall(self.answer[at : at + step])
            connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in (*self._held, self._socket):
            connection.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "session.sock")
    yield made
    made.close()


@pytest.fixture
def slice_environment(daemon: Daemon, under_slice: dict[str, str]) -> dict[str, str]:
    return {**under_slice, "TFUSION_SOCKET": str(daemon.path), "TFUSION_TOKEN": "ab" * 32}


ROWS = (
    ObservedSession(11, 30, 700 << 20, 5_000_000, "python3"),
    ObservedSession(4_000_000, 90, 300 << 20, 5_000_100, "x" * 63),
)


def test_a_process_without_a_session_asks_the_daemon(
    ask: Ask, daemon: Daemon, slice_environment: dict[str, str]
) -> None:
    daemon.answer, daemon.pieces = observation(*ROWS), 7
    del slice_environment["TFUSION_DRIVER_VERSION"]
    answer = ask(
        """
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        m = nvmlDeviceGetMemoryInfo(d)
        rates = nvmlDeviceGetUtilizationRates(d)
        answer = {
            "memory": [m.total, m.used, m.free], "rates": [rates.gpu, rates.memory],
            "processes": [[p.pid, p.usedGpuMemory, p.gpuInstanceId] for p in nvmlDeviceGetComputeRunningProcesses(d)],
            "names": [nvmlSystemGetProcessName(pid) for pid in (11, 4000000)],
            "stranger": result(nvmlSystemGetProcessName, 1),
            "samples": [[s.pid, s.timeStamp, s.smUtil] for s in nvmlDeviceGetProcessUtilization(d, 0)],
            "newer": [[s.pid, s.timeStamp, s.smUtil] for s in nvmlDeviceGetProcessUtilization(d, 5000000)],
            "newest": result(nvmlDeviceGetProcessUtilization, d, 5000100),
            "information": [s.pid for s in nvmlDeviceGetProcessesUtilizationInfo(d, 5000000)],
            "driver": nvmlSystemGetDriverVersion(), "capability": nvmlDeviceGetCudaComputeCapability(d),
            "pci": [nvmlDeviceGetPciInfo(d).busId, nvmlDeviceGetPciInfo(d).pciSubSystemId],
            "by_pci": result(nvmlDeviceGetHandleByPciBusId, b"0000:1b:00.0"),
            "hopper": nvmlDeviceGetArchitecture(d) == NVML_DEVICE_ARCH_HOPPER,
        }
        """,
        **slice_environment,
    )
    assert answer == {
        "memory": [LIMIT, 1000 << 20, LIMIT - (1000 << 20)],
        "rates": [100, 0],
        "processes": [[11, 700 << 20, 0xFFFFFFFF], [4_000_000, 300 << 20, 0xFFFFFFFF]],
        "names": ["python3", "x" * 63],
        "stranger": NOT_FOUND,
        "samples": [[11, 5_000_000, 30], [4_000_000, 5_000_100, 90]],
        "newer": [[4_000_000, 5_000_100, 90]],
        "newest": NOT_FOUND,
        "information": [4_000_000],
        "driver": "580.1",
        "capability": [9, 0],
        "pci": ["00000000:1B:00.0", 0x18BE10DE],
        "by_pci": 0,
        "hopper": True,
    }
    first = daemon.hellos[0]
    assert (first.observer, first.slice_id, first.token) == (
        True,
        slice_environment["TFUSION_SLICE"],
        "ab" * 32,
    )


def test_an_answer_is_used_again_for_a_moment(
    ask: Ask, daemon: Daemon, slice_environment: dict[str, str]
) -> None:
    passed_s = ask(
        """
        import time
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        began = time.monotonic()
        for _ in range(200):
            nvmlDeviceGetMemoryInfo(d)
        answer = time.monotonic() - began
        """,
        **slice_environment,
    )
    assert 1 <= len(daemon.hellos) <= 1 + passed_s / 0.05


def test_with_a_session_memory_is_told_without_a_question(
    ask: Ask, daemon: Daemon, slice_environment: dict[str, str], hook_library: Path
) -> None:
    script = """
        nvmlInit()
        begin(_75=9, _76=0)
        use(1 << 30)
        answer = nvmlDeviceGetMemoryInfo(nvmlDeviceGetHandleByIndex(0)).used
        """
    assert ask(script, hook_library, **slice_environment) == 1 << 30
    assert daemon.hellos == []


def test_a_forked_child_asks_for_itself(
    ask: Ask, daemon: Daemon, slice_environment: dict[str, str], hook_library: Path
) -> None:
    daemon.answer = observation(*ROWS)
    answer = ask(
        """
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        begin(_75=9, _76=0)
        use(1 << 30)
        nvmlDeviceGetComputeRunningProcesses(d)
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(theirs, json.dumps([nvmlDeviceGetMemoryInfo(d).used, os.getpid()]).encode())
            os._exit(0)
        answer = [os.waitpid(child, 0)[1], json.loads(os.read(ours, 4096)), child]
        """,
        hook_library,
        **slice_environment,
    )
    assert answer[:2] == [0, [1000 << 20, answer[2]]]
    assert answer[2] in [hello.pid for hello in daemon.hellos]


def test_too_little_room_is_told_with_the_number_and_nothing_is_written_past_it(
    ask: Ask, daemon: Daemon, slice_environment: dict[str, str]
) -> None:
    daemon.answer = observation(*ROWS)
    answer = ask(
        """
        nvmlInit()
        library = ctypes.CDLL("libnvidia-ml.so.1")
        d = nvmlDeviceGetHandleByIndex(0)
        answer = []
        for version, size in (("", 16), ("_v2", 24), ("_v3", 24)):
            call = getattr(library, f"nvmlDeviceGetComputeRunningProcesses{version}")
            for room in (0, 1, 2):
                count, rows = ctypes.c_uint(room), ctypes.create_string_buffer(b"?" * 100, 100)
                code = call(d, ctypes.byref(count), rows if room else None)
                answer.append([code, count.value, rows.raw[room * size :] == b"?" * (100 - room * size)])
        count = ctypes.c_uint(1)
        sample = ctypes.create_string_buffer(b"?" * 64, 64)
        code = library.nvmlDeviceGetProcessUtilization(d, sample, ctypes.byref(count), ctypes.c_ulonglong(0))
        answer.append([code, count.value, sample.raw[32:] == b"?" * 32])
        short = ctypes.create_string_buffer(b"?" * 8, 8)
        answer.append([library.nvmlSystemGetProcessName(11, short, 4), short.raw.decode()])
        for mode, version in ((0, 2), (3, 1), (1, 1), (2, 1)):
            listed = c_nvmlProcessDetailList_t(nvmlProcessDetailList_v1 + version - 1, mode, 5)
            answer.append([library.nvmlDeviceGetRunningProcessDetailList(d, ctypes.byref(listed)),
                           listed.numProcArrayEntries])
        """,
        **slice_environment,
    )
    assert answer == [[SIZE, 2, True], [SIZE, 2, True], [0, 2, True]] * 3 + [
        [SIZE, 2, True],
        [0, "pyt\0????"],
        [pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH, 5],
        [2, 5],
        [0, 0],
        [0, 0],
    ]


ERRORS = """
    nvmlInit()
    d = nvmlDeviceGetHandleByIndex(0)
    answer = [result(f, d) for f in (nvmlDeviceGetMemoryInfo, nvmlDeviceGetUtilizationRates,
                                     nvmlDeviceGetComputeRunningProcesses)]
    answer.append(result(nvmlSystemGetProcessName, 11))
    answer += [nvmlDeviceGetCount(), nvmlDeviceGetName(d), result(nvmlDeviceGetCudaComputeCapability, d)]
    """


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (Welcome(WelcomeStatus.WRONG_TOKEN, "No.").pack(), LOST),
        (Welcome(WelcomeStatus.BAD_HELLO, "An older daemon.").pack(), LOST),
        (Welcome(WelcomeStatus.ACCEPTED, shared_bytes=SIZE_BYTES - 1).pack() + bytes(SIZE_BYTES), LOST),
        (observation(*ROWS)[:-1], LOST),
        (b"x" * 10_000, LOST),
        (b"", LOST),
        (None, TIMEOUT),
    ],
    ids=["wrong token", "bad hello", "another size", "cut off", "nonsense", "nothing", "silence"],
)
def test_what_the_daemon_does_not_tell_is_an_error_and_never_a_guess(
    ask: Ask, daemon: Daemon, slice_environment: dict[str, str], said: bytes | None, code: int
) -> None:
    daemon.answer = said
    assert ask(ERRORS, **slice_environment) == [code] * 4 + [1, "NVIDIA H200", 3]


def test_a_daemon_that_is_gone_is_a_lost_gpu(
    ask: Ask, tmp_path: Path, slice_environment: dict[str, str]
) -> None:
    slice_environment["TFUSION_SOCKET"] = str(tmp_path / "nothing")
    assert ask(ERRORS, **slice_environment)[:4] == [LOST] * 4


def test_numbers_that_cannot_be_stay_within_bounds(
    ask: Ask, daemon: Daemon, slice_environment: dict[str, str]
) -> None:
    """The daemon is trusted; a fault of it is no fault of the learner's program."""
    answer = bytearray(observation(*ROWS))
    head = len(answer) - SIZE_BYTES + 296
    answer[head : head + 12] = b"\xff" * 12  # used bytes and the number of sessions
    daemon.answer = bytes(answer)
    script = """
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        m = nvmlDeviceGetMemoryInfo(d)
        answer = [m.used, m.free, len(nvmlDeviceGetComputeRunningProcesses(d))]
        """
    assert ask(script, **slice_environment) == [LIMIT, 0, 64]


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ((7, 0), "VOLTA"), ((7, 5), "TURING"), ((8, 0), "AMPERE"), ((8, 6), "AMPERE"), ((8, 9), "ADA"),
        ((9, 0), "HOPPER"), ((10, 0), "BLACKWELL"), ((12, 1), "BLACKWELL"), ((99, 0), "UNKNOWN"),
    ],
)  # fmt: skip
def test_the_architecture_follows_from_the_compute_capability(
    ask: Ask, daemon: Daemon, slice_environment: dict[str, str], capability: tuple[int, int], name: str
) -> None:
    daemon.answer = observation(gpu={"compute_capability": capability})
    script = "nvmlInit(); answer = nvmlDeviceGetArchitecture(nvmlDeviceGetHandleByIndex(0)) & 0xFFFFFFFF"
    assert ask(script, **slice_environment) == getattr(pynvml, f"NVML_DEVICE_ARCH_{name}") & 0xFFFFFFFF


def test_what_is_so_for_every_slice(ask: Ask, under_slice: dict[str, str]) -> None:
    answer = ask(
        """
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        answer = {
            "display": [nvmlDeviceGetDisplayMode(d), nvmlDeviceGetDisplayActive(d)],
            "board": [nvmlDeviceGetMultiGpuBoard(d), nvmlDeviceOnSameBoard(d, d)],
            "brand": nvmlDeviceGetBrand(d), "events": nvmlDeviceGetSupportedEventTypes(d),
            "near": len(nvmlDeviceGetTopologyNearestGpus(d, NVML_TOPOLOGY_SYSTEM)),
            "fields": [[f.fieldId, f.nvmlReturn] for f in nvmlDeviceGetFieldValues(d, [82, (83, 1)])],
            "whole_card": sorted({
                result(nvmlDeviceGetTemperature, d, 0), result(nvmlDeviceGetPowerUsage, d),
                result(nvmlDeviceGetClockInfo, d, 0), result(nvmlDeviceGetFanSpeed, d),
                result(nvmlDeviceGetPerformanceState, d), result(nvmlDeviceGetPersistenceMode, d),
                result(nvmlDeviceGetEccMode, d), result(nvmlDeviceGetBAR1MemoryInfo, d),
                result(nvmlDeviceGetSerial, d), result(nvmlDeviceGetBoardPartNumber, d),
                result(nvmlDeviceGetMigMode, d), result(nvmlDeviceGetCurrentClocksThrottleReasons, d),
                result(nvmlEventSetCreate),
            }),
        }
        """,
        **under_slice,
    )
    assert answer == {
        "display": [0, 0],
        "board": [0, True],
        "brand": pynvml.NVML_BRAND_UNKNOWN,
        "events": 0,
        "near": 0,
        "fields": [[82, 3], [83, 3]],
        "whole_card": [pynvml.NVML_ERROR_NOT_SUPPORTED],
    }


def test_the_hook_says_how_much_was_written_and_replayed(
    ask: Ask, slice_environment: dict[str, str], hook_library: Path
) -> None:
    """What %%vgpu_time asks before the daemon; see slice_facts.hpp."""
    answer = ask(
        """
        cuda = ctypes.CDLL(None)
        def progress():
            written, replayed = ctypes.c_uint64(7), ctypes.c_uint64(8)
            code = cuda.cuTFusionProgress(ctypes.byref(written), ctypes.byref(replayed))
            return [code, written.value, replayed.value]
        answer = [progress()]
        begin()
        answer.append(progress())
        for written, consumed in ((4096, 4000), (4096, 4096), (4096, 1 << 40)):
            cuda.session_ring(ctypes.c_uint64(written), ctypes.c_uint64(consumed))
            answer.append(progress())
        answer.append(cuda.cuTFusionProgress(None, None))
        """,
        hook_library,
        **slice_environment,
    )
    assert answer == [[3, 7, 8], [0, 0, 0], [0, 4096, 4000], [0, 4096, 4096], [0, 4096, 4096], 1]
