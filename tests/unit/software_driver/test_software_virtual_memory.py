"""Virtual memory: reservations, physical memory, mappings, access."""

from __future__ import annotations

import ctypes

import pytest
from software_gpu import (
    DEVICE_MEMORY,
    GRANULARITY,
    INVALID_DEVICE,
    INVALID_HANDLE,
    INVALID_VALUE,
    NOT_SUPPORTED,
    OUT_OF_MEMORY,
    AccessDescription,
    AllocationProperties,
    Driver,
    Location,
)

ARENA = 0x500000000000
TIB = 1 << 40


def reserve(driver: Driver, size: int, hint: int = 0, alignment: int = 0) -> int:
    return int(driver.get("cuMemAddressReserve", size, alignment, hint, 0))


def test_granularity(driver: Driver) -> None:
    for option in (0, 1):
        assert driver.get("cuMemGetAllocationGranularity", ctypes.byref(DEVICE_MEMORY), option) == GRANULARITY


def test_four_tebibytes_at_a_fixed_address(driver: Driver) -> None:
    assert reserve(driver, 4 * TIB, ARENA) == ARENA
    try:
        for where in (ARENA, ARENA + 3 * TIB, ARENA + 4 * TIB - 2 * GRANULARITY):
            driver.map_memory(where, 2 * GRANULARITY)
            assert driver.download(where, 16) == bytes(16)
            driver.upload(where + 2 * GRANULARITY - 5, b"hello")
            assert driver.download(where + 2 * GRANULARITY - 5, 5) == b"hello"
            driver("cuMemUnmap", where, 2 * GRANULARITY)
    finally:
        driver("cuMemAddressFree", ARENA, 4 * TIB)


def test_a_taken_hint_gives_another_address(driver: Driver) -> None:
    first = reserve(driver, GRANULARITY)
    second = reserve(driver, GRANULARITY, first)
    assert second != first
    for each in (first, second):
        driver("cuMemAddressFree", each, GRANULARITY)


def test_alignment_is_kept(driver: Driver) -> None:
    where = reserve(driver, GRANULARITY, alignment=1 << 30)
    assert where % (1 << 30) == 0
    driver("cuMemAddressFree", where, GRANULARITY)
    for size, alignment in ((GRANULARITY + 1, 0), (0, 0), (GRANULARITY, 3)):
        result = driver.result("cuMemAddressReserve", ctypes.byref(ctypes.c_uint64()), size, alignment, 0, 0)
        assert result == INVALID_VALUE


def test_nothing_may_be_touched_before_access_is_set(driver: Driver) -> None:
    where = reserve(driver, GRANULARITY)
    assert driver.result("cuMemcpyHtoD_v2", where, b"x", 1) == INVALID_VALUE
    assert driver.result("cuMemcpy", where, where, 1) == INVALID_VALUE
    handle = driver.get("cuMemCreate", GRANULARITY, ctypes.byref(DEVICE_MEMORY), 0)
    driver("cuMemMap", where, GRANULARITY, 0, handle, 0)
    flags = ctypes.c_uint64(9)
    driver("cuMemGetAccess", ctypes.byref(flags), ctypes.byref(Location(1, 0)), where)
    assert flags.value == 0
    assert driver.result("cuMemcpyHtoD_v2", where, b"x", 1) == INVALID_VALUE
    driver.set_access(where, GRANULARITY)
    driver("cuMemGetAccess", ctypes.byref(flags), ctypes.byref(Location(1, 0)), where)
    assert flags.value == 3
    driver.upload(where, b"x")
    driver.set_access(where, GRANULARITY, 0)
    assert driver.result("cuMemcpyHtoD_v2", where, b"x", 1) == INVALID_VALUE
    driver.set_access(where, GRANULARITY)
    assert driver.download(where, 1) == b"x"
    driver("cuMemUnmap", where, GRANULARITY)
    driver("cuMemRelease", handle)
    driver("cuMemAddressFree", where, GRANULARITY)


def test_memory_taken_away_and_given_back_keeps_its_content(driver: Driver) -> None:
    where = reserve(driver, 2 * GRANULARITY)
    handle = driver.get("cuMemCreate", GRANULARITY, ctypes.byref(DEVICE_MEMORY), 0)
    driver("cuMemMap", where, GRANULARITY, 0, handle, 0)
    driver.set_access(where, GRANULARITY)
    driver.upload(where + 100, b"kept")
    driver("cuMemUnmap", where, GRANULARITY)
    driver("cuMemMap", where + GRANULARITY, GRANULARITY, 0, handle, 0)
    driver.set_access(where + GRANULARITY, GRANULARITY)
    assert driver.download(where + GRANULARITY + 100, 4) == b"kept"
    driver("cuMemUnmap", where + GRANULARITY, GRANULARITY)
    driver("cuMemRelease", handle)
    driver("cuMemAddressFree", where, 2 * GRANULARITY)


def test_memory_mapped_twice_is_one_memory(driver: Driver) -> None:
    where = reserve(driver, 2 * GRANULARITY)
    handle = driver.get("cuMemCreate", GRANULARITY, ctypes.byref(DEVICE_MEMORY), 0)
    for each in (where, where + GRANULARITY):
        driver("cuMemMap", each, GRANULARITY, 0, handle, 0)
    driver.set_access(where, 2 * GRANULARITY)
    driver.upload(where, b"one")
    assert driver.download(where + GRANULARITY, 3) == b"one"
    driver("cuMemUnmap", where, 2 * GRANULARITY)
    driver("cuMemRelease", handle)
    driver("cuMemAddressFree", where, 2 * GRANULARITY)


def test_fresh_memory_is_zero(driver: Driver) -> None:
    where = reserve(driver, GRANULARITY)
    for _ in range(3):
        driver.map_memory(where, GRANULARITY)
        assert driver.download(where, GRANULARITY) == bytes(GRANULARITY)
        driver("cuMemsetD8_v2", where, 0xFF, GRANULARITY)
        driver("cuMemUnmap", where, GRANULARITY)
    driver("cuMemAddressFree", where, GRANULARITY)


def test_memory_counts_until_handle_and_mappings_are_gone(driver: Driver) -> None:
    free, _ = driver.memory_info()
    where = reserve(driver, GRANULARITY)
    handle = driver.get("cuMemCreate", GRANULARITY, ctypes.byref(DEVICE_MEMORY), 0)
    assert driver.memory_info()[0] == free - GRANULARITY
    driver("cuMemMap", where, GRANULARITY, 0, handle, 0)
    driver("cuMemRelease", handle)
    assert driver.result("cuMemRelease", handle) == INVALID_HANDLE
    assert driver.memory_info()[0] == free - GRANULARITY
    again = driver.get("cuMemRetainAllocationHandle", ctypes.c_void_p(where + 5))
    assert again == handle
    driver("cuMemUnmap", where, GRANULARITY)
    assert driver.memory_info()[0] == free - GRANULARITY
    driver("cuMemRelease", handle)
    assert driver.memory_info()[0] == free
    driver("cuMemAddressFree", where, GRANULARITY)


def test_out_of_memory(driver: Driver) -> None:
    _, total = driver.memory_info()
    handle = ctypes.c_uint64()
    size = total + GRANULARITY
    assert (
        driver.result("cuMemCreate", ctypes.byref(handle), size, ctypes.byref(DEVICE_MEMORY), 0)
        == OUT_OF_MEMORY
    )


def test_properties_come_back(driver: Driver) -> None:
    handle = driver.get("cuMemCreate", GRANULARITY, ctypes.byref(DEVICE_MEMORY), 0)
    properties = AllocationProperties()
    driver("cuMemGetAllocationPropertiesFromHandle", ctypes.byref(properties), handle)
    assert (properties.type, properties.location.type, properties.location.id) == (1, 1, 0)
    driver("cuMemRelease", handle)


@pytest.mark.parametrize(
    ("properties", "size", "code"),
    [
        (DEVICE_MEMORY, GRANULARITY - 1, INVALID_VALUE),
        (DEVICE_MEMORY, 0, INVALID_VALUE),
        (AllocationProperties(type=1, location=Location(1, 1)), GRANULARITY, INVALID_DEVICE),
        (AllocationProperties(type=1, location=Location(2, 0)), GRANULARITY, NOT_SUPPORTED),
        (AllocationProperties(type=1, handle_types=1, location=Location(1, 0)), GRANULARITY, NOT_SUPPORTED),
        (AllocationProperties(type=0, location=Location(1, 0)), GRANULARITY, INVALID_VALUE),
    ],
)
def test_impossible_memory_is_refused(
    driver: Driver, properties: AllocationProperties, size: int, code: int
) -> None:
    result = driver.result("cuMemCreate", ctypes.byref(ctypes.c_uint64()), size, ctypes.byref(properties), 0)
    assert result == code


def test_wrong_mappings_are_refused(driver: Driver) -> None:
    where = reserve(driver, 4 * GRANULARITY)
    handle = driver.get("cuMemCreate", 2 * GRANULARITY, ctypes.byref(DEVICE_MEMORY), 0)

    def mapped(address: int, size: int = 2 * GRANULARITY, offset: int = 0, memory: int = handle) -> int:
        return driver.result("cuMemMap", address, size, offset, memory, 0)

    assert mapped(where, memory=12345) == INVALID_HANDLE
    assert mapped(where + 4096) == INVALID_VALUE
    assert mapped(where, 3 * GRANULARITY) == INVALID_VALUE, "longer than the memory"
    assert mapped(where + 3 * GRANULARITY) == INVALID_VALUE, "leaves the reservation"
    assert mapped(GRANULARITY) == INVALID_VALUE, "not reserved"
    assert mapped(where, offset=GRANULARITY) == INVALID_VALUE
    driver("cuMemMap", where, 2 * GRANULARITY, 0, handle, 0)
    assert mapped(where + GRANULARITY) == INVALID_VALUE, "mapped already"
    assert driver.result("cuMemUnmap", where, GRANULARITY) == INVALID_VALUE, "a part of a mapping"
    assert driver.result("cuMemUnmap", where, 4 * GRANULARITY) == INVALID_VALUE, "a gap at the end"
    access = AccessDescription(Location(1, 0), 3)
    assert driver.result("cuMemSetAccess", where, 4 * GRANULARITY, ctypes.byref(access), 1) == INVALID_VALUE
    read_only = AccessDescription(Location(1, 0), 1)
    assert (
        driver.result("cuMemSetAccess", where, 2 * GRANULARITY, ctypes.byref(read_only), 1) == NOT_SUPPORTED
    )
    assert driver.result("cuMemAddressFree", where, 4 * GRANULARITY) == INVALID_VALUE, "still mapped"
    driver("cuMemUnmap", where, 2 * GRANULARITY)
    assert driver.result("cuMemUnmap", where, 2 * GRANULARITY) == INVALID_VALUE
    assert driver.result("cuMemAddressFree", where, GRANULARITY) == INVALID_VALUE, "a part of a reservation"
    driver("cuMemRelease", handle)
    driver("cuMemAddressFree", where, 4 * GRANULARITY)
    assert driver.result("cuMemAddressFree", where, 4 * GRANULARITY) == INVALID_VALUE


def test_unmapping_waits_for_the_work_before_it(driver: Driver) -> None:
    where = reserve(driver, GRANULARITY)
    driver.map_memory(where, GRANULARITY)
    target = driver.get("cuMemHostAlloc", GRANULARITY, 0)
    driver("cuMemsetD8Async", where, 5, GRANULARITY, 0)
    driver("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(target), where, GRANULARITY, 0)
    driver("cuMemUnmap", where, GRANULARITY)
    assert ctypes.string_at(target, GRANULARITY) == b"\x05" * GRANULARITY
    driver("cuMemAddressFree", where, GRANULARITY)


def test_pointer_attributes_of_a_mapping(driver: Driver) -> None:
    where = reserve(driver, 2 * GRANULARITY)
    driver.map_memory(where, GRANULARITY)
    value = ctypes.c_uint64()
    for attribute, expected in ((2, 2), (11, where), (12, GRANULARITY), (13, 1)):
        value.value = 0
        driver("cuPointerGetAttribute", ctypes.byref(value), attribute, where + 7)
        assert value.value == expected
    beyond = driver.result("cuPointerGetAttribute", ctypes.byref(value), 2, where + GRANULARITY)
    assert beyond == INVALID_VALUE
    driver("cuMemUnmap", where, GRANULARITY)
    driver("cuMemAddressFree", where, 2 * GRANULARITY)
