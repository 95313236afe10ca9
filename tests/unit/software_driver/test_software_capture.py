"""Stream capture: what becomes of the work of a capturing stream, and how a capture spreads and comes back."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from software_gpu import (
    NOT_READY,
    PTX,
    SUCCESS,
    Driver,
    LaunchAttribute,
    LaunchConfig,
    Memcpy2D,
    Memcpy3D,
    host_function,
    parameter_array,
)
from software_graphs import (
    ACTIVE,
    EMPTY,
    EVENT_RECORD,
    EVENT_WAIT,
    GLOBAL,
    HOST,
    KERNEL,
    MEMCPY,
    MEMSET,
    NON_BLOCKING,
    NONE,
    TO_DEVICE,
    TO_HOST,
    UNIFIED,
    Graphs,
    MemsetParams,
    handles,
    words,
)

ADD_PTX = b"""
.version 7.5
.target sm_75
.address_size 64
.visible .entry add(.param .u64 sum, .param .u64 first, .param .u64 second)
{
    .reg .b64 %rd<4>;
    .reg .b32 %r<4>;
    ld.param.u64 %rd1, [sum];
    ld.param.u64 %rd2, [first];
    ld.param.u64 %rd3, [second];
    ld.global.u32 %r1, [%rd2];
    ld.global.u32 %r2, [%rd3];
    add.u32 %r3, %r1, %r2;
    st.global.u32 [%rd1], %r3;
    ret;
}
"""


@pytest.fixture
def graphs(driver: Driver) -> Graphs:
    return Graphs(driver)


@pytest.fixture
def stream(driver: Driver) -> int:
    return int(driver.get("cuStreamCreate", NON_BLOCKING))


def wait_for(driver: Driver, waiting: int, recording: int, event: int) -> None:
    driver("cuEventRecord", event, recording)
    driver("cuStreamWaitEvent", waiting, event, 0)


def test_fork_and_join_replays_with_changed_memory(driver: Driver, graphs: Graphs, stream: int) -> None:
    side = driver.get("cuStreamCreate", NON_BLOCKING)
    forked, joined = driver.get("cuEventCreate", 0), driver.get("cuEventCreate", 0)
    add = driver.function(driver.load(ADD_PTX), "add")
    memory = driver.allocate(4 * 5)
    inputs = driver.get("cuMemHostAlloc", 8, 0)
    first, second, sum_, twice, copied = (memory + 4 * index for index in range(5))
    with graphs.capture(stream) as captured:
        driver("cuMemcpyHtoDAsync_v2", first, ctypes.c_void_p(inputs), 8, stream)
        wait_for(driver, side, stream, forked)
        assert graphs.status(side) == ACTIVE
        driver.launch(add, *map(ctypes.c_uint64, (sum_, first, second)), stream=stream)
        driver.launch(add, *map(ctypes.c_uint64, (twice, second, second)), stream=side)
        wait_for(driver, stream, side, joined)
        driver("cuMemcpyDtoDAsync_v2", copied, sum_, 4, stream)
    assert graphs.status(stream) == graphs.status(side) == NONE
    assert driver.download(memory, 20) == bytes(20), "nothing runs while it is captured"
    (graph,) = captured
    copy_in, add_main, add_side, copy_out = graphs.nodes(graph)
    assert graphs.types(graph) == [MEMCPY, KERNEL, KERNEL, MEMCPY]
    assert graphs.edges(graph) == {
        (copy_in, add_main),
        (copy_in, add_side),
        (add_main, copy_out),
        (add_side, copy_out),
    }
    executable = graphs.instantiate(graph)
    for round_ in range(200):
        ctypes.memmove(inputs, words(round_, 3 * round_), 8)
        graphs.launch(executable, stream)
        assert driver.download(memory, 20) == words(round_, 3 * round_, 4 * round_, 6 * round_, 4 * round_)


def test_pageable_memory_is_read_and_written_at_replay(driver: Driver, graphs: Graphs, stream: int) -> None:
    source, target = ctypes.create_string_buffer(16), ctypes.create_string_buffer(16)
    memory = driver.allocate(16)
    with graphs.capture(stream) as captured:
        driver("cuMemcpyHtoDAsync_v2", memory, source, 16, stream)
        driver("cuMemcpyDtoHAsync_v2", target, memory, 16, stream)
    executable = graphs.instantiate(captured[0])
    for content in (b"a" * 16, b"b" * 16):
        source.raw = content
        graphs.launch(executable, stream)
        assert target.raw == content


def test_copies_and_memsets_of_all_shapes_become_nodes(driver: Driver, graphs: Graphs, stream: int) -> None:
    memory = driver.allocate(4096)
    flat = Memcpy2D(
        src_type=TO_DEVICE, src_device=memory, src_pitch=64, dst_type=TO_DEVICE, dst_device=memory + 1024
    )
    flat.dst_pitch, flat.width, flat.height = 32, 4, 3
    deep = Memcpy3D(src_type=UNIFIED, src_device=memory, src_pitch=64, src_height=2, dst_type=UNIFIED)
    deep.dst_device, deep.dst_pitch, deep.dst_height = memory + 2048, 16, 4
    deep.width, deep.height, deep.depth = 4, 2, 2
    with graphs.capture(stream) as captured:
        driver("cuMemsetD2D8Async", memory, 64, 7, 4, 4, stream)
        driver("cuMemsetD32Async", memory + 512, 0x01020304, 2, stream)
        driver("cuMemcpy2DAsync_v2", ctypes.byref(flat), stream)
        driver("cuMemcpy3DAsync_v2", ctypes.byref(deep), stream)
        driver("cuMemcpyAsync", memory + 768, memory + 512, 8, stream)
        driver("cuMemsetD16Async", memory, 1, 0, stream)  # nothing, and so no node
    assert graphs.types(captured[0]) == [MEMSET, MEMSET, MEMCPY, MEMCPY, MEMCPY]
    told = MemsetParams()
    driver("cuGraphMemsetNodeGetParams", graphs.nodes(captured[0])[1], ctypes.byref(told))
    assert (told.address, told.value, told.element_bytes, told.width, told.height) == (
        memory + 512,
        0x01020304,
        4,
        2,
        1,
    )
    graphs.run(captured[0])
    content = driver.download(memory, 4096)
    assert [content[1024 + 32 * row :][:5] for row in range(3)] == [b"\x07\x07\x07\x07\0"] * 3
    for plane in range(2):
        for row in range(2):
            assert content[2048 + 64 * plane + 16 * row :][:5] == b"\x07\x07\x07\x07\0"
    assert content[768:776] == words(0x01020304, 0x01020304)
    assert content[:8] == b"\x07\x07\x07\x07\0\0\0\0"


def test_described_copies_can_be_fed_back(driver: Driver, graphs: Graphs, stream: int) -> None:
    memory = driver.allocate(64)
    source = ctypes.create_string_buffer(b"fed back", 8)
    with graphs.capture(stream) as captured:
        driver("cuMemcpyHtoDAsync_v2", memory, source, 8, stream)
    told = Memcpy3D()
    driver("cuGraphMemcpyNodeGetParams", graphs.nodes(captured[0])[0], ctypes.byref(told))
    assert (told.src_type, told.src_host, told.dst_type, told.dst_device) == (
        TO_HOST,
        ctypes.addressof(source),
        TO_DEVICE,
        memory,
    )
    assert (told.width, told.height, told.depth) == (8, 1, 1)
    graph = graphs.create()
    graphs.copy(graph, [], told)
    graphs.run(graph)
    assert driver.download(memory, 8) == b"fed back"


def test_host_functions_run_in_order_at_each_replay(driver: Driver, graphs: Graphs, stream: int) -> None:
    seen: list[int] = []

    def function(number: int) -> Any:
        @host_function
        def run(_: Any) -> None:
            seen.append(number)

        return run

    functions = [function(number) for number in range(3)]
    with graphs.capture(stream) as captured:
        for each in functions:
            driver("cuLaunchHostFunc", stream, each, None)
    assert graphs.types(captured[0]) == [HOST] * 3
    executable = graphs.instantiate(captured[0])
    for _ in range(2):
        graphs.launch(executable, stream)
    assert seen == [0, 1, 2] * 2


def test_a_launch_is_ordered_among_the_work_of_its_stream(
    driver: Driver, graphs: Graphs, stream: int
) -> None:
    memory = driver.allocate(8)
    with graphs.capture(stream) as captured:
        driver("cuMemcpyDtoDAsync_v2", memory + 4, memory, 4, stream)
    executable = graphs.instantiate(captured[0])
    with driver.gate(stream) as open_gate:
        driver("cuMemsetD32Async", memory, 1, 1, stream)
        driver("cuGraphLaunch", executable, stream)
        driver("cuMemsetD32Async", memory, 2, 1, stream)
        assert driver.result("cuStreamQuery", stream) == NOT_READY
        open_gate()
    assert driver.download(memory, 8) == words(2, 1)


def test_work_of_other_streams_is_not_captured(driver: Driver, graphs: Graphs, stream: int) -> None:
    other = driver.get("cuStreamCreate", NON_BLOCKING)
    memory = driver.allocate(4)
    with graphs.capture(stream) as captured:
        driver("cuMemsetD32Async", memory, 5, 1, other)
        driver("cuMemsetD32Async", memory, 6, 1, 0)  # the legacy stream does not wait for a non-blocking one
        assert graphs.status(other) == graphs.status(0) == NONE
    assert graphs.nodes(captured[0]) == []
    driver("cuStreamSynchronize", other)
    assert driver.download(memory, 4) == words(6)
    graphs.run(captured[0])


def test_the_per_thread_stream_can_be_captured(driver: Driver, graphs: Graphs) -> None:
    memory = driver.allocate(4)
    with graphs.capture(2) as captured:
        driver("cuMemsetD32Async", memory, 5, 1, 2)
    graphs.run(captured[0])
    assert driver.download(memory, 4) == words(5)


def test_events_of_a_capture_stand_for_the_last_nodes(driver: Driver, graphs: Graphs, stream: int) -> None:
    side, event = driver.get("cuStreamCreate", 0), driver.get("cuEventCreate", 0)
    memory = driver.allocate(4)
    with graphs.capture(stream) as captured:
        driver("cuMemsetD32Async", memory, 1, 1, stream)
        driver("cuEventRecord", event, stream)
        driver("cuMemsetD32Async", memory, 2, 1, stream)
        driver("cuStreamWaitEvent", side, event, 0)
        driver("cuMemsetD32Async", memory, 3, 1, side)
        wait_for(driver, stream, side, event)
        driver("cuStreamWaitEvent", stream, event, 0)  # twice is once
        driver("cuMemsetD32Async", memory, 4, 1, stream)
    first, second, third, last = graphs.nodes(captured[0])
    assert graphs.edges(captured[0]) == {(first, second), (first, third), (second, last), (third, last)}
    driver("cuEventRecord", event, stream)  # an ordinary event again
    driver("cuEventSynchronize", event)


def test_external_records_and_waits_are_nodes(driver: Driver, graphs: Graphs, stream: int) -> None:
    event, seen = driver.get("cuEventCreate", 0), driver.get("cuEventCreate", 0)
    driver("cuEventRecord", seen, 0)
    with graphs.capture(stream) as captured:
        driver("cuStreamWaitEvent", stream, seen, 1)
        driver("cuEventRecordWithFlags", event, stream, 1)
    assert graphs.types(captured[0]) == [EVENT_WAIT, EVENT_RECORD]
    wait, record = graphs.nodes(captured[0])
    told = ctypes.c_uint64()
    driver("cuGraphEventWaitNodeGetEvent", wait, ctypes.byref(told))
    assert told.value == seen
    driver("cuGraphEventRecordNodeGetEvent", record, ctypes.byref(told))
    assert told.value == event
    executable = graphs.instantiate(captured[0])
    with driver.gate(stream) as open_gate:
        driver("cuGraphLaunch", executable, stream)
        assert driver.result("cuEventQuery", event) == NOT_READY
        open_gate()
        driver("cuEventSynchronize", event)
        assert driver.result("cuEventQuery", event) == SUCCESS


def test_info_tells_the_graph_and_the_next_dependencies(driver: Driver, graphs: Graphs, stream: int) -> None:
    memory = driver.allocate(4)
    status, identity, graph, count = ctypes.c_int(), ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_size_t(9)
    nodes, data = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_void_p()

    def ask() -> list[int]:
        arguments = [ctypes.byref(each) for each in (status, identity, graph, nodes, data, count)]
        driver("cuStreamGetCaptureInfo_v3", stream, *arguments)
        return [nodes[index] for index in range(count.value)]

    with graphs.capture(stream) as captured:
        assert ask() == []
        first_id = identity.value
        driver("cuMemsetD32Async", memory, 1, 1, stream)
        assert ask() == graphs.nodes(graph.value)
        assert (status.value, identity.value) == (ACTIVE, first_id)
        arguments = [ctypes.byref(each) for each in (status, identity, graph, nodes, count)]
        driver("cuStreamGetCaptureInfo_v2", stream, *arguments)
        assert nodes[0] == graphs.nodes(graph.value)[0]
    assert captured == [graph.value]
    with graphs.capture(stream):
        ask()
        assert identity.value != first_id
    driver("cuStreamGetCaptureInfo", stream, ctypes.byref(status), None)
    assert status.value == NONE


def test_dependencies_of_the_next_node_can_be_changed(driver: Driver, graphs: Graphs, stream: int) -> None:
    memory = driver.allocate(4)
    with graphs.capture(stream) as captured:
        driver("cuMemsetD32Async", memory, 1, 1, stream)
        graph = ctypes.c_uint64()
        status = ctypes.c_int()
        arguments = ctypes.byref(status), None, ctypes.byref(graph), None, None, None
        driver("cuStreamGetCaptureInfo_v3", stream, *arguments)
        own = graphs.add("Empty", graph.value, graphs.nodes(graph.value))
        driver("cuStreamUpdateCaptureDependencies_v2", stream, handles(own), None, 1, 1)  # set
        driver("cuMemsetD32Async", memory, 2, 1, stream)
        first = graphs.nodes(graph.value)[0]
        driver("cuStreamUpdateCaptureDependencies", stream, handles(first), 1, 0)  # add
        driver("cuMemsetD32Async", memory, 3, 1, stream)
    first, own_again, second, last = graphs.nodes(captured[0])
    assert own_again == own
    assert graphs.types(captured[0]) == [MEMSET, EMPTY, MEMSET, MEMSET]
    assert graphs.edges(captured[0]) == {(first, own), (own, second), (second, last), (first, last)}


def test_a_capture_can_add_to_a_graph(driver: Driver, graphs: Graphs, stream: int) -> None:
    memory = driver.allocate(4)
    graph = graphs.create()
    start = graphs.add("Empty", graph, [])
    driver("cuStreamBeginCaptureToGraph", stream, graph, handles(start), None, 1, GLOBAL)
    driver("cuMemsetD32Async", memory, 8, 1, stream)
    assert driver.result("cuGraphDestroy", graph) != SUCCESS, "the capture needs it"
    assert driver.result("cuGraphInstantiateWithFlags", ctypes.byref(ctypes.c_uint64()), graph, 0) != SUCCESS
    assert graphs.end(stream) == graph
    assert graphs.dependencies(graphs.nodes(graph)[1]) == [start]
    graphs.run(graph)
    assert driver.download(memory, 4) == words(8)


def test_captured_launches_keep_their_parameters(driver: Driver, graphs: Graphs, stream: int) -> None:
    store, memory = driver.function(driver.load(PTX), "store"), driver.allocate(4)
    value = ctypes.c_uint32(1)
    with graphs.capture(stream) as captured:
        driver.launch(store, ctypes.c_uint64(memory), value, stream=stream)
        value.value = 2
    graphs.run(captured[0])
    assert driver.download(memory, 4) == words(1)


def test_captured_kernels_have_the_priority_of_their_stream(driver: Driver, graphs: Graphs) -> None:
    stream = driver.get("cuStreamCreateWithPriority", NON_BLOCKING, -4)
    store, memory = driver.function(driver.load(PTX), "store"), driver.allocate(4)
    config, attribute = LaunchConfig(), LaunchAttribute(id=8)
    config.grid = config.block = (ctypes.c_uint * 3)(1, 1, 1)
    attribute.value[0] = -2 & 0xFFFFFFFF
    config.stream, config.attributes, config.attribute_count = stream, ctypes.pointer(attribute), 1
    parameters = parameter_array(ctypes.c_uint64(memory), ctypes.c_uint32(1))
    with graphs.capture(stream) as captured:
        driver.launch(store, ctypes.c_uint64(memory), ctypes.c_uint32(1), stream=stream)
        driver("cuLaunchKernelEx", ctypes.byref(config), store, parameters, None)
    answer = ctypes.c_int * 16
    for node, priority in zip(graphs.nodes(captured[0]), (-4, -2), strict=True):
        value = answer()
        driver("cuGraphKernelNodeGetAttribute", node, 8, value)
        assert value[0] == priority
