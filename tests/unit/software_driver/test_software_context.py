"""Contexts: the primary one, the stack of each thread, limits, and what happens without one."""

from __future__ import annotations

import ctypes
import threading

import pytest
from software_gpu import (
    CONTEXT_IS_DESTROYED,
    INVALID_CONTEXT,
    INVALID_DEVICE,
    INVALID_HANDLE,
    INVALID_VALUE,
    NOT_SUPPORTED,
    UNSUPPORTED_LIMIT,
    Driver,
)


def state(driver: Driver) -> tuple[int, int]:
    flags, active = ctypes.c_uint(), ctypes.c_int()
    driver("cuDevicePrimaryCtxGetState", 0, ctypes.byref(flags), ctypes.byref(active))
    return flags.value, active.value


def test_primary_context_lives_as_long_as_it_is_retained(initialised: Driver) -> None:
    driver = initialised
    assert state(driver) == (0, 0)
    first = driver.get("cuDevicePrimaryCtxRetain", 0)
    assert driver.get("cuDevicePrimaryCtxRetain", 0) == first
    driver("cuDevicePrimaryCtxRelease_v2", 0)
    assert state(driver)[1] == 1
    driver("cuDevicePrimaryCtxRelease_v2", 0)
    assert state(driver)[1] == 0
    assert driver.result("cuDevicePrimaryCtxRelease_v2", 0) == INVALID_CONTEXT
    assert driver.result("cuDevicePrimaryCtxRetain", ctypes.byref(ctypes.c_uint64()), 1) == INVALID_DEVICE


def test_primary_flags(driver: Driver) -> None:
    driver("cuDevicePrimaryCtxSetFlags_v2", 0, 4)
    assert state(driver) == (4, 1)
    assert driver.get("cuCtxGetFlags", kind=ctypes.c_uint) == 4
    assert driver.result("cuDevicePrimaryCtxSetFlags_v2", 0, 3) == INVALID_VALUE
    driver("cuDevicePrimaryCtxSetFlags_v2", 0, 0)


def test_reset_frees_what_the_context_owned(driver: Driver) -> None:
    before = driver.memory_info()
    memory = driver.allocate(10 << 20)
    stream = driver.get("cuStreamCreate", 0)
    assert driver.memory_info()[0] == before[0] - (10 << 20)
    driver("cuDevicePrimaryCtxReset_v2", 0)
    assert driver.result("cuMemFree_v2", memory) == CONTEXT_IS_DESTROYED
    driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
    assert driver.memory_info() == before
    assert driver.result("cuStreamSynchronize", stream) == INVALID_HANDLE
    assert driver.result("cuMemFree_v2", memory) == INVALID_VALUE


def test_each_thread_has_its_own_current_context(driver: Driver) -> None:
    seen: list[int] = []

    def other_thread() -> None:
        seen.append(driver.get("cuCtxGetCurrent") or 0)
        seen.append(driver.result("cuCtxSynchronize"))

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert seen == [0, INVALID_CONTEXT]
    assert driver.get("cuCtxGetCurrent") != 0


def test_stack_of_contexts(driver: Driver) -> None:
    primary = driver.get("cuCtxGetCurrent")
    own = driver.get("cuCtxCreate_v2", 0, 0)
    assert driver.get("cuCtxGetCurrent") == own != primary
    driver("cuCtxPushCurrent_v2", primary)
    assert driver.get("cuCtxPopCurrent_v2") == primary
    assert driver.get("cuCtxGetCurrent") == own
    driver("cuCtxDestroy_v2", own)
    assert driver.get("cuCtxGetCurrent") == primary
    assert driver.result("cuCtxPushCurrent_v2", own) == INVALID_CONTEXT
    assert driver.result("cuCtxSetCurrent", 0xABCDEF) == INVALID_CONTEXT
    assert driver.result("cuCtxDestroy_v2", primary) == INVALID_CONTEXT


def test_create_v4_takes_no_special_parameters(driver: Driver) -> None:
    own = driver.get("cuCtxCreate_v4", None, 0, 0)
    driver("cuCtxDestroy_v2", own)
    parameters = (ctypes.c_uint64 * 3)(0, 1, 0)
    result = driver.result("cuCtxCreate_v4", ctypes.byref(ctypes.c_uint64()), parameters, 0, 0)
    assert result == NOT_SUPPORTED


def test_destroyed_while_current_elsewhere(driver: Driver) -> None:
    own = driver.get("cuCtxCreate_v2", 0, 0)
    entered, destroyed, seen = threading.Event(), threading.Event(), list[int]()

    def other_thread() -> None:
        driver("cuCtxSetCurrent", own)
        entered.set()
        destroyed.wait(60)
        seen.append(driver.result("cuCtxSynchronize"))

    thread = threading.Thread(target=other_thread)
    thread.start()
    assert entered.wait(60)
    driver("cuCtxDestroy_v2", own)
    destroyed.set()
    thread.join()
    assert seen == [CONTEXT_IS_DESTROYED]


def test_objects_of_one_context_are_not_mixed_with_another(driver: Driver) -> None:
    event = driver.get("cuEventCreate", 0)
    own = driver.get("cuCtxCreate_v2", 0, 0)
    stream = driver.get("cuStreamCreate", 0)
    assert driver.result("cuEventRecord", event, stream) == INVALID_HANDLE
    driver("cuCtxDestroy_v2", own)


@pytest.mark.parametrize(("limit", "default"), [(0, 1024), (1, 1 << 20), (2, 8 << 20)])
def test_limits_are_kept(driver: Driver, limit: int, default: int) -> None:
    assert driver.get("cuCtxGetLimit", limit) == default
    driver("cuCtxSetLimit", limit, 4096)
    assert driver.get("cuCtxGetLimit", limit) == 4096


def test_limits_of_other_architectures_are_refused(driver: Driver) -> None:
    assert driver.result("cuCtxSetLimit", 3, 1) == UNSUPPORTED_LIMIT
    assert driver.result("cuCtxGetLimit", ctypes.byref(ctypes.c_size_t()), 3) == UNSUPPORTED_LIMIT
    assert driver.result("cuCtxSetLimit", 1000, 1) == INVALID_VALUE


def test_small_answers(driver: Driver) -> None:
    context = driver.get("cuCtxGetCurrent")
    version, identity = ctypes.c_uint(), ctypes.c_uint64()
    driver("cuCtxGetApiVersion", context, ctypes.byref(version))
    driver("cuCtxGetId", context, ctypes.byref(identity))
    assert version.value == 3020
    assert identity.value != 0
    assert driver.get("cuCtxGetDevice", kind=ctypes.c_int) == 0
    driver("cuCtxSetCacheConfig", 2)
    assert driver.get("cuCtxGetCacheConfig", kind=ctypes.c_int) == 2
    driver("cuProfilerStart")
    driver("cuProfilerStop")
