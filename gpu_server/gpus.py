"""The inventory: which GPUs the daemon shares, what workers need to open each, and how busy they are.

Host GPUs are asked through NVML, which may block for long when a driver is in trouble, so samples are taken in a
thread and kept for a second. The software GPU is one GPU whose library comes with this package.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu_server.config import TFusionServer
from gpu_server.driver_library import find_host_driver, find_software_gpu
from gpu_server.errors import TFusionError
from gpu_server.sizes import GIB, MIB, format_size

SAMPLE_AGE_S = 1.0
SOFTWARE_MEMORY_BYTES = 1 * GIB
SOFTWARE_LEAST_BYTES = 16 * MIB  # its library refuses less
SOFTWARE_UUID = f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, 'software.gpu.tfusion')}"
UNKNOWN_PERCENT = -1


@dataclass(frozen=True)
class Gpu:
    """One GPU to share. ``environment`` is what a worker process needs to see this GPU as its device 0."""

    uuid: str
    name: str
    software: bool
    total_bytes: int
    usable_bytes: int
    driver_path: Path
    driver_version: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HostGpu:
    """What NVML says of one GPU."""

    uuid: str
    name: str
    total_bytes: int
    driver_version: str


class Nvml:
    """The few questions we ask NVML; every method may block, and raises TFusionError."""

    def gpus(self) -> list[HostGpu]:
        """The host's GPUs; empty where there is no NVML."""
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return []
        try:
            version = _text(pynvml.nvmlSystemGetDriverVersion())
            found = []
            for index in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                found.append(
                    HostGpu(
                        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
                        name=_text(pynvml.nvmlDeviceGetName(handle)),
                        total_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                        driver_version=version,
                    )
                )
            return found
        except pynvml.NVMLError as error:
            raise TFusionError(
                f"The NVIDIA driver does not answer: {error}. Run nvidia-smi on this host; if it fails as well, "
                "the driver has to be repaired first."
            ) from None

    def utilization_percent(self, gpu_uuid: str) -> int:
        """How busy the GPU was lately, or UNKNOWN_PERCENT."""
        import pynvml

        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(gpu_uuid)
            return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        except pynvml.NVMLError:
            return UNKNOWN_PERCENT


class Inventory:
    """The daemon's GPUs. Made once at its start; facts that only a worker can know are added as they come."""

    def __init__(self, gpus: list[Gpu], nvml: Nvml, clock: Callable[[], float] = time.monotonic) -> None:
        self._gpus = {gpu.uuid: gpu for gpu in gpus}
        self._nvml = nvml
        self._clock = clock
        self._samples: dict[str, int] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._sampled_at = float("-inf")
        self._sampling: asyncio.Task[None] | None = None

    def gpus(self) -> list[Gpu]:
        """All GPUs, in the driver's order."""
        return list(self._gpus.values())

    def gpu(self, gpu_uuid: str) -> Gpu:
        """The GPU of that UUID."""
        return self._gpus[gpu_uuid]

    def note_facts(self, gpu_uuid: str, facts: Mapping[str, Any]) -> None:
        """A worker has opened the GPU: take over what the inventory could not find out itself."""
        gpu = self._gpus[gpu_uuid]
        self._facts[gpu_uuid] = dict(facts)
        version = facts.get("driver_version")
        if isinstance(version, int):  # as cuDriverGetVersion gives it: 13020 is 13.2
            version = f"{version // 1000}.{version % 1000 // 10}"
        if gpu.software:
            name = facts.get("name")
            self._gpus[gpu_uuid] = replace(
                gpu,
                name=str(name) if name else gpu.name,
                driver_version=str(version) if version else gpu.driver_version,
            )

    def facts(self, gpu_uuid: str) -> Mapping[str, Any]:
        """What workers said of the GPU; empty before the first one has opened it."""
        return self._facts.get(gpu_uuid, {})

    async def utilization_percent(self) -> dict[str, int]:
        """Per GPU how busy it was within the last second or so; UNKNOWN_PERCENT where nobody can tell."""
        if self._clock() - self._sampled_at >= SAMPLE_AGE_S:
            if self._sampling is None or self._sampling.done():
                self._sampling = asyncio.create_task(self._sample())
            # A driver in trouble answers late: callers get the last values, and the sample comes when it comes.
            await asyncio.wait([self._sampling], timeout=0.5)
        return {gpu.uuid: self._samples.get(gpu.uuid, UNKNOWN_PERCENT) for gpu in self.gpus()}

    async def _sample(self) -> None:
        for gpu in self.gpus():
            if not gpu.software:
                self._samples[gpu.uuid] = await asyncio.to_thread(self._nvml.utilization_percent, gpu.uuid)
        self._sampled_at = self._clock()


def take_inventory(config: TFusionServer, runtime_folder: Path, nvml: Nvml | None = None) -> Inventory:
    """Finds the GPUs that ``config.device`` asks for; raises TFusionError with a sentence if there are none."""
    nvml = nvml or Nvml()
    if config.device == "software":
        return Inventory([_software_gpu(config, runtime_folder)], nvml)
    driver = find_host_driver(config.driver_library)
    host = _chosen(nvml.gpus(), config.gpus)
    if driver is not None and host:
        return Inventory([_host_gpu(gpu, driver, config.memory) for gpu in host], nvml)
    if config.device == "nvidia":
        missing = (
            "NVML reports no NVIDIA GPU (or CUDA_VISIBLE_DEVICES hides it)"
            if driver is not None
            else "no libcuda.so.1 of an NVIDIA driver was found"
        )
        raise TFusionError(
            f"This host has no NVIDIA GPU to share: {missing}. Install the driver (nvidia-smi must work), set "
            "TFusionServer.driver_library, or start with --device software."
        )
    return Inventory([_software_gpu(config, runtime_folder)], nvml)


def _chosen(found: list[HostGpu], configured: list[str]) -> list[HostGpu]:
    """Those of the host's GPUs that are to be shared; raises TFusionError for a name that none has."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if configured:
        names, origin = configured, "TFusionServer.gpus"
    elif visible is not None:
        names, origin = (
            [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")],
            "CUDA_VISIBLE_DEVICES",
        )
    else:
        return found
    chosen: dict[str, HostGpu] = {}
    for name in names:
        if name.isascii() and name.isdigit():
            matching = found[int(name) : int(name) + 1]
        else:
            matching = [gpu for gpu in found if gpu.uuid.startswith(name)]
        if len(matching) != 1:
            there = ", ".join(f"{i}: {gpu.uuid}" for i, gpu in enumerate(found)) or "none"
            raise TFusionError(
                f"{origin} names the GPU '{name}', which this host does not have. It has {there}."
            )
        chosen[matching[0].uuid] = matching[0]
    return list(chosen.values())


def _host_gpu(gpu: HostGpu, driver: Path, memory: int) -> Gpu:
    if memory > gpu.total_bytes:
        raise TFusionError(
            f"--memory asks for {format_size(memory)}, but {gpu.name} ({gpu.uuid}) has "
            f"{format_size(gpu.total_bytes)}. Ask for less."
        )
    return Gpu(
        uuid=gpu.uuid,
        name=gpu.name,
        software=False,
        total_bytes=gpu.total_bytes,
        usable_bytes=memory or gpu.total_bytes,
        driver_path=driver,
        driver_version=gpu.driver_version,
        environment={"CUDA_VISIBLE_DEVICES": gpu.uuid},
    )


def _software_gpu(config: TFusionServer, runtime_folder: Path) -> Gpu:
    memory = config.memory or SOFTWARE_MEMORY_BYTES
    if memory < SOFTWARE_LEAST_BYTES:
        raise TFusionError(
            f"--memory gives the software GPU {format_size(memory)}; it needs at least "
            f"{format_size(SOFTWARE_LEAST_BYTES)}. Give it more."
        )
    return Gpu(
        uuid=SOFTWARE_UUID,
        name="Software GPU (tfusion)",
        software=True,
        total_bytes=memory,
        usable_bytes=memory,
        driver_path=find_software_gpu(config.software_library),
        environment={
            "CUDA_VISIBLE_DEVICES": "0",
            "TFUSION_SOFTWARE_STATE": str(runtime_folder / "software-gpu.state"),
            "TFUSION_SOFTWARE_MEMORY": str(memory),
        },
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
