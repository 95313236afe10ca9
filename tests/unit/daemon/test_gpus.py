"""The inventory takes the GPUs that were asked for, and samples them without holding anybody up."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gpu_server.config import load_config
from gpu_server.errors import TFusionError
from gpu_server.gpus import UNKNOWN_PERCENT, HostGpu, Nvml, take_inventory

GIB = 1 << 30


class FakeNvml(Nvml):
    def __init__(self, *gpus: HostGpu) -> None:
        self.found = list(gpus)
        self.asked = 0
        self.answer = threading.Event()
        self.answer.set()

    def gpus(self) -> list[HostGpu]:
        return self.found

    def utilization_percent(self, gpu_uuid: str) -> int:
        self.answer.wait()
        self.asked += 1
        return 40 + self.asked


@pytest.fixture
def driver(tmp_path: Path) -> str:
    path = tmp_path / "libcuda-of-the-host.so"
    path.write_bytes(b"\x7fELF")
    return str(path)


ONE = HostGpu("GPU-1", "H200", 140 * GIB, "580.1")


def test_auto_takes_the_hosts_gpus_where_there_are_some(tmp_path: Path, driver: str) -> None:
    two = HostGpu("GPU-2", "H200", 140 * GIB, "580.1")
    inventory = take_inventory(load_config(None, {"driver_library": driver}), tmp_path, FakeNvml(ONE, two))
    first, second = inventory.gpus()
    assert (first.name, first.software, first.usable_bytes, first.driver_version) == (
        "H200",
        False,
        140 * GIB,
        "580.1",
    )
    assert first.driver_path == Path(driver)
    assert second.environment == {"CUDA_VISIBLE_DEVICES": "GPU-2"}


def test_memory_bounds_a_real_gpu_but_cannot_exceed_it(tmp_path: Path, driver: str) -> None:
    config = load_config(None, {"driver_library": driver, "memory": "16GiB"})
    assert take_inventory(config, tmp_path, FakeNvml(ONE)).gpus()[0].usable_bytes == 16 * GIB
    config = load_config(None, {"driver_library": driver, "memory": "200GiB"})
    with pytest.raises(TFusionError, match=r"200\.0 GiB.*has 140\.0 GiB"):
        take_inventory(config, tmp_path, FakeNvml(ONE))


def test_auto_falls_to_the_software_gpu_and_nvidia_does_not(tmp_path: Path, driver: str) -> None:
    (gpu,) = take_inventory(load_config(None, {"driver_library": driver}), tmp_path, FakeNvml()).gpus()
    assert gpu.software
    assert gpu.usable_bytes == GIB
    with pytest.raises(TFusionError, match="NVML reports no NVIDIA GPU"):
        take_inventory(
            load_config(None, {"device": "nvidia", "driver_library": driver}), tmp_path, FakeNvml()
        )


@pytest.mark.parametrize(
    ("configured", "visible", "shared"),
    [
        ([], None, ["GPU-1a", "GPU-2b"]),
        ([], "1", ["GPU-2b"]),
        ([], "GPU-2,0", ["GPU-2b", "GPU-1a"]),
        (["0", "GPU-1a"], "1", ["GPU-1a"]),
    ],
)
def test_the_host_may_keep_gpus_for_itself(
    tmp_path: Path,
    driver: str,
    monkeypatch: pytest.MonkeyPatch,
    configured: list[str],
    visible: str | None,
    shared: list[str],
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = FakeNvml(HostGpu("GPU-1a", "H200", GIB, "1"), HostGpu("GPU-2b", "H200", GIB, "1"))
    inventory = take_inventory(
        load_config(None, {"driver_library": driver, "gpus": configured}), tmp_path, nvml
    )
    assert [gpu.uuid for gpu in inventory.gpus()] == shared


@pytest.mark.parametrize("name", ["2", "GPU-", "GPU-3", "MIG-1"])
def test_a_gpu_that_is_not_there_is_named(tmp_path: Path, driver: str, name: str) -> None:
    nvml = FakeNvml(HostGpu("GPU-1a", "H200", GIB, "1"), HostGpu("GPU-2b", "H200", GIB, "1"))
    with pytest.raises(TFusionError, match=rf"names the GPU '{name}'.*It has 0: GPU-1a, 1: GPU-2b"):
        take_inventory(load_config(None, {"driver_library": driver, "gpus": [name]}), tmp_path, nvml)


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_are_not_shared(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    config = load_config(None, {"driver_library": driver})
    assert take_inventory(config, tmp_path, FakeNvml(ONE)).gpus()[0].software


def test_the_software_gpu_is_told_its_memory_and_its_state_file(tmp_path: Path) -> None:
    config = load_config(None, {"device": "software", "memory": "256MiB"})
    (gpu,) = take_inventory(config, tmp_path, FakeNvml(ONE)).gpus()
    assert gpu.environment["TFUSION_SOFTWARE_MEMORY"] == str(256 << 20)
    assert Path(gpu.environment["TFUSION_SOFTWARE_STATE"]).parent == tmp_path


def test_a_software_gpu_too_small_to_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TFusionError, match=r"8 MiB; it needs at least 16 MiB"):
        take_inventory(load_config(None, {"device": "software", "memory": "8MiB"}), tmp_path, FakeNvml())


async def test_a_sample_serves_for_a_second(tmp_path: Path, driver: str) -> None:
    nvml = FakeNvml(ONE)
    inventory = take_inventory(load_config(None, {"driver_library": driver}), tmp_path, nvml)
    now = 0.0
    inventory._clock = lambda: now
    assert await inventory.utilization_percent() == {"GPU-1": 41}
    assert await inventory.utilization_percent() == {"GPU-1": 41}
    now = 1.0
    assert await inventory.utilization_percent() == {"GPU-1": 42}


async def test_a_driver_that_hangs_holds_nobody_up(tmp_path: Path, driver: str) -> None:
    nvml = FakeNvml(ONE)
    inventory = take_inventory(load_config(None, {"driver_library": driver}), tmp_path, nvml)
    nvml.answer.clear()
    assert await inventory.utilization_percent() == {"GPU-1": UNKNOWN_PERCENT}
    nvml.answer.set()


async def test_the_software_gpus_load_is_unknown(tmp_path: Path) -> None:
    inventory = take_inventory(load_config(None, {"device": "software"}), tmp_path, FakeNvml())
    (gpu,) = inventory.gpus()
    assert await inventory.utilization_percent() == {gpu.uuid: UNKNOWN_PERCENT}


def test_a_worker_tells_the_software_gpus_name_and_version(tmp_path: Path) -> None:
    inventory = take_inventory(load_config(None, {"device": "software"}), tmp_path, FakeNvml())
    (gpu,) = inventory.gpus()
    inventory.note_facts(gpu.uuid, {"name": "Software GPU (4 threads)", "driver_version": 13020})
    assert inventory.gpu(gpu.uuid).name == "Software GPU (4 threads)"
    assert inventory.gpu(gpu.uuid).driver_version == "13.2"
