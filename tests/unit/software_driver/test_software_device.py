"""The device, its attributes, errors' names and the lookup of functions."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from software_gpu import INVALID_DEVICE, INVALID_VALUE, NOT_FOUND, NOT_INITIALIZED, Driver

Script = Callable[..., subprocess.CompletedProcess[str]]


def attribute(driver: Driver, number: int) -> int:
    value = ctypes.c_int()
    driver("cuDeviceGetAttribute", ctypes.byref(value), number, 0)
    return value.value


def test_one_device_of_capability_7_5(driver: Driver) -> None:
    assert driver.get("cuDeviceGetCount", kind=ctypes.c_int) == 1
    assert driver.get("cuDeviceGet", 0, kind=ctypes.c_int) == 0
    assert driver.get("cuDriverGetVersion", kind=ctypes.c_int) == 13000
    assert (attribute(driver, 75), attribute(driver, 76)) == (7, 5)
    major, minor = ctypes.c_int(), ctypes.c_int()
    driver("cuDeviceComputeCapability", ctypes.byref(major), ctypes.byref(minor), 0)
    assert (major.value, minor.value) == (7, 5)
    name = ctypes.create_string_buffer(64)
    driver("cuDeviceGetName", name, 64, 0)
    assert name.value == b"Software GPU (tfusion)"
    assert driver.get("cuDeviceTotalMem_v2", 0) == 1 << 30


def test_other_devices_are_refused(driver: Driver) -> None:
    value = ctypes.c_int()
    assert driver.result("cuDeviceGet", ctypes.byref(value), 1) == INVALID_DEVICE
    assert driver.result("cuDeviceGetAttribute", ctypes.byref(value), 75, 1) == INVALID_DEVICE
    assert driver.result("cuDeviceGetAttribute", ctypes.byref(value), 100000, 0) == INVALID_VALUE
    assert driver.result("cuDeviceGetAttribute", ctypes.byref(value), 0, 0) == INVALID_VALUE


def test_attributes_fit_together(driver: Driver) -> None:
    threads_per_block, shared, opt_in, per_multiprocessor = (attribute(driver, n) for n in (1, 8, 97, 81))
    assert threads_per_block == 1024
    assert attribute(driver, 10) == 32
    assert threads_per_block <= attribute(driver, 39)
    assert (shared, opt_in) == (48 << 10, 64 << 10)
    assert opt_in <= per_multiprocessor
    assert attribute(driver, 12) == 65536
    assert attribute(driver, 16) >= 1
    assert attribute(driver, 41) == 1, "unified addressing"
    assert attribute(driver, 102) == 1, "virtual memory management"
    assert attribute(driver, 83) == 0, "managed memory"


def test_every_attribute_has_an_answer(driver: Driver) -> None:
    assert all(attribute(driver, number) >= -1 for number in range(1, 148))


def test_pci_address_leads_back_to_the_device(driver: Driver) -> None:
    text = ctypes.create_string_buffer(32)
    driver("cuDeviceGetPCIBusId", text, 32, 0)
    assert driver.get("cuDeviceGetByPCIBusId", text, kind=ctypes.c_int) == 0
    device = ctypes.c_int()
    assert driver.result("cuDeviceGetByPCIBusId", ctypes.byref(device), b"0000:17:00.0") == INVALID_DEVICE
    assert driver.result("cuDeviceGetByPCIBusId", ctypes.byref(device), b"nonsense") == INVALID_VALUE
    assert driver.result("cuDeviceGetPCIBusId", text, 4, 0) == INVALID_VALUE


def test_uuid_is_the_same_by_both_names(driver: Driver) -> None:
    first, second = (ctypes.create_string_buffer(16) for _ in range(2))
    driver("cuDeviceGetUuid", first, 0)
    driver("cuDeviceGetUuid_v2", second, 0)
    assert first.raw == second.raw != bytes(16)


def test_errors_have_names_and_descriptions(driver: Driver) -> None:
    text = ctypes.c_char_p()
    for code, name, description in (
        (0, b"CUDA_SUCCESS", b"no error"),
        (2, b"CUDA_ERROR_OUT_OF_MEMORY", b"out of memory"),
        (700, b"CUDA_ERROR_ILLEGAL_ADDRESS", b"an illegal memory access was encountered"),
        (999, b"CUDA_ERROR_UNKNOWN", b"unknown error"),
    ):
        driver("cuGetErrorName", code, ctypes.byref(text))
        assert text.value == name
        driver("cuGetErrorString", code, ctypes.byref(text))
        assert text.value == description
    assert driver.result("cuGetErrorName", 12345, ctypes.byref(text)) == INVALID_VALUE
    assert text.value is None


@pytest.mark.parametrize(
    ("name", "version", "exported"),
    [
        ("cuMemAlloc", 13000, "cuMemAlloc_v2"),
        ("cuInit", 2000, "cuInit"),
        ("cuCtxCreate", 13000, "cuCtxCreate_v4"),
        ("cuCtxCreate", 12000, "cuCtxCreate_v2"),
        ("cuMemcpyHtoDAsync", 13000, "cuMemcpyHtoDAsync_v2"),
        ("cuGetProcAddress", 12000, "cuGetProcAddress_v2"),
        ("cuGraphLaunch", 13000, "cuGraphLaunch"),
        ("cuGraphInstantiate", 12000, "cuGraphInstantiateWithFlags"),
        ("cuGraphInstantiate", 11080, "cuGraphInstantiate_v2"),
        ("cuGraphAddKernelNode", 12000, "cuGraphAddKernelNode_v2"),
        ("cuGraphAddKernelNode", 11080, "cuGraphAddKernelNode"),
        ("cuGraphAddNode", 12020, "cuGraphAddNode"),
        ("cuGraphAddNode", 13000, "cuGraphAddNode_v2"),
        ("cuStreamGetCaptureInfo", 12030, "cuStreamGetCaptureInfo_v3"),
        ("cuStreamGetCaptureInfo", 11030, "cuStreamGetCaptureInfo_v2"),
        ("cuStreamGetCaptureInfo", 11000, "cuStreamGetCaptureInfo"),
    ],
)
def test_functions_are_found_by_plain_names(driver: Driver, name: str, version: int, exported: str) -> None:
    found, status = ctypes.c_void_p(), ctypes.c_int(-1)
    driver("cuGetProcAddress_v2", name.encode(), ctypes.byref(found), version, 0, ctypes.byref(status))
    assert found.value == ctypes.cast(driver.library[exported], ctypes.c_void_p).value
    assert status.value == 0


@pytest.mark.parametrize("name", ["cuTexRefCreate", "malloc", "", "tfusionSoftwareSetPrint"])
def test_what_the_driver_lacks_is_not_found(driver: Driver, name: str) -> None:
    found, status = ctypes.c_void_p(1), ctypes.c_int(-1)
    arguments = (name.encode(), ctypes.byref(found), 13000, 0, ctypes.byref(status))
    assert driver.result("cuGetProcAddress_v2", *arguments) == NOT_FOUND
    assert found.value is None
    assert status.value == 1


def test_no_export_tables(driver: Driver) -> None:
    table = ctypes.c_void_p(1)
    assert driver.result("cuGetExportTable", ctypes.byref(table), bytes(16)) == NOT_FOUND
    assert table.value is None


def test_only_the_drivers_names_are_exported(library_path: Path) -> None:
    names = subprocess.run(
        ["nm", "-D", "--defined-only", str(library_path)], capture_output=True, text=True, check=True
    ).stdout.split()[2::3]
    assert len(names) > 150
    assert [name for name in names if not name.startswith("cu")] == ["tfusionSoftwareSetPrint"]


def test_calls_before_init_say_so(run_script: Script) -> None:
    done = run_script("""
value = ctypes.c_int()
print(driver.result("cuDeviceGetCount", ctypes.byref(value)), driver.result("cuCtxSynchronize"))
print(driver.result("cuInit", 1), driver.result("cuInit", 0), driver.result("cuInit", 0))
print(driver.result("cuDeviceGetCount", ctypes.byref(value)))
""")
    assert done.stdout.split() == [str(code) for code in (NOT_INITIALIZED, NOT_INITIALIZED, 1, 0, 0, 0)]


@pytest.mark.parametrize("setting", ["many", "-5", "12GiB", "4096"])
def test_unusable_memory_setting_is_named(run_script: Script, setting: str) -> None:
    done = run_script("print(driver.result('cuInit', 0))", TFUSION_SOFTWARE_MEMORY=setting)
    assert done.stdout.strip() == "802"
    assert "TFUSION_SOFTWARE_MEMORY" in done.stderr
    assert setting in done.stderr


def test_memory_setting_is_the_total(run_script: Script) -> None:
    done = run_script(
        "driver('cuInit', 0); print(driver.get('cuDeviceTotalMem_v2', 0))",
        TFUSION_SOFTWARE_MEMORY="268435456",
    )
    assert done.stdout.strip() == "268435456"
