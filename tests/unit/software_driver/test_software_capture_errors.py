"""Stream capture: what it forbids, whom, and what is left of a capture that has gone wrong."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import pytest
from software_gpu import INVALID_VALUE, PTX, SUCCESS, Driver, host_function, stream_callback
from software_graphs import (
    ACTIVE,
    CAPTURE_IMPLICIT,
    CAPTURE_INVALIDATED,
    CAPTURE_ISOLATION,
    CAPTURE_MERGE,
    CAPTURE_UNJOINED,
    CAPTURE_UNMATCHED,
    CAPTURE_UNSUPPORTED,
    CAPTURE_WRONG_THREAD,
    CAPTURED_EVENT,
    GLOBAL,
    ILLEGAL_STATE,
    INVALIDATED,
    NON_BLOCKING,
    NONE,
    RELAXED,
    THREAD_LOCAL,
    Graphs,
)


@pytest.fixture
def graphs(driver: Driver) -> Graphs:
    return Graphs(driver)


@pytest.fixture
def stream(driver: Driver) -> int:
    return int(driver.get("cuStreamCreate", NON_BLOCKING))


def in_thread(driver: Driver, body: Callable[[], Any]) -> Any:
    """Run `body` in another thread with the same context and return what it returns."""
    context, results = driver.get("cuCtxGetCurrent"), []

    def run() -> None:
        driver("cuCtxSetCurrent", context)
        results.append(body())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return results[0]


def begin(driver: Driver, stream: int, mode: int = GLOBAL) -> None:
    driver("cuStreamBeginCapture_v2", stream, mode)


def exchange(driver: Driver, mode: int) -> int:
    value = ctypes.c_int(mode)
    driver("cuThreadExchangeStreamCaptureMode", ctypes.byref(value))
    return value.value


def test_waiting_for_a_capturing_stream_invalidates(driver: Driver, graphs: Graphs, stream: int) -> None:
    memory = driver.allocate(4)
    event = driver.get("cuEventCreate", 0)

    @stream_callback
    def callback(which: int, status: int, user: int) -> None:
        raise AssertionError("it must not be called")

    for call in (
        lambda: driver.result("cuStreamSynchronize", stream),
        lambda: driver.result("cuStreamQuery", stream),
        lambda: driver.result("cuCtxSynchronize"),
        lambda: driver.result("cuStreamAddCallback", stream, callback, None, 0),
    ):
        begin(driver, stream, RELAXED)
        assert call() == CAPTURE_UNSUPPORTED
        assert graphs.status(stream) == INVALIDATED
        assert driver.result("cuMemsetD8Async", memory, 1, 4, stream) == CAPTURE_INVALIDATED
        assert driver.result("cuEventRecord", event, stream) == CAPTURE_INVALIDATED
        assert driver.result("cuStreamSynchronize", stream) == CAPTURE_INVALIDATED
        assert graphs.end_result(stream) == CAPTURE_INVALIDATED
        assert graphs.status(stream) == NONE
        driver("cuStreamSynchronize", stream)


def test_legacy_stream_cannot_wait_for_a_capture(driver: Driver, graphs: Graphs) -> None:
    blocking = driver.get("cuStreamCreate", 0)
    memory, event = driver.allocate(4), driver.get("cuEventCreate", 0)
    content = ctypes.create_string_buffer(4)
    begin(driver, blocking, RELAXED)
    status = ctypes.c_int()
    assert driver.result("cuStreamIsCapturing", 0, ctypes.byref(status)) == CAPTURE_IMPLICIT
    assert graphs.status(blocking) == ACTIVE, "asking is harmless"
    graphs.end(blocking)
    for call in (
        lambda: driver.result("cuMemsetD8Async", memory, 1, 4, 0),
        lambda: driver.result("cuMemsetD8_v2", memory, 1, 4),
        lambda: driver.result("cuMemcpyDtoH_v2", content, memory, 4),
        lambda: driver.result("cuEventRecord", event, 0),
        lambda: driver.result("cuStreamSynchronize", 0),
        lambda: driver.result("cuStreamQuery", 1),
    ):
        begin(driver, blocking, RELAXED)
        assert call() == CAPTURE_IMPLICIT
        assert graphs.status(blocking) == INVALIDATED
        assert graphs.end_result(blocking) == CAPTURE_INVALIDATED
    driver("cuMemsetD8Async", memory, 1, 4, 0)
    assert driver.download(memory, 4) == b"\1" * 4


def test_events_of_a_capture_cannot_be_waited_for(driver: Driver, graphs: Graphs, stream: int) -> None:
    event, other = driver.get("cuEventCreate", 0), driver.get("cuEventCreate", 0)
    driver("cuEventRecord", other, 0)
    elapsed = ctypes.byref(ctypes.c_float())
    for call in (
        lambda: driver.result("cuEventQuery", event),
        lambda: driver.result("cuEventSynchronize", event),
        lambda: driver.result("cuEventElapsedTime_v2", elapsed, other, event),
    ):
        begin(driver, stream)
        driver("cuEventRecord", event, stream)
        assert call() == CAPTURED_EVENT
        assert graphs.end_result(stream) == CAPTURE_INVALIDATED
        assert call() == CAPTURED_EVENT, "until it is recorded again"
    assert driver.result("cuStreamWaitEvent", stream, event, 0) == CAPTURED_EVENT
    driver("cuEventRecord", event, stream)
    driver("cuEventSynchronize", event)


def test_unjoined_work_is_an_error(driver: Driver, graphs: Graphs, stream: int) -> None:
    side, event = driver.get("cuStreamCreate", NON_BLOCKING), driver.get("cuEventCreate", 0)
    memory = driver.allocate(4)
    for destroyed in (False, True):
        begin(driver, stream)
        driver("cuEventRecord", event, stream)
        driver("cuStreamWaitEvent", side, event, 0)
        driver("cuMemsetD8Async", memory, 1, 4, side)
        if destroyed:
            driver("cuStreamDestroy_v2", side)
        assert graphs.end_result(stream) == CAPTURE_UNJOINED
        assert graphs.status(stream) == NONE
        if not destroyed:
            assert graphs.status(side) == NONE


def test_a_stream_that_was_joined_may_go(driver: Driver, graphs: Graphs, stream: int) -> None:
    side, event = driver.get("cuStreamCreate", 0), driver.get("cuEventCreate", 0)
    memory = driver.allocate(4)
    begin(driver, stream)
    driver("cuEventRecord", event, stream)
    driver("cuStreamWaitEvent", side, event, 0)
    driver("cuMemsetD8Async", memory, 1, 4, side)
    driver("cuEventRecord", event, side)
    driver("cuStreamWaitEvent", stream, event, 0)
    driver("cuStreamDestroy_v2", side)
    driver("cuMemsetD8_v2", memory, 0, 4)  # no blocking stream captures any more
    graphs.run(graphs.end(stream))
    assert driver.download(memory, 4) == b"\1" * 4


def test_capture_ends_where_it_began(driver: Driver, graphs: Graphs, stream: int) -> None:
    side, event = driver.get("cuStreamCreate", NON_BLOCKING), driver.get("cuEventCreate", 0)
    begin(driver, stream)
    driver("cuEventRecord", event, stream)
    driver("cuStreamWaitEvent", side, event, 0)
    assert graphs.end_result(side) == CAPTURE_UNMATCHED
    assert graphs.end_result(stream) == CAPTURE_INVALIDATED
    assert graphs.end_result(stream) == ILLEGAL_STATE


def test_capture_ends_in_the_thread_where_it_began(driver: Driver, graphs: Graphs, stream: int) -> None:
    for mode in (GLOBAL, THREAD_LOCAL):
        begin(driver, stream, mode)
        assert in_thread(driver, lambda: graphs.end_result(stream)) == CAPTURE_WRONG_THREAD
        driver("cuGraphDestroy", graphs.end(stream))
    begin(driver, stream, RELAXED)
    driver("cuGraphDestroy", in_thread(driver, lambda: graphs.end(stream)))


def test_two_captures_cannot_meet(driver: Driver, graphs: Graphs, stream: int) -> None:
    other, event = driver.get("cuStreamCreate", NON_BLOCKING), driver.get("cuEventCreate", 0)
    begin(driver, stream)
    begin(driver, other)
    driver("cuEventRecord", event, stream)
    assert driver.result("cuStreamWaitEvent", other, event, 0) == CAPTURE_MERGE
    assert graphs.end_result(stream) == CAPTURE_INVALIDATED
    assert graphs.end_result(other) == CAPTURE_INVALIDATED


def test_a_capture_cannot_wait_for_work_outside(driver: Driver, graphs: Graphs, stream: int) -> None:
    event, fresh = driver.get("cuEventCreate", 0), driver.get("cuEventCreate", 0)
    driver("cuEventRecord", event, 0)
    begin(driver, stream)
    driver("cuStreamWaitEvent", stream, fresh, 0)  # nothing was recorded: nothing to wait for
    assert driver.result("cuStreamWaitEvent", stream, event, 0) == CAPTURE_ISOLATION
    assert graphs.end_result(stream) == CAPTURE_INVALIDATED


def test_the_legacy_stream_cannot_join(driver: Driver, graphs: Graphs, stream: int) -> None:
    event = driver.get("cuEventCreate", 0)
    begin(driver, stream)
    driver("cuEventRecord", event, stream)
    assert driver.result("cuStreamWaitEvent", 0, event, 0) == CAPTURE_IMPLICIT
    assert graphs.end_result(stream) == CAPTURE_INVALIDATED


def test_what_cannot_begin(driver: Driver, graphs: Graphs, stream: int) -> None:
    assert driver.result("cuStreamBeginCapture_v2", 0, GLOBAL) == CAPTURE_UNSUPPORTED
    assert driver.result("cuStreamBeginCapture_v2", 1, GLOBAL) == CAPTURE_UNSUPPORTED
    assert driver.result("cuStreamBeginCapture_v2", stream, 3) == INVALID_VALUE
    assert driver.result("cuStreamUpdateCaptureDependencies", stream, None, 0, 0) == ILLEGAL_STATE
    begin(driver, stream)
    assert driver.result("cuStreamBeginCapture_v2", stream, GLOBAL) == ILLEGAL_STATE
    assert driver.result("cuStreamUpdateCaptureDependencies", stream, None, 0, 2) == INVALID_VALUE
    assert graphs.end(stream) != 0
    assert driver.result("cuEventRecordWithFlags", driver.get("cuEventCreate", 0), stream, 1) == INVALID_VALUE


def test_calls_that_a_replay_would_not_repeat_are_forbidden(
    driver: Driver, graphs: Graphs, stream: int
) -> None:
    memory, host, event = (
        driver.allocate(4),
        driver.get("cuMemHostAlloc", 4, 0),
        driver.get("cuEventCreate", 0),
    )
    idle, content, out = driver.get("cuStreamCreate", 1), ctypes.create_string_buffer(4), ctypes.c_uint64()
    executable = graphs.instantiate(graphs.create())
    driver("cuEventRecord", event, idle)
    for call in (
        lambda: driver.result("cuMemAlloc_v2", ctypes.byref(out), 4),
        lambda: driver.result("cuMemFree_v2", memory),
        lambda: driver.result("cuMemHostAlloc", ctypes.byref(out), 4, 0),
        lambda: driver.result("cuMemFreeHost", ctypes.c_void_p(host)),
        lambda: driver.result("cuMemcpyDtoH_v2", content, memory, 4),
        lambda: driver.result("cuEventQuery", event),
        lambda: driver.result("cuEventSynchronize", event),
        lambda: driver.result("cuStreamSynchronize", idle),
        lambda: driver.result("cuModuleLoadData", ctypes.byref(out), PTX),
        lambda: driver.result("cuGraphExecDestroy", executable),
    ):
        begin(driver, stream)
        assert call() == CAPTURE_UNSUPPORTED
        assert graphs.end_result(stream) == CAPTURE_INVALIDATED
    begin(driver, stream, RELAXED)
    driver("cuMemFree_v2", memory)
    driver("cuMemFreeHost", ctypes.c_void_p(host))
    driver("cuEventSynchronize", event)
    driver("cuGraphExecDestroy", executable)
    graphs.end(stream)


def test_modes_say_who_is_forbidden(driver: Driver, graphs: Graphs, stream: int) -> None:
    out = ctypes.c_uint64()

    def allocate() -> int:
        return driver.result("cuMemAlloc_v2", ctypes.byref(out), 4)

    def allocate_in_mode(mode: int) -> int:
        exchange(driver, mode)
        return allocate()

    # The capture's mode; the other thread's; what the other thread may do; what the capturing one may.
    for mode, other, theirs, ours in (
        (GLOBAL, GLOBAL, CAPTURE_UNSUPPORTED, CAPTURE_UNSUPPORTED),
        (GLOBAL, THREAD_LOCAL, SUCCESS, CAPTURE_UNSUPPORTED),
        (GLOBAL, RELAXED, SUCCESS, CAPTURE_UNSUPPORTED),
        (THREAD_LOCAL, GLOBAL, SUCCESS, CAPTURE_UNSUPPORTED),
        (RELAXED, GLOBAL, SUCCESS, SUCCESS),
    ):
        begin(driver, stream, mode)
        assert in_thread(driver, lambda other=other: allocate_in_mode(other)) == theirs
        assert graphs.status(stream) == (ACTIVE if theirs == SUCCESS else INVALIDATED)
        assert allocate() == ours
        broken = CAPTURE_UNSUPPORTED in (theirs, ours)
        code = driver.result("cuStreamEndCapture", stream, ctypes.byref(ctypes.c_uint64()))
        assert code == (CAPTURE_INVALIDATED if broken else SUCCESS)


def test_a_relaxed_thread_may_do_as_it_likes(driver: Driver, graphs: Graphs, stream: int) -> None:
    begin(driver, stream)
    assert exchange(driver, RELAXED) == GLOBAL
    try:
        driver("cuMemFree_v2", driver.allocate(4))
    finally:
        assert exchange(driver, GLOBAL) == RELAXED
    assert graphs.end(stream) != 0


def test_a_graph_is_not_launched_into_a_capture(driver: Driver, graphs: Graphs, stream: int) -> None:
    executable = graphs.instantiate(graphs.create())
    begin(driver, stream)
    assert driver.result("cuGraphLaunch", executable, stream) == CAPTURE_UNSUPPORTED
    assert graphs.end_result(stream) == CAPTURE_INVALIDATED


def test_a_wrong_argument_leaves_the_capture_as_it_was(driver: Driver, graphs: Graphs, stream: int) -> None:
    begin(driver, stream)
    assert driver.result("cuMemsetD8Async", 64, 0, 4, stream) == INVALID_VALUE
    assert driver.result("cuLaunchHostFunc", stream, None, None) == INVALID_VALUE
    assert graphs.nodes(graphs.end(stream)) == []


def test_streams_and_contexts_may_go_while_they_capture(driver: Driver, graphs: Graphs, stream: int) -> None:
    side, event = driver.get("cuStreamCreate", 0), driver.get("cuEventCreate", 0)
    begin(driver, stream)
    driver("cuEventRecord", event, stream)
    driver("cuStreamWaitEvent", side, event, 0)
    driver("cuStreamDestroy_v2", stream)
    assert graphs.status(side) == NONE
    assert driver.result("cuStreamWaitEvent", side, event, 0) == CAPTURED_EVENT
    driver("cuMemFree_v2", driver.allocate(4))
    begin(driver, side)
    driver("cuMemsetD8Async", driver.get("cuMemAllocAsync", 4, side), 0, 4, side)
    context = driver.get("cuCtxGetCurrent")
    other = ctypes.c_uint64()
    driver("cuCtxCreate_v2", ctypes.byref(other), 0, 0)
    inner = driver.get("cuStreamCreate", 0)
    begin(driver, inner)
    driver("cuCtxDestroy_v2", other.value)
    driver("cuCtxSetCurrent", context)
    driver("cuDevicePrimaryCtxReset_v2", 0)
    driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
    driver("cuMemFree_v2", driver.allocate(4))  # no capture is left that could forbid it
    driver("cuCtxSynchronize")


def test_threads_capture_side_by_side(driver: Driver, graphs: Graphs) -> None:
    streams = [driver.get("cuStreamCreate", NON_BLOCKING) for _ in range(4)]
    memory = driver.allocate(4 * 4)
    context, together = driver.get("cuCtxGetCurrent"), threading.Barrier(4)
    failures: list[BaseException] = []

    def capture(index: int) -> None:
        try:
            driver("cuCtxSetCurrent", context)
            for round_ in range(1, 26):
                together.wait(60)
                with graphs.capture(streams[index], THREAD_LOCAL) as captured:
                    driver("cuMemsetD32Async", memory + 4 * index, round_, 1, streams[index])
                    together.wait(60)
                together.wait(60)
                executable = graphs.instantiate(captured[0])
                driver("cuGraphDestroy", captured[0])
                driver("cuGraphLaunch", executable, streams[index])
                driver("cuStreamSynchronize", streams[index])
                driver("cuGraphExecDestroy", executable)
        except BaseException as failure:
            failures.append(failure)
            together.abort()

    threads = [threading.Thread(target=capture, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert driver.download(memory, 16) == b"\x19\0\0\0" * 4


def test_a_host_function_of_a_graph_may_not_call_the_driver(
    driver: Driver, graphs: Graphs, stream: int
) -> None:
    codes: list[int] = []

    @host_function
    def run(_: Any) -> None:
        codes.append(driver.result("cuStreamSynchronize", stream))

    with graphs.capture(stream) as captured:
        driver("cuLaunchHostFunc", stream, run, None)
    graphs.run(captured[0])
    assert codes == [800]
