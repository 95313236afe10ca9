"""Memory that graphs allocate and free: nodes, captured calls, and what outlives a launch."""

from __future__ import annotations

import ctypes

import pytest
from software_gpu import (
    ILLEGAL_ADDRESS,
    INVALID_VALUE,
    NOT_SUPPORTED,
    OUT_OF_MEMORY,
    SUCCESS,
    Driver,
    Location,
)
from software_graphs import (
    CHILD,
    MEM_ALLOC,
    MEM_FREE,
    MEMCPY,
    MEMSET,
    NON_BLOCKING,
    AllocationParams,
    Graphs,
    MemsetParams,
    NodeParams,
    handles,
    line,
    words,
)

AUTO_FREE = 1


@pytest.fixture
def graphs(driver: Driver) -> Graphs:
    return Graphs(driver)


def allocation(size: int) -> AllocationParams:
    return AllocationParams(kind=1, location=Location(1, 0), size=size)


def test_captured_allocations_are_nodes(driver: Driver, graphs: Graphs) -> None:
    stream, result = driver.get("cuStreamCreate", NON_BLOCKING), driver.allocate(4)
    free_before, _ = driver.memory_info()
    with graphs.capture(stream) as captured:
        memory = driver.get("cuMemAllocAsync", 4096, stream)
        driver("cuMemsetD32Async", memory, 7, 1024, stream)
        driver("cuMemcpyDtoDAsync_v2", result, memory + 4092, 4, stream)
        driver("cuMemFreeAsync", memory, stream)
    assert graphs.types(captured[0]) == [MEM_ALLOC, MEMSET, MEMCPY, MEM_FREE]
    told = AllocationParams()
    driver("cuGraphMemAllocNodeGetParams", graphs.nodes(captured[0])[0], ctypes.byref(told))
    assert (told.address, told.size, told.kind) == (memory, 4096, 1)
    freed = ctypes.c_uint64()
    driver("cuGraphMemFreeNodeGetParams", graphs.nodes(captured[0])[3], ctypes.byref(freed))
    assert freed.value == memory
    executable = graphs.instantiate(captured[0])
    for _ in range(3):
        driver("cuMemsetD32Async", result, 0, 1, stream)
        graphs.launch(executable, stream)
        assert driver.download(result, 4) == words(7)
    driver("cuGraphDestroy", captured[0])
    driver("cuGraphExecDestroy", executable)
    driver("cuCtxSynchronize")
    assert driver.memory_info()[0] == free_before


def test_memory_can_be_used_only_between_its_nodes(driver: Driver, graphs: Graphs) -> None:
    graph, params = graphs.create(), allocation(64)
    node = graphs.add("MemAlloc", graph, [], ctypes.byref(params))
    graphs.add("MemFree", graph, [node], params.address)
    graphs.run(graph)
    driver("cuMemsetD32_v2", params.address, 1, 1)
    assert driver.result("cuCtxSynchronize") == ILLEGAL_ADDRESS


@pytest.mark.parametrize("function", ["cuMemFree_v2", "cuMemFreeAsync"])
def test_memory_that_a_launch_leaves_is_freed_by_hand(driver: Driver, graphs: Graphs, function: str) -> None:
    free_before, _ = driver.memory_info()
    graph, params = graphs.create(), allocation(64)
    node = graphs.add("MemAlloc", graph, [], ctypes.byref(params))
    graphs.fill(graph, [node], MemsetParams(params.address, 0, 5, 4, 1, 1))
    executable = graphs.instantiate(graph)
    arguments = (params.address, 0)[: 1 if function == "cuMemFree_v2" else 2]
    assert driver.result(function, *arguments) == INVALID_VALUE, "nothing allocated it yet"
    graphs.launch(executable)
    assert driver.result("cuGraphLaunch", executable, 0) == INVALID_VALUE, "it is still allocated"
    driver("cuMemsetD32_v2", params.address + 4, 6, 1)
    assert driver.download(params.address, 8) == words(5, 6)
    driver(function, *arguments)
    graphs.launch(executable)
    driver("cuGraphExecDestroy", executable)
    driver("cuGraphDestroy", graph)
    assert driver.download(params.address, 4) == words(5), "it outlives its graph"
    driver(function, *arguments)
    driver("cuCtxSynchronize")
    assert driver.result(function, *arguments) == INVALID_VALUE
    assert driver.memory_info()[0] == free_before


def test_memory_can_be_freed_by_another_graph_or_at_the_next_launch(driver: Driver, graphs: Graphs) -> None:
    graph, freeing, params = graphs.create(), graphs.create(), allocation(64)
    graphs.add("MemAlloc", graph, [], ctypes.byref(params))
    graphs.add("MemFree", freeing, [], params.address)
    out = ctypes.byref(ctypes.c_uint64())
    assert driver.result("cuGraphAddMemFreeNode", out, graph, None, 0, params.address) == INVALID_VALUE
    executable, free = graphs.instantiate(graph, AUTO_FREE), graphs.instantiate(freeing)
    assert driver.result("cuGraphLaunch", free, 0) == INVALID_VALUE
    for _ in range(2):
        graphs.launch(executable)
        graphs.launch(executable)
        graphs.launch(free)


def test_what_graphs_with_memory_cannot_do(driver: Driver, graphs: Graphs) -> None:
    graph, params, out = graphs.create(), allocation(64), ctypes.byref(ctypes.c_uint64())
    node = graphs.add("MemAlloc", graph, [], ctypes.byref(params))
    free = graphs.add("MemFree", graph, [node], params.address)
    assert driver.result("cuGraphAddMemFreeNode", out, graph, None, 0, params.address) == INVALID_VALUE
    assert driver.result("cuGraphAddMemFreeNode", out, graphs.create(), None, 0, params.address) == 1
    assert driver.result("cuGraphAddMemFreeNode", out, graph, None, 0, driver.allocate(4)) == INVALID_VALUE
    assert driver.result("cuGraphDestroyNode", node) == INVALID_VALUE
    edge = handles(node), handles(free), 1
    assert driver.result("cuGraphRemoveDependencies", graph, *edge) == INVALID_VALUE
    assert driver.result("cuGraphClone", out, graph) == NOT_SUPPORTED
    assert driver.result("cuGraphAddChildGraphNode", out, graphs.create(), None, 0, graph) == NOT_SUPPORTED
    executable = graphs.instantiate(graph)
    assert driver.result("cuGraphInstantiateWithFlags", out, graph, 0) == INVALID_VALUE
    driver("cuGraphExecDestroy", executable)
    executable = graphs.instantiate(graph)
    for wrong in (allocation(0), AllocationParams(kind=1, location=Location(1, 5), size=4)):
        assert driver.result("cuGraphAddMemAllocNode", out, graph, None, 0, ctypes.byref(wrong)) != SUCCESS
    huge = allocation(64 << 30)
    code = driver.result("cuGraphAddMemAllocNode", out, graph, None, 0, ctypes.byref(huge))
    assert code == OUT_OF_MEMORY
    # Moved into another graph it runs there.
    driver("cuGraphExecDestroy", executable)
    outer, moved = graphs.create(), NodeParams(type=CHILD)
    moved.of.child.graph, moved.of.child.ownership = graph, 1
    driver("cuGraphAddNode", out, outer, None, 0, ctypes.byref(moved))
    assert driver.result("cuGraphAddMemAllocNode", out, graph, None, 0, ctypes.byref(params)) == INVALID_VALUE
    graphs.run(outer)


def test_a_captured_free_of_other_memory_is_refused(driver: Driver, graphs: Graphs) -> None:
    stream = driver.get("cuStreamCreate", NON_BLOCKING)
    memory = driver.get("cuMemAllocAsync", 64, stream)
    with graphs.capture(stream):
        assert driver.result("cuMemFreeAsync", memory, stream) == INVALID_VALUE
    driver("cuMemFreeAsync", memory, stream)


def test_memory_of_graphs_is_counted(driver: Driver, graphs: Graphs) -> None:
    def used(attribute: int) -> int:
        value = ctypes.c_uint64()
        driver("cuDeviceGetGraphMemAttribute", 0, attribute, ctypes.byref(value))
        return value.value

    before = used(0)
    graph, params = graphs.create(), NodeParams(type=MEM_ALLOC)
    params.of.allocation = allocation(5000)
    driver("cuGraphAddNode", ctypes.byref(ctypes.c_uint64()), graph, None, 0, ctypes.byref(params))
    assert params.of.allocation.address != 0
    assert used(0) == before + 8192
    driver("cuGraphDestroy", graph)
    assert used(0) == before
    assert used(1) >= before + 8192
    driver("cuDeviceSetGraphMemAttribute", 0, 1, ctypes.byref(ctypes.c_uint64(0)))
    assert used(1) == before
    driver("cuDeviceGraphMemTrim", 0)


def test_copies_reach_memory_that_is_not_allocated_yet(driver: Driver, graphs: Graphs) -> None:
    graph, params = graphs.create(), allocation(64)
    node = graphs.add("MemAlloc", graph, [], ctypes.byref(params))
    graphs.copy(graph, [node], line(params.address + 4, params.address, 4))
    out = ctypes.byref(ctypes.c_uint64())
    too_long = line(params.address + 62, params.address, 4)
    assert driver.result("cuGraphAddMemcpyNode", out, graph, None, 0, ctypes.byref(too_long), 0) == 1
    executable, content = graphs.instantiate(graph), driver.allocate(4)
    with driver.gate() as open_gate:
        driver("cuGraphLaunch", executable, 0)
        driver("cuMemcpyDtoDAsync_v2", content, params.address, 4, 0)
        open_gate()
    driver("cuCtxSynchronize")


def test_memory_that_a_launch_leaves_goes_with_its_context(driver: Driver, graphs: Graphs) -> None:
    free_before, _ = driver.memory_info()
    used, outer, inner = ctypes.c_uint64(), driver.get("cuCtxGetCurrent"), ctypes.c_uint64()
    driver("cuDeviceGetGraphMemAttribute", 0, 0, ctypes.byref(used))
    used_before = used.value
    driver("cuCtxCreate_v2", ctypes.byref(inner), 0, 0)
    graph, params = graphs.create(), allocation(64)
    graphs.add("MemAlloc", graph, [], ctypes.byref(params))
    graphs.run(graph)
    driver("cuGraphDestroy", graph)
    driver("cuCtxDestroy_v2", inner.value)
    driver("cuCtxSetCurrent", outer)
    assert driver.result("cuMemFreeAsync", params.address, 0) == INVALID_VALUE
    driver("cuDeviceGetGraphMemAttribute", 0, 0, ctypes.byref(used))
    assert (driver.memory_info()[0], used.value) == (free_before, used_before)
