"""Device memory, page-locked host memory, the stream-ordered pool, pointer attributes, copies and memsets."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from typing import Any

import pytest
from software_gpu import (
    HOST_MEMORY_ALREADY_REGISTERED,
    HOST_MEMORY_NOT_REGISTERED,
    INVALID_HANDLE,
    INVALID_VALUE,
    NOT_FOUND,
    OUT_OF_MEMORY,
    Driver,
    Memcpy2D,
    Memcpy3D,
)

PAGE = 4096
HOST, DEVICE, ARRAY, UNIFIED = 1, 2, 3, 4
PATTERN = bytes(range(256))


def test_memory_is_zero_and_keeps_what_is_written(driver: Driver) -> None:
    memory = driver.allocate(100_000)
    assert memory % 256 == 0
    assert driver.download(memory, 100_000) == bytes(100_000)
    driver.upload(memory + 5, PATTERN)
    assert driver.download(memory + 5, 256) == PATTERN


def test_free_memory_counts(driver: Driver) -> None:
    free, total = driver.memory_info()
    memory = driver.allocate(3 << 20)
    assert driver.memory_info() == (free - (3 << 20), total)
    driver("cuMemFree_v2", memory)
    assert driver.memory_info() == (free, total)


def test_out_of_memory(driver: Driver) -> None:
    free, _ = driver.memory_info()
    address = ctypes.c_uint64()
    assert driver.result("cuMemAlloc_v2", ctypes.byref(address), free + 1) == OUT_OF_MEMORY
    assert driver.result("cuMemAlloc_v2", ctypes.byref(address), (1 << 64) - 1) == OUT_OF_MEMORY
    memory = driver.allocate(free)
    assert driver.result("cuMemAlloc_v2", ctypes.byref(address), 1) == OUT_OF_MEMORY
    driver("cuMemFree_v2", memory)
    driver.allocate(free)


def test_wrong_frees(driver: Driver) -> None:
    memory = driver.allocate(4096)
    assert driver.result("cuMemFree_v2", memory + 256) == INVALID_VALUE
    driver("cuMemFree_v2", memory)
    assert driver.result("cuMemFree_v2", memory) == INVALID_VALUE
    driver("cuMemFree_v2", 0)
    assert driver.result("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 0) == INVALID_VALUE


def test_freed_memory_and_the_page_after_an_allocation_cannot_be_used(driver: Driver) -> None:
    memory = driver.allocate(PAGE)
    assert driver.result("cuMemcpyHtoD_v2", memory + 1, bytes(PAGE), PAGE) == INVALID_VALUE
    driver("cuMemFree_v2", memory)
    assert driver.result("cuMemcpyHtoD_v2", memory, b"x", 1) == INVALID_VALUE
    assert driver.result("cuMemsetD8_v2", memory, 1, 1) == INVALID_VALUE


def test_pitched_allocation(driver: Driver) -> None:
    address, pitch = ctypes.c_uint64(), ctypes.c_size_t()
    driver("cuMemAllocPitch_v2", ctypes.byref(address), ctypes.byref(pitch), 700, 10, 4)
    assert pitch.value == 1024
    driver("cuMemsetD2D8_v2", address.value, pitch.value, 9, 700, 10)
    row = b"\x09" * 700 + bytes(324)
    assert driver.download(address.value, 10240) == row * 10
    result = driver.result("cuMemAllocPitch_v2", ctypes.byref(address), ctypes.byref(pitch), 700, 10, 5)
    assert result == INVALID_VALUE


def test_address_range(driver: Driver) -> None:
    memory = driver.allocate(5000)
    base, size = ctypes.c_uint64(), ctypes.c_size_t()
    driver("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), memory + 4999)
    assert (base.value, size.value) == (memory, 5000)
    assert driver.result("cuMemGetAddressRange_v2", None, None, memory + 5000) == NOT_FOUND


@pytest.mark.parametrize(
    ("function", "value", "unit"),
    [("D8", 0xAB, 1), ("D16", 0xABCD, 2), ("D32", 0x89ABCDEF, 4)],
)
def test_memsets(driver: Driver, function: str, value: int, unit: int) -> None:
    word = value.to_bytes(unit, "little")
    memory = driver.allocate(64 * unit)
    driver(f"cuMemset{function}_v2", memory, value, 32)
    assert driver.download(memory, 64 * unit) == word * 32 + bytes(32 * unit)
    driver(f"cuMemset{function}Async", memory + 32 * unit, value, 32, 0)
    assert driver.download(memory, 64 * unit) == word * 64
    driver("cuMemsetD8_v2", memory, 0, 64 * unit)
    driver(f"cuMemsetD2{function}_v2", memory, 16 * unit, value, 4, 2)
    driver(f"cuMemsetD2{function}Async", memory + 32 * unit, 16 * unit, value, 4, 2, 0)
    assert driver.download(memory, 64 * unit) == (word * 4 + bytes(12 * unit)) * 4
    if unit > 1:
        assert driver.result(f"cuMemset{function}_v2", memory + 1, value, 4) == INVALID_VALUE
    assert driver.result(f"cuMemset{function}_v2", memory, value, (1 << 64) // unit - 1) == INVALID_VALUE


def test_linear_copies(driver: Driver) -> None:
    first, second = driver.allocate(256), driver.allocate(256)
    target = ctypes.create_string_buffer(256)
    driver("cuMemcpyHtoDAsync_v2", first, PATTERN, 256, 0)
    driver("cuMemcpyDtoD_v2", second, first, 256)
    driver("cuMemcpyDtoDAsync_v2", second, first + 128, 64, 0)
    driver("cuMemcpyDtoHAsync_v2", target, second, 256, 0)
    assert target.raw == PATTERN[128:192] + PATTERN[64:]
    driver("cuMemcpy", first, ctypes.addressof(target), 256)
    assert driver.download(first, 256) == target.raw
    driver("cuMemcpyAsync", second, first, 256, 0)
    other = ctypes.create_string_buffer(256)
    driver("cuMemcpy", ctypes.addressof(other), second, 256)
    assert other.raw == target.raw
    driver("cuMemcpyHtoD_v2", first, PATTERN, 0)


def test_copies_of_overlapping_memory(driver: Driver) -> None:
    memory = driver.allocate(256)
    driver.upload(memory, PATTERN)
    driver("cuMemcpyDtoD_v2", memory + 1, memory, 255)
    assert driver.download(memory, 256) == b"\0" + PATTERN[:255]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_2d_copies(driver: Driver, asynchronous: bool) -> None:
    source = ctypes.create_string_buffer(PATTERN, 256)
    device, target = driver.allocate(32 * 16), ctypes.create_string_buffer(256)

    def copy(what: Memcpy2D) -> None:
        if asynchronous:
            driver("cuMemcpy2DAsync_v2", ctypes.byref(what), 0)
        else:
            driver("cuMemcpy2D_v2", ctypes.byref(what))

    rectangle = {"width": 5, "height": 3}
    source_side = {
        "src_type": HOST,
        "src_host": ctypes.addressof(source),
        "src_pitch": 16,
        "src_x": 2,
        "src_y": 4,
    }
    copy(
        Memcpy2D(
            **source_side, dst_type=DEVICE, dst_device=device, dst_pitch=32, dst_x=1, dst_y=2, **rectangle
        )
    )
    copy(
        Memcpy2D(
            src_type=UNIFIED,
            src_device=device,
            src_pitch=32,
            src_x=1,
            src_y=2,
            dst_type=UNIFIED,
            dst_device=ctypes.addressof(target),
            dst_pitch=16,
            dst_y=1,
            **rectangle,
        )
    )
    driver("cuCtxSynchronize")
    expected = bytearray(256)
    for row in range(3):
        expected[16 * (row + 1) : 16 * (row + 1) + 5] = PATTERN[16 * (row + 4) + 2 : 16 * (row + 4) + 7]
    assert target.raw == bytes(expected)


def test_3d_copies(driver: Driver) -> None:
    source = ctypes.create_string_buffer(PATTERN, 256)  # 4 planes of 8 rows of 8 bytes
    device, target = driver.allocate(8 * 16 * 32), ctypes.create_string_buffer(256)
    box = {"width": 3, "height": 2, "depth": 2}
    up = Memcpy3D(
        src_type=HOST,
        src_host=ctypes.addressof(source),
        src_pitch=8,
        src_height=8,
        src_x=1,
        src_y=2,
        src_z=1,
        dst_type=DEVICE,
        dst_device=device,
        dst_pitch=32,
        dst_height=16,
        dst_z=5,
        dst_y=7,
        dst_x=9,
        **box,
    )
    driver("cuMemcpy3DAsync_v2", ctypes.byref(up), 0)
    down = Memcpy3D(
        src_type=DEVICE,
        src_device=device,
        src_pitch=32,
        src_height=16,
        src_z=5,
        src_y=7,
        src_x=9,
        dst_type=HOST,
        dst_host=ctypes.addressof(target),
        dst_pitch=8,
        dst_height=8,
        **box,
    )
    driver("cuMemcpy3D_v2", ctypes.byref(down))
    expected = bytearray(256)
    for plane in range(2):
        for row in range(2):
            start = 64 * (plane + 1) + 8 * (row + 2) + 1
            expected[64 * plane + 8 * row : 64 * plane + 8 * row + 3] = PATTERN[start : start + 3]
    assert target.raw == bytes(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"dst_pitch": 4},
        {"src_type": 9},
        {"dst_y": (1 << 64) - 1},
        {"height": 1 << 62},
        {"width": 1 << 63},
        {"dst_device": 0},
    ],
)
def test_impossible_2d_copies_are_refused(driver: Driver, change: dict[str, int]) -> None:
    source = ctypes.create_string_buffer(256)
    good: dict[str, Any] = {
        "src_type": HOST,
        "src_host": ctypes.addressof(source),
        "src_pitch": 16,
        "dst_type": DEVICE,
        "dst_device": driver.allocate(256),
        "dst_pitch": 16,
        "width": 8,
        "height": 2,
    }
    driver("cuMemcpy2D_v2", ctypes.byref(Memcpy2D(**good)))
    assert driver.result("cuMemcpy2D_v2", ctypes.byref(Memcpy2D(**(good | change)))) == INVALID_VALUE


def test_a_copy_of_no_array_is_an_error(driver: Driver) -> None:
    what = Memcpy2D(src_type=ARRAY, dst_type=DEVICE, dst_device=driver.allocate(256), width=8, height=2)
    assert driver.result("cuMemcpy2D_v2", ctypes.byref(what)) == INVALID_HANDLE


def test_page_locked_allocation(driver: Driver) -> None:
    pointer = driver.get("cuMemHostAlloc", 5000, 3)
    ctypes.memset(pointer, 1, 5000)
    device, flags = ctypes.c_uint64(), ctypes.c_uint()
    driver("cuMemHostGetDevicePointer_v2", ctypes.byref(device), ctypes.c_void_p(pointer), 0)
    driver("cuMemHostGetFlags", ctypes.byref(flags), ctypes.c_void_p(pointer))
    assert (device.value, flags.value) == (pointer, 3)
    driver("cuMemsetD8_v2", pointer, 2, 100)
    driver("cuCtxSynchronize")
    assert ctypes.string_at(pointer, 101) == b"\x02" * 100 + b"\x01"
    driver("cuMemFreeHost", ctypes.c_void_p(pointer))
    assert driver.result("cuMemFreeHost", ctypes.c_void_p(pointer)) == INVALID_VALUE
    driver("cuMemFreeHost", ctypes.c_void_p(driver.get("cuMemAllocHost_v2", 100)))


@pytest.fixture
def mapping() -> Iterator[mmap.mmap]:
    descriptor = os.memfd_create("host-arena")
    os.ftruncate(descriptor, 64 * PAGE)
    with mmap.mmap(descriptor, 64 * PAGE) as mapped:
        os.close(descriptor)
        yield mapped


def address_of(mapped: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def test_registered_shared_mapping(driver: Driver, mapping: mmap.mmap) -> None:
    address = address_of(mapping)
    assert driver.result("cuMemsetD8_v2", address, 1, PAGE) == INVALID_VALUE, "not registered yet"
    driver("cuMemHostRegister_v2", ctypes.c_void_p(address), 64 * PAGE, 3)
    device = ctypes.c_uint64()
    driver("cuMemHostGetDevicePointer_v2", ctypes.byref(device), ctypes.c_void_p(address), 0)
    assert device.value == address
    memory = driver.allocate(PAGE)
    driver.upload(memory, PATTERN * 16)
    with driver.gate() as open_gate:
        driver("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(address + PAGE), memory, PAGE, 0)
        assert mapping[PAGE : 2 * PAGE] == bytes(PAGE), "a copy to registered memory does not wait"
        open_gate()
    assert mapping[PAGE : 2 * PAGE] == PATTERN * 16
    again = driver.result("cuMemHostRegister_v2", ctypes.c_void_p(address + PAGE), PAGE, 0)
    assert again == HOST_MEMORY_ALREADY_REGISTERED
    driver("cuMemHostUnregister", ctypes.c_void_p(address))
    assert driver.result("cuMemHostUnregister", ctypes.c_void_p(address)) == HOST_MEMORY_NOT_REGISTERED
    assert driver.result("cuMemsetD8_v2", address, 1, PAGE) == INVALID_VALUE, "not registered any more"


def test_registering_what_is_not_mapped_is_refused(driver: Driver) -> None:
    library = ctypes.CDLL(None)
    library.mmap.restype = ctypes.c_void_p
    shared_anonymous, read_only, read_write = 0x21, 1, 3
    writable, constant = (
        library.mmap(None, ctypes.c_size_t(4 * PAGE), protection, shared_anonymous, -1, ctypes.c_long(0))
        for protection in (read_write, read_only)
    )
    for address, size in ((writable, 1 << 40), (PAGE, PAGE), (constant, PAGE)):
        assert driver.result("cuMemHostRegister_v2", ctypes.c_void_p(address), size, 0) == INVALID_VALUE
    driver("cuMemHostRegister_v2", ctypes.c_void_p(writable), 4 * PAGE, 0)
    driver("cuMemHostUnregister", ctypes.c_void_p(writable))
    for address in (writable, constant):
        library.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4 * PAGE))


def test_pointer_attributes(driver: Driver) -> None:
    memory = driver.allocate(1000)
    kind, value = ctypes.c_uint(), ctypes.c_uint64()
    driver("cuPointerGetAttribute", ctypes.byref(kind), 2, memory + 10)
    assert kind.value == DEVICE
    for attribute, expected in (
        (3, memory + 10),
        (11, memory),
        (12, 1000),
        (1, driver.get("cuCtxGetCurrent")),
    ):
        driver("cuPointerGetAttribute", ctypes.byref(value), attribute, memory + 10)
        assert value.value == expected
    assert driver.result("cuPointerGetAttribute", ctypes.byref(value), 4, memory) == INVALID_VALUE
    pinned = driver.get("cuMemHostAlloc", 100, 0)
    driver("cuPointerGetAttribute", ctypes.byref(kind), 2, pinned)
    assert kind.value == HOST
    driver("cuPointerGetAttribute", ctypes.byref(value), 4, pinned + 1)
    assert value.value == pinned + 1
    driver("cuPointerSetAttribute", ctypes.byref(ctypes.c_uint(1)), 6, memory)


def test_plain_host_memory_is_unknown(driver: Driver) -> None:
    buffer = ctypes.create_string_buffer(100)
    address = ctypes.addressof(buffer)
    kind, ordinal, managed = ctypes.c_uint(9), ctypes.c_int(9), ctypes.c_uint(9)
    assert driver.result("cuPointerGetAttribute", ctypes.byref(kind), 2, address) == INVALID_VALUE
    attributes = (ctypes.c_int * 3)(2, 9, 8)
    results = (ctypes.c_void_p * 3)(*[ctypes.addressof(each) for each in (kind, ordinal, managed)])
    driver("cuPointerGetAttributes", 3, attributes, results, address)
    assert (kind.value, ordinal.value, managed.value) == (0, -2, 0)


def test_stream_ordered_allocation(driver: Driver) -> None:
    stream = driver.get("cuStreamCreate", 1)
    free, _ = driver.memory_info()
    pool = driver.get("cuDeviceGetDefaultMemPool", 0)
    assert driver.get("cuDeviceGetMemPool", 0) == pool
    memory = driver.get("cuMemAllocAsync", 1 << 20, stream)
    driver("cuMemsetD8Async", memory, 3, 1 << 20, stream)
    with driver.gate(stream) as open_gate:
        driver("cuMemFreeAsync", memory, stream)
        assert driver.result("cuMemFreeAsync", memory, stream) == INVALID_VALUE
        assert driver.memory_info()[0] == free - (1 << 20), "freed when the stream comes to it"
        open_gate()
    assert driver.memory_info()[0] == free
    used = ctypes.c_uint64(1)
    driver("cuMemPoolGetAttribute", pool, 7, ctypes.byref(used))
    assert used.value == 0
    driver("cuMemPoolGetAttribute", pool, 8, ctypes.byref(used))
    assert used.value >= 1 << 20
    other = driver.get("cuMemAllocFromPoolAsync", 4096, pool, stream)
    driver("cuMemFree_v2", other)
    driver("cuMemPoolSetAttribute", pool, 4, ctypes.byref(ctypes.c_uint64(1 << 30)))
    driver("cuMemPoolTrimTo", pool, 0)


def test_allocation_waits_for_memory_that_is_being_freed(driver: Driver) -> None:
    free, _ = driver.memory_info()
    memory = driver.get("cuMemAllocAsync", free - (1 << 20), 0)
    driver("cuMemFreeAsync", memory, 0)
    driver("cuMemFree_v2", driver.allocate(free - (1 << 20)))
