"""The fields that --query-gpu and --query-compute-apps can ask for, and their CSV.

A table of names: each with what it means and how it is read off a Gpu or a Process. Units stand in the header and,
unless they are not wanted, behind each value.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kernel_hook.nvidia_smi.gpu import Gpu, Process

T = TypeVar("T")
Value = str | int | float | bool | None
App = tuple[Gpu, Process]
NOT_KNOWN = "[N/A]"


@dataclass(frozen=True)
class Field(Generic[T]):
    """``read`` gives None where the value is not known."""

    meaning: str
    read: Callable[[T], Value]
    unit: str = ""


def mib(value: int | None) -> int | None:
    """Whole MiB of a number of bytes."""
    return None if value is None else value >> 20


def now() -> str:
    """The moment, as nvidia-smi writes it."""
    return f"{datetime.datetime.now():%Y/%m/%d %H:%M:%S.%f}"[:-3]


def _pci(part: int, digits: int) -> Callable[[Gpu], Value]:
    return lambda gpu: None if gpu.pci is None else f"0x{gpu.pci[part]:0{digits}X}"


GPU_FIELDS: Mapping[str, Field[Gpu]] = {
    "timestamp": Field("when this was read", lambda gpu: now()),
    "driver_version": Field("version of the GPU's driver", lambda gpu: gpu.driver_version),
    "count": Field("how many GPUs there are: 1 under a slice", lambda gpu: gpu.count),
    "index": Field("number of the GPU, from 0", lambda gpu: gpu.index),
    "name": Field("name of the GPU", lambda gpu: gpu.name),
    "gpu_name": Field("the same as name", lambda gpu: gpu.name),
    "uuid": Field("unique id of the slice", lambda gpu: gpu.uuid),
    "gpu_uuid": Field("the same as uuid", lambda gpu: gpu.uuid),
    "serial": Field("serial number of the board", lambda gpu: gpu.serial),
    "gpu_serial": Field("the same as serial", lambda gpu: gpu.serial),
    "compute_cap": Field("compute capability", lambda gpu: gpu.capability),
    "pci.bus_id": Field("PCI address", lambda gpu: gpu.bus_id),
    "gpu_bus_id": Field("the same as pci.bus_id", lambda gpu: gpu.bus_id),
    "pci.domain": Field("PCI domain", _pci(0, 4)),
    "pci.bus": Field("PCI bus", _pci(1, 2)),
    "pci.device": Field("PCI device", _pci(2, 2)),
    "pci.device_id": Field("PCI device and vendor id", _pci(3, 8)),
    "pci.sub_device_id": Field("PCI subsystem id", _pci(4, 8)),
    "memory.total": Field("the slice's memory limit", lambda gpu: mib(gpu.memory_total), "MiB"),
    "memory.used": Field("what its processes use", lambda gpu: mib(gpu.memory_used), "MiB"),
    "memory.free": Field("what is left of the limit", lambda gpu: mib(gpu.memory_free), "MiB"),
    "memory.reserved": Field("memory that the driver keeps", lambda gpu: None, "MiB"),
    "utilization.gpu": Field(
        "share of the last half second with GPU work of the slice", lambda gpu: gpu.utilization, "%"
    ),
    "utilization.memory": Field("share of the time with memory traffic", lambda gpu: None, "%"),
    "temperature.gpu": Field("degrees Celsius", lambda gpu: gpu.temperature),
    "temperature.memory": Field("degrees Celsius", lambda gpu: None),
    "power.draw": Field("power of the card", lambda gpu: gpu.power, "W"),
    "power.limit": Field("its limit", lambda gpu: gpu.power_limit, "W"),
    "enforced.power.limit": Field("the limit in force", lambda gpu: gpu.power_limit, "W"),
    "fan.speed": Field("of the most it can", lambda gpu: gpu.fan, "%"),
    "pstate": Field("performance state, P0 to P15", lambda gpu: gpu.performance_state),
    "clocks.gr": Field("graphics clock", lambda gpu: gpu.clock_graphics, "MHz"),
    "clocks.current.graphics": Field("the same as clocks.gr", lambda gpu: gpu.clock_graphics, "MHz"),
    "clocks.sm": Field("clock of the multiprocessors", lambda gpu: gpu.clock_sm, "MHz"),
    "clocks.current.sm": Field("the same as clocks.sm", lambda gpu: gpu.clock_sm, "MHz"),
    "clocks.mem": Field("memory clock", lambda gpu: gpu.clock_memory, "MHz"),
    "clocks.current.memory": Field("the same as clocks.mem", lambda gpu: gpu.clock_memory, "MHz"),
    "persistence_mode": Field("whether the driver stays loaded", lambda gpu: gpu.persistence),
    "display_active": Field("whether a display is set up", lambda gpu: gpu.display_active),
    "display_mode": Field("whether a display is connected", lambda gpu: gpu.display_mode),
    "compute_mode": Field("who may compute", lambda gpu: gpu.compute_mode),
    "mig.mode.current": Field("whether the GPU is divided by MIG", lambda gpu: gpu.mig_mode),
    "ecc.mode.current": Field("whether memory errors are corrected", lambda gpu: gpu.ecc_mode),
}

APP_FIELDS: Mapping[str, Field[App]] = {
    "timestamp": Field("when this was read", lambda app: now()),
    "gpu_name": Field("name of the GPU", lambda app: app[0].name),
    "gpu_bus_id": Field("its PCI address", lambda app: app[0].bus_id),
    "gpu_serial": Field("its serial number", lambda app: app[0].serial),
    "gpu_uuid": Field("unique id of the slice", lambda app: app[0].uuid),
    "pid": Field("process id", lambda app: app[1].pid),
    "process_name": Field("name of the process", lambda app: app[1].name),
    "name": Field("the same as process_name", lambda app: app[1].name),
    "used_gpu_memory": Field("GPU memory that it uses", lambda app: mib(app[1].used_bytes), "MiB"),
    "used_memory": Field("the same as used_gpu_memory", lambda app: mib(app[1].used_bytes), "MiB"),
}


@dataclass(frozen=True)
class CsvStyle:
    """What --format says besides csv."""

    header: bool = True
    units: bool = True


class UnknownField(Exception):
    """A field that there is not; the text is its name."""


def parse_fields(text: str, known: Mapping[str, Field[T]]) -> list[str]:
    """The names in a list with commas; raises UnknownField."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UnknownField(name)
    return names


def parse_style(text: str) -> CsvStyle:
    """What stands after --format=; raises ValueError with the part that is wrong."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in ("csv", "noheader", "nounits"):
            raise ValueError(part)
    if "csv" not in parts:
        raise ValueError(text)
    return CsvStyle(header="noheader" not in parts, units="nounits" not in parts)


def header(names: Sequence[str], known: Mapping[str, Field[T]]) -> str:
    """The first line."""
    return ", ".join(f"{name} [{known[name].unit}]" if known[name].unit else name for name in names)


def row(names: Sequence[str], known: Mapping[str, Field[T]], of: T, style: CsvStyle) -> str:
    """The line of one GPU or process."""
    return ", ".join(_shown(known[name].read(of), known[name].unit if style.units else "") for name in names)


def _shown(value: Value, unit: str) -> str:
    if value is None:
        return NOT_KNOWN
    if isinstance(value, bool):
        return "Enabled" if value else "Disabled"
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return f"{text} {unit}" if unit else text
