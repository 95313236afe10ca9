"""What NVML says of each GPU and of the processes on it, read at one moment; None where it does not know.

The only file of this program that calls NVML. The caller has called nvmlInit().
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True)
class Process:
    """A process that computes on the GPU. ``used_bytes`` None: not known."""

    pid: int
    name: str
    used_bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """One GPU. Memory in bytes, power in watts, clocks in MHz, temperature in degrees Celsius, the rest in percent."""

    index: int
    count: int
    name: str | None
    uuid: str
    bus_id: str | None
    pci: tuple[int, int, int, int, int] | None  # domain, bus, device, device id, subsystem id
    driver_version: str | None
    cuda_version: str | None
    capability: str | None
    memory_total: int
    memory_used: int
    memory_free: int
    utilization: int | None
    temperature: int | None
    power: float | None
    power_limit: float | None
    fan: int | None
    performance_state: str | None
    clock_graphics: int | None
    clock_sm: int | None
    clock_memory: int | None
    persistence: bool | None
    display_active: bool | None
    display_mode: bool | None
    compute_mode: str | None
    mig_mode: bool | None
    serial: str | None
    ecc_mode: bool | None
    processes: tuple[Process, ...]


_COMPUTE_MODES = {0: "Default", 1: "Exclusive_Thread", 2: "Prohibited", 3: "Exclusive_Process"}


def read_gpus() -> list[Gpu]:
    """All GPUs; raises pynvml.NVMLError where not even the memory of one can be read."""
    count = int(pynvml.nvmlDeviceGetCount())
    return [_read(index, count) for index in range(count)]


def _read(index: int, count: int) -> Gpu:
    gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
    pci = _known(pynvml.nvmlDeviceGetPciInfo, gpu)
    capability = _known(pynvml.nvmlDeviceGetCudaComputeCapability, gpu)
    cuda = _known(pynvml.nvmlSystemGetCudaDriverVersion)
    rates = _known(pynvml.nvmlDeviceGetUtilizationRates, gpu)
    power = _known(pynvml.nvmlDeviceGetPowerUsage, gpu)
    power_limit = _known(pynvml.nvmlDeviceGetEnforcedPowerLimit, gpu)
    state = _known(pynvml.nvmlDeviceGetPerformanceState, gpu)
    mode = _known(pynvml.nvmlDeviceGetComputeMode, gpu)
    mig = _known(pynvml.nvmlDeviceGetMigMode, gpu)
    ecc = _known(pynvml.nvmlDeviceGetEccMode, gpu)

    def clock(which: int) -> int | None:
        return _number(_known(pynvml.nvmlDeviceGetClockInfo, gpu, which))

    return Gpu(
        index=index,
        count=count,
        name=_text(_known(pynvml.nvmlDeviceGetName, gpu)),
        uuid=_text(pynvml.nvmlDeviceGetUUID(gpu)) or "",
        bus_id=_text(pci.busId) if pci is not None else None,
        pci=(pci.domain, pci.bus, pci.device, pci.pciDeviceId, pci.pciSubSystemId)
        if pci is not None
        else None,
        driver_version=_text(_known(pynvml.nvmlSystemGetDriverVersion)),
        cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda is not None else None,
        capability=f"{capability[0]}.{capability[1]}" if capability is not None else None,
        memory_total=int(memory.total),
        memory_used=int(memory.used),
        memory_free=int(memory.free),
        utilization=int(rates.gpu) if rates is not None else None,
        temperature=_number(_known(pynvml.nvmlDeviceGetTemperature, gpu, pynvml.NVML_TEMPERATURE_GPU)),
        power=power / 1000 if power is not None else None,
        power_limit=power_limit / 1000 if power_limit is not None else None,
        fan=_number(_known(pynvml.nvmlDeviceGetFanSpeed, gpu)),
        performance_state=f"P{state}" if state is not None else None,
        clock_graphics=clock(pynvml.NVML_CLOCK_GRAPHICS),
        clock_sm=clock(pynvml.NVML_CLOCK_SM),
        clock_memory=clock(pynvml.NVML_CLOCK_MEM),
        persistence=_truth(_known(pynvml.nvmlDeviceGetPersistenceMode, gpu)),
        display_active=_truth(_known(pynvml.nvmlDeviceGetDisplayActive, gpu)),
        display_mode=_truth(_known(pynvml.nvmlDeviceGetDisplayMode, gpu)),
        compute_mode=_COMPUTE_MODES.get(mode) if mode is not None else None,
        mig_mode=_truth(mig[0]) if mig is not None else None,
        serial=_text(_known(pynvml.nvmlDeviceGetSerial, gpu)),
        ecc_mode=_truth(ecc[0]) if ecc is not None else None,
        processes=tuple(_read_processes(gpu)),
    )


def _read_processes(gpu: Any) -> list[Process]:
    found = _known(pynvml.nvmlDeviceGetComputeRunningProcesses, gpu) or []
    return [
        Process(
            int(process.pid),
            _text(_known(pynvml.nvmlSystemGetProcessName, process.pid)) or "[Not Found]",
            _number(process.usedGpuMemory),
        )
        for process in found
    ]


def _known(ask: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, or None where this GPU has none; errors that say more are raised."""
    try:
        return ask(*arguments)
    except (
        pynvml.NVMLError_NotSupported,
        pynvml.NVMLError_NotFound,
        pynvml.NVMLError_NoPermission,
        pynvml.NVMLError_FunctionNotFound,
        pynvml.NVMLError_LibraryNotFound,
    ):
        return None


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(value)
