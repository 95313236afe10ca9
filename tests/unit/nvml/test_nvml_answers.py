"""What NVML says under a slice, before a process has a session, with one, and after a fork.

Results for wrong arguments are those of NVIDIA's library of driver 580.159 with an H200.
"""

from __future__ import annotations

import hashlib
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

Ask = Callable[..., Any]

NVML = Path(__file__).resolve().parents[3] / "kernel_hook" / "nvml"
UUID = f"GPU-{uuid.UUID(bytes=hashlib.sha256(b'tfusion slice 0f3c').digest()[:16])}"
H200 = "_75=9, _76=0, _50=0, _33=0x1B, _34=0, _139=0x233510DE, _140=0x18BE10DE"

# These say something before nvmlInit.
STATELESS = {"nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlErrorString", "nvmlSystemGetNVMLVersion"}


def names(mode: str) -> list[str]:
    rows = [line.split() for line in (NVML / "nvml.api").read_text().splitlines()]
    return [row[1] for row in rows if len(row) == 2 and row[0] == mode]


def test_without_a_slice_there_is_no_driver(ask: Ask) -> None:
    assert ask("answer = result(nvmlInit)") == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    assert ask("answer = result(nvmlInit)", TFUSION_SLICE="") == pynvml.NVML_ERROR_DRIVER_NOT_LOADED


def test_everything_else_is_uninitialised_before_init_and_after_the_last_shutdown(
    ask: Ask, under_slice: dict[str, str]
) -> None:
    functions = [name for name in names("answered") + names("refused") if name not in STATELESS]
    answer = ask(
        f"""
        library = ctypes.CDLL("libnvidia-ml.so.1")
        call = lambda: {{getattr(library, name)(0, 0, 0, 0, 0, 0) for name in {functions!r}}}
        answer = [sorted(call())]
        nvmlInit()
        nvmlInit()
        nvmlShutdown()
        answer += [result(nvmlDeviceGetCount), result(nvmlShutdown), result(nvmlShutdown), sorted(call())]
        """,
        **under_slice,
    )
    assert answer == [[1], 0, 0, 1, [1]]


def test_refused_functions_say_so_whatever_they_are_given(ask: Ask, under_slice: dict[str, str]) -> None:
    refused = names("refused")
    assert len(refused) > 300
    answer = ask(
        f"""
        nvmlInit()
        library = ctypes.CDLL("libnvidia-ml.so.1")
        answer = {{name: getattr(library, name)(1, 2, 3, 4, 5, 6) for name in {refused!r}}}
        answer["pynvml"] = result(nvmlDeviceGetPowerUsage, nvmlDeviceGetHandleByIndex(0))
        """,
        **under_slice,
    )
    assert set(answer.values()) == {pynvml.NVML_ERROR_NOT_SUPPORTED}


def test_a_handle_that_is_none_and_a_missing_result_are_invalid(
    ask: Ask, under_slice: dict[str, str]
) -> None:
    functions = [
        n for n in names("answered") if n.startswith("nvmlDeviceGet") and "By" not in n and "Count" not in n
    ]
    answer = ask(
        f"""
        nvmlInit()
        library = ctypes.CDLL("libnvidia-ml.so.1")
        device = nvmlDeviceGetHandleByIndex(0)
        one = {{name: getattr(library, name)(None, None, None) for name in {functions!r}}}
        two = {{name: getattr(library, name)(device, None, None) for name in {functions!r}}}
        answer = [sorted(set(one.values())), sorted(set(two.values()))]
        """,
        **under_slice,
    )
    assert answer == [[2], [2]]


def test_before_a_session_the_environment_says_what_the_slice_is(
    ask: Ask, under_slice: dict[str, str]
) -> None:
    answer = ask(
        """
        nvmlInitWithFlags(NVML_INIT_FLAG_NO_ATTACH)
        d = nvmlDeviceGetHandleByIndex(0)
        m, m2 = nvmlDeviceGetMemoryInfo(d), nvmlDeviceGetMemoryInfo(d, nvmlMemory_v2)
        answer = {
            "count": nvmlDeviceGetCount(), "index": nvmlDeviceGetIndex(d), "minor": nvmlDeviceGetMinorNumber(d),
            "uuid": nvmlDeviceGetUUID(d), "name": nvmlDeviceGetName(d),
            "memory": [m.total, m.free, m.used], "memory_v2": [m2.total, m2.reserved, m2.free, m2.used],
            "driver": nvmlSystemGetDriverVersion(), "nvml": nvmlSystemGetNVMLVersion(),
            "mode": nvmlDeviceGetComputeMode(d), "units": nvmlUnitGetCount(),
            "mig": [nvmlDeviceIsMigDeviceHandle(d).value, nvmlDeviceGetMaxMigDeviceCount(d)],
            "unknown": [result(f, d) for f in (nvmlDeviceGetPciInfo, nvmlDeviceGetCudaComputeCapability)],
            "by_pci": result(nvmlDeviceGetHandleByPciBusId, b"0000:1b:00.0"),
            "no_hook": result(nvmlSystemGetCudaDriverVersion),
        }
        """,
        CUDA_VISIBLE_DEVICES="",  # does not concern NVML
        **under_slice,
    )
    assert answer == {
        "count": 1, "index": 0, "minor": 0, "uuid": UUID, "name": "NVIDIA H200",
        "memory": [4 << 30, 4 << 30, 0], "memory_v2": [4 << 30, 0, 4 << 30, 0],
        "driver": "580.159.03", "nvml": "13.580.159.03",
        "mode": pynvml.NVML_COMPUTEMODE_DEFAULT, "units": 0, "mig": [0, 0],
        "unknown": [pynvml.NVML_ERROR_NOT_SUPPORTED] * 2, "by_pci": pynvml.NVML_ERROR_NOT_FOUND,
        "no_hook": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    }  # fmt: skip


def test_what_the_environment_does_not_say_is_not_supported(ask: Ask) -> None:
    script = """
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        answer = [result(nvmlDeviceGetName, d), result(nvmlDeviceGetMemoryInfo, d), result(nvmlSystemGetDriverVersion)]
        """
    assert ask(script, TFUSION_SLICE="x") == [3, 3, 3]
    assert ask(script, TFUSION_SLICE="x", TFUSION_VRAM_BYTES="4GiB", TFUSION_GPU_NAME="") == [3, 3, 3]


def test_the_device_is_found_by_what_it_is_called(ask: Ask, under_slice: dict[str, str]) -> None:
    answer = ask(
        f"""
        nvmlInit()
        address = lambda handle: ctypes.cast(handle, ctypes.c_void_p).value
        first = address(nvmlDeviceGetHandleByIndex(0))
        uuid = {UUID!r}
        binary = bytes.fromhex(uuid[4:].replace("-", ""))
        answer = [
            address(nvmlDeviceGetHandleByUUID(uuid)) == first,
            address(nvmlDeviceGetHandleByUUIDV(uuid, NVML_UUID_TYPE_ASCII)) == first,
            address(nvmlDeviceGetHandleByUUIDV(binary, NVML_UUID_TYPE_BINARY)) == first,
            result(nvmlDeviceGetHandleByIndex, 1),
            result(nvmlDeviceGetHandleByUUID, uuid[:-1]),
            result(nvmlDeviceGetHandleByUUIDV, uuid[:-1], NVML_UUID_TYPE_ASCII),
            result(nvmlDeviceGetHandleByUUIDV, bytes(16), NVML_UUID_TYPE_BINARY),
            result(nvmlDeviceGetHandleByUUIDV, uuid, 7),
        ]
        """,
        **under_slice,
    )
    assert answer == [True, True, True, 2, 6, 6, 6, 2]


def test_a_short_buffer_or_an_unknown_structure_is_left_alone(ask: Ask, under_slice: dict[str, str]) -> None:
    answer = ask(
        """
        nvmlInit()
        library = ctypes.CDLL("libnvidia-ml.so.1")
        d = nvmlDeviceGetHandleByIndex(0)
        text = ctypes.create_string_buffer(b"?" * 60)
        short = [library.nvmlDeviceGetUUID(d, text, 40), library.nvmlDeviceGetName(d, text, 11)]
        untouched = text.raw[:60] == b"?" * 60
        answer = [short, untouched, library.nvmlDeviceGetUUID(d, text, 41), library.nvmlDeviceGetName(d, text, 12)]
        memory = c_nvmlMemory_v2_t(version=nvmlMemory_v2 + 1, total=5)
        answer += [library.nvmlDeviceGetMemoryInfo_v2(d, ctypes.byref(memory)), memory.total]
        """,
        **under_slice,
    )
    assert answer == [[7, 7], True, 0, 0, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, 5]


def test_where_no_daemon_is_named_no_processes_are_listed(ask: Ask, under_slice: dict[str, str]) -> None:
    kinds = ("Compute", "Graphics", "MPSCompute")
    functions = [f"nvmlDeviceGet{kind}RunningProcesses{v}" for kind in kinds for v in ("", "_v2", "_v3")]
    answer = ask(
        f"""
        nvmlInit()
        library = ctypes.CDLL("libnvidia-ml.so.1")
        d = nvmlDeviceGetHandleByIndex(0)
        answer = []
        for name in {functions!r}:
            for room in (0, 8):
                count, array = ctypes.c_uint(room), (ctypes.c_char * 512)()
                answer.append([getattr(library, name)(d, ctypes.byref(count), array if room else None), count.value])
        answer.append([len(nvmlDeviceGetComputeRunningProcesses(d)), len(nvmlDeviceGetGraphicsRunningProcesses(d))])
        """,
        **under_slice,
    )
    assert answer == [[0, 0]] * 19


def test_with_a_session_the_hook_says_what_the_gpu_is_and_what_is_used(
    ask: Ask, under_slice: dict[str, str], hook_library: Path
) -> None:
    answer = ask(
        f"""
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        before = nvmlSystemGetCudaDriverVersion()
        begin({H200}, driver=12080, name=b"NVIDIA H200 NVL")
        use(700 << 20)
        m = nvmlDeviceGetMemoryInfo(d)
        pci, old, oldest = nvmlDeviceGetPciInfo_v3(d), nvmlPciInfo_v2_t(), nvmlPciInfo_v2_t(pciSubSystemId=5)
        library = ctypes.CDLL("libnvidia-ml.so.1")
        library.nvmlDeviceGetPciInfo_v2(d, ctypes.byref(old))
        library.nvmlDeviceGetPciInfo(d, ctypes.byref(oldest))
        texts = ["0000:1b:00.0", "00000000:1B:00.0", "1b:00", "0:1b:0", "0001:1b:00.0", "0000:1c:00.0", "1b", "x", "",
                 "0000:1b:00.1", "0000:1b:00.0x", "0:0:1b:0", "0000:1b:", "0:1b:0:"]
        answer = {{
            "cuda": [before // 1000, nvmlSystemGetCudaDriverVersion(), nvmlSystemGetCudaDriverVersion_v2()],
            "name": nvmlDeviceGetName(d), "capability": nvmlDeviceGetCudaComputeCapability(d),
            "memory": [m.total, m.free, m.used],
            "pci": [pci.busIdLegacy, pci.busId, pci.domain, pci.bus, pci.device,
                    pci.pciDeviceId, pci.pciSubSystemId],
            "old": [[p.busId, p.domain, p.bus, p.device, p.pciDeviceId, p.pciSubSystemId] for p in (old, oldest)],
            "found": [result(nvmlDeviceGetHandleByPciBusId, text) for text in texts],
        }}
        use(9 << 30)
        m = nvmlDeviceGetMemoryInfo(d)
        answer["all"] = [m.total, m.free, m.used]
        """,
        hook_library,
        **under_slice,
    )
    assert answer == {
        "cuda": [13, 12080, 12080],
        "name": "NVIDIA H200 NVL",
        "capability": [9, 0],
        "memory": [2 << 30, (2 << 30) - (700 << 20), 700 << 20],
        "pci": ["0000:1B:00.0", "00000000:1B:00.0", 0, 0x1B, 0, 0x233510DE, 0x18BE10DE],
        "old": [["0000:1B:00.0", 0, 0x1B, 0, 0x233510DE, subsystem] for subsystem in (0x18BE10DE, 5)],
        "found": [0, 0, 0, 0, 6, 6] + [2] * 8,
        "all": [2 << 30, 0, 2 << 30],
    }


def test_what_the_sessions_gpu_does_not_have_stays_unsupported(
    ask: Ask, under_slice: dict[str, str], hook_library: Path
) -> None:
    answer = ask(
        """
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        begin()
        answer = [result(nvmlDeviceGetPciInfo, d), result(nvmlDeviceGetCudaComputeCapability, d)]
        """,
        hook_library,
        **under_slice,
    )
    assert answer == [3, 3]


def test_a_forked_child_keeps_what_was_learnt_and_touches_no_session(
    ask: Ask, under_slice: dict[str, str], hook_library: Path
) -> None:
    answer = ask(
        f"""
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        begin({H200})
        use(1 << 30)
        known = nvmlDeviceGetPciInfo(d).busId
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            m = nvmlDeviceGetMemoryInfo(d)
            says = [nvmlDeviceGetPciInfo(d).busId, nvmlDeviceGetCudaComputeCapability(d), m.total, m.used]
            os.write(theirs, json.dumps(says).encode())
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        answer = [status, known, json.loads(os.read(ours, 4096)), nvmlDeviceGetMemoryInfo(d).used]
        """,
        hook_library,
        **under_slice,
    )
    assert answer == [0, "00000000:1B:00.0", ["00000000:1B:00.0", [9, 0], 2 << 30, 0], 1 << 30]


def test_a_lost_session_uses_nothing(ask: Ask, under_slice: dict[str, str], hook_library: Path) -> None:
    answer = ask(
        """
        nvmlInit()
        d = nvmlDeviceGetHandleByIndex(0)
        begin()
        use(1 << 30)
        answer = [nvmlDeviceGetMemoryInfo(d).used]
        hook.session_lose()
        answer.append(nvmlDeviceGetMemoryInfo(d).used)
        """,
        hook_library,
        **under_slice,
    )
    assert answer == [1 << 30, 0]


def test_cuda_and_nvml_give_the_device_one_uuid(
    ask: Ask, under_slice: dict[str, str], hook_library: Path
) -> None:
    script = """
        nvmlInit()
        through_cuda = (ctypes.c_ubyte * 16)()
        hook.cuDeviceGetUuid_v2(through_cuda, 0)
        answer = [bytes(through_cuda).hex(), nvmlDeviceGetUUID(nvmlDeviceGetHandleByIndex(0))]
        """
    cuda, nvml = ask(script, hook_library, **under_slice)
    assert nvml == UUID
    assert cuda == UUID[4:].replace("-", "")
    assert ask(script, hook_library, TFUSION_SLICE="another")[1] != UUID


@pytest.mark.parametrize(
    ("listed", "visible"),
    [
        (UUID, 1), (UUID[:9], 1), (f" {UUID},1", 1), ("0", 1), ("0,1", 1), (UUID + "0", 0), ("GPU-", 0),
        ("GPU-00000000", 0), ("", 0), ("-1", 0), ("1", 0),
    ],
)  # fmt: skip
def test_cuda_visible_devices_names_the_device_by_this_uuid(
    ask: Ask, under_slice: dict[str, str], hook_library: Path, listed: str, visible: int
) -> None:
    script = "answer = hook.device_is_visible()"
    assert ask(script, hook_library, CUDA_VISIBLE_DEVICES=listed, **under_slice) == visible


def test_a_libcuda_that_is_not_the_hook_is_asked_nothing(
    ask: Ask, under_slice: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "real.c"
    source.write_text("#include <stdlib.h>\nint cuDriverGetVersion(int* v) { (void)v; abort(); }\n")
    real = tmp_path / "libcuda.so.1"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", str(source), "-o", str(real)], check=True
    )
    script = "nvmlInit(); answer = result(nvmlSystemGetCudaDriverVersion)"
    assert ask(script, real, **under_slice) == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND


def test_results_have_the_names_that_nvidias_binding_gives_them(ask: Ask) -> None:
    answer = ask(
        """
        try:
            nvmlInit()
        except NVMLError_DriverNotLoaded:
            pass
        answer = [(nvmlErrorString(code), text) for code, text in NVMLError._errcode_to_string.items()]
        answer += [(nvmlErrorString(0), "Success"), (nvmlErrorString(31), "Unknown Error")]
        """
    )
    assert len(answer) > 20
    assert all(ours == theirs for ours, theirs in answer), answer
