"""Streams, events and the order of work. The queue is held by a host function, so nothing here depends on speed."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import pytest
from software_gpu import (
    INVALID_HANDLE,
    INVALID_VALUE,
    NOT_PERMITTED,
    NOT_READY,
    SUCCESS,
    CudaError,
    Driver,
    host_function,
    stream_callback,
)


def test_work_runs_after_the_call_returned(driver: Driver) -> None:
    stream = driver.get("cuStreamCreate", 0)
    memory = driver.allocate(4096)
    with driver.gate(stream) as open_gate:
        driver("cuMemsetD8Async", memory, 7, 4096, stream)
        assert driver.result("cuStreamQuery", stream) == NOT_READY
        open_gate()
        driver("cuStreamSynchronize", stream)
        assert driver.result("cuStreamQuery", stream) == SUCCESS
    assert driver.download(memory, 4096) == b"\x07" * 4096


def test_event_is_ready_when_the_queue_passed_it(driver: Driver) -> None:
    event = driver.get("cuEventCreate", 0)
    assert driver.result("cuEventQuery", event) == SUCCESS, "never recorded"
    with driver.gate() as open_gate:
        driver("cuEventRecord", event, 0)
        assert driver.result("cuEventQuery", event) == NOT_READY
        open_gate()
        driver("cuEventSynchronize", event)
        assert driver.result("cuEventQuery", event) == SUCCESS


def test_a_new_record_makes_an_event_busy_again(driver: Driver) -> None:
    event = driver.get("cuEventCreate", 0)
    driver("cuEventRecord", event, 0)
    driver("cuEventSynchronize", event)
    with driver.gate():
        driver("cuEventRecord", event, 0)
        assert driver.result("cuEventQuery", event) == NOT_READY


def test_elapsed_time_between_events(driver: Driver) -> None:
    start, end = driver.get("cuEventCreate", 0), driver.get("cuEventCreate", 0)
    milliseconds = ctypes.c_float(-1)
    with driver.gate() as open_gate:
        driver("cuEventRecord", start, 0)
        pause = threading.Event()

        @host_function
        def wait_a_little(_: Any) -> None:
            pause.wait(0.02)

        driver("cuLaunchHostFunc", 0, wait_a_little, None)
        driver("cuEventRecord", end, 0)
        assert driver.result("cuEventElapsedTime_v2", ctypes.byref(milliseconds), start, end) == NOT_READY
        open_gate()
        driver("cuEventSynchronize", end)
    driver("cuEventElapsedTime_v2", ctypes.byref(milliseconds), start, end)
    assert milliseconds.value >= 19.9
    driver("cuEventElapsedTime", ctypes.byref(milliseconds), end, start)
    assert milliseconds.value <= -19.9


@pytest.mark.parametrize(("flags", "recorded"), [(2, True), (0, False)])
def test_no_elapsed_time_without_timing_or_record(driver: Driver, flags: int, recorded: bool) -> None:
    event = driver.get("cuEventCreate", flags)
    if recorded:
        driver("cuEventRecord", event, 0)
        driver("cuEventSynchronize", event)
    milliseconds = ctypes.c_float()
    assert driver.result("cuEventElapsedTime_v2", ctypes.byref(milliseconds), event, event) == INVALID_HANDLE


def test_stream_that_waits_for_an_event_is_busy_until_it_passed(driver: Driver) -> None:
    first, second = driver.get("cuStreamCreate", 1), driver.get("cuStreamCreate", 1)
    event = driver.get("cuEventCreate", 2)
    with driver.gate(first) as open_gate:
        driver("cuEventRecord", event, first)
        assert driver.result("cuStreamQuery", second) == SUCCESS
        driver("cuStreamWaitEvent", second, event, 0)
        assert driver.result("cuStreamQuery", second) == NOT_READY
        open_gate()
        driver("cuStreamSynchronize", second)
        assert driver.result("cuEventQuery", event) == SUCCESS


def test_pageable_source_is_read_before_the_return(driver: Driver) -> None:
    memory = driver.allocate(64)
    source = ctypes.create_string_buffer(b"a" * 64, 64)
    with driver.gate() as open_gate:
        driver("cuMemcpyHtoDAsync_v2", memory, source, 64, 0)
        ctypes.memset(source, ord("b"), 64)
        open_gate()
    assert driver.download(memory, 64) == b"a" * 64


def test_page_locked_source_is_read_when_the_stream_comes_to_it(driver: Driver) -> None:
    memory = driver.allocate(64)
    source = driver.get("cuMemHostAlloc", 64, 0)
    with driver.gate() as open_gate:
        driver("cuMemcpyHtoDAsync_v2", memory, ctypes.c_void_p(source), 64, 0)
        ctypes.memset(source, ord("b"), 64)
        open_gate()
    assert driver.download(memory, 64) == b"b" * 64


def test_large_pageable_copy_is_captured_in_pieces(driver: Driver) -> None:
    size = (80 << 20) + 12345  # more than the queue holds captured at once
    memory = driver.allocate(size)
    source = bytes(range(251)) * (size // 251 + 1)
    driver("cuMemcpyHtoDAsync_v2", memory, source, size, 0)
    assert driver.download(memory, size) == source[:size]


def test_copy_to_page_locked_memory_does_not_wait(driver: Driver) -> None:
    memory = driver.allocate(16)
    driver.upload(memory, b"0123456789abcdef")
    target = driver.get("cuMemHostAlloc", 16, 0)
    with driver.gate() as open_gate:
        driver("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(target), memory, 16, 0)
        assert ctypes.string_at(target, 16) == bytes(16)
        open_gate()
    assert ctypes.string_at(target, 16) == b"0123456789abcdef"


def test_host_functions_run_in_order_and_may_not_call_the_driver(driver: Driver) -> None:
    seen: list[int] = []

    def function(number: int) -> Any:
        @host_function
        def run(_: Any) -> None:
            free = ctypes.c_size_t()
            seen.append(number)
            seen.append(driver.result("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(free)))

        return run

    functions = [function(number) for number in range(3)]
    for each in functions:
        driver("cuLaunchHostFunc", 0, each, None)
    driver("cuCtxSynchronize")
    assert seen == [0, NOT_PERMITTED, 1, NOT_PERMITTED, 2, NOT_PERMITTED]


def test_stream_callback_is_told_stream_and_status(driver: Driver) -> None:
    stream = driver.get("cuStreamCreate", 0)
    seen: list[tuple[int, int, int]] = []

    @stream_callback
    def callback(which: int, status: int, user: int) -> None:
        seen.append((which, status, user))

    driver("cuStreamAddCallback", stream, callback, ctypes.c_void_p(5), 0)
    driver("cuStreamSynchronize", stream)
    assert seen == [(stream, SUCCESS, 5)]


def test_two_threads_wait_on_two_streams(driver: Driver) -> None:
    first, second = driver.get("cuStreamCreate", 1), driver.get("cuStreamCreate", 1)
    context = driver.get("cuCtxGetCurrent")
    done = threading.Event()
    memory = driver.allocate(16)
    driver("cuMemsetD8Async", memory, 1, 16, first)

    def other_thread() -> None:
        driver("cuCtxSetCurrent", context)
        driver("cuStreamSynchronize", first)
        done.set()

    driver("cuStreamSynchronize", first)
    with driver.gate(second):
        thread = threading.Thread(target=other_thread)
        thread.start()
        assert done.wait(60), "the wait for one stream waited for the other"
        thread.join()


def test_priorities_flags_and_ids(driver: Driver) -> None:
    least, greatest = ctypes.c_int(), ctypes.c_int()
    driver("cuCtxGetStreamPriorityRange", ctypes.byref(least), ctypes.byref(greatest))
    assert (least.value, greatest.value) == (0, -5)
    stream = driver.get("cuStreamCreateWithPriority", 1, -100)
    priority, flags, identity, context = ctypes.c_int(), ctypes.c_uint(), ctypes.c_uint64(), ctypes.c_uint64()
    driver("cuStreamGetPriority", stream, ctypes.byref(priority))
    driver("cuStreamGetFlags", stream, ctypes.byref(flags))
    driver("cuStreamGetId", stream, ctypes.byref(identity))
    driver("cuStreamGetCtx", stream, ctypes.byref(context))
    assert (priority.value, flags.value) == (-5, 1)
    assert identity.value > 2
    assert context.value == driver.get("cuCtxGetCurrent")


def test_destroyed_and_made_up_handles_are_refused(driver: Driver) -> None:
    stream = driver.get("cuStreamCreate", 0)
    event = driver.get("cuEventCreate", 0)
    driver("cuStreamDestroy_v2", stream)
    driver("cuEventDestroy_v2", event)
    for bad in (stream, event, 3, 0xDEADBEEF, 0x7FFFFFFFFFFF):
        assert driver.result("cuStreamSynchronize", bad) == INVALID_HANDLE
        assert driver.result("cuEventSynchronize", bad) == INVALID_HANDLE
        assert driver.result("cuStreamDestroy_v2", bad) == INVALID_HANDLE
    assert driver.result("cuStreamDestroy_v2", 0) == INVALID_HANDLE
    assert driver.result("cuStreamCreate", ctypes.byref(ctypes.c_uint64()), 8) == INVALID_VALUE
    with pytest.raises(CudaError):
        driver("cuEventRecord", event, 0)


def test_default_streams_are_handles_0_1_and_2(driver: Driver) -> None:
    memory = driver.allocate(3)
    for handle in (0, 1, 2):
        driver("cuMemsetD8Async", memory + handle, handle + 1, 1, handle)
        driver("cuStreamSynchronize", handle)
    assert driver.download(memory, 3) == b"\x01\x02\x03"
