"""Graphs built node by node: structure, parameters, clones, children, and the life of what they are made of."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
from software_gpu import (
    INVALID_VALUE,
    NOT_SUPPORTED,
    PTX,
    SUCCESS,
    Driver,
    LaunchAttribute,
    host_function,
)
from software_graphs import (
    CHILD,
    CONDITIONAL,
    EMPTY,
    EVENT_RECORD,
    EVENT_WAIT,
    HOST,
    KERNEL,
    MEMCPY,
    MEMSET,
    TO_DEVICE,
    TO_HOST,
    Graphs,
    InstantiateParams,
    KernelParams,
    MemsetParams,
    NodeParams,
    handles,
    kernel_params,
    line,
    store_params,
    words,
)

COOPERATIVE, PRIORITY, CARVEOUT = 2, 8, 14  # CUlaunchAttributeID


@pytest.fixture
def graphs(driver: Driver) -> Graphs:
    return Graphs(driver)


@pytest.fixture
def store(driver: Driver) -> int:
    return driver.function(driver.load(PTX), "store")


def bytes_at(kernel: KernelParams, index: int, size: int) -> bytes:
    pointer = ctypes.c_void_p.from_address(int(kernel.parameters) + 8 * index)
    return ctypes.string_at(pointer.value or 0, size)


def test_dependencies_decide_the_order(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(8)
    graph = graphs.create()
    # Made in the wrong order, and put right by edges.
    copy = graphs.copy(graph, [], line(memory + 4, memory, 4))
    second = graphs.store(graph, [], store, memory, 2)
    first = graphs.store(graph, [], store, memory, 1)
    driver("cuGraphAddDependencies_v2", graph, handles(first, second), handles(second, copy), None, 2)
    assert graphs.roots(graph) == [first]
    assert graphs.dependencies(copy) == [second]
    assert graphs.dependents(first) == [second]
    assert graphs.edges(graph) == {(first, second), (second, copy)}
    graphs.run(graph)
    assert driver.download(memory, 8) == words(2, 2)
    driver("cuGraphRemoveDependencies_v2", graph, handles(second), handles(copy), None, 1)
    driver("cuGraphAddDependencies", graph, handles(first, copy), handles(copy, second), 2)
    driver("cuGraphRemoveDependencies", graph, handles(first), handles(second), 1)
    graphs.run(graph)
    assert driver.download(memory, 8) == words(2, 1)


def test_every_kind_of_node_runs(driver: Driver, graphs: Graphs, store: int) -> None:
    memory, event = driver.allocate(16), driver.get("cuEventCreate", 0)
    target, seen = ctypes.create_string_buffer(16), list[bytes]()

    @host_function
    def look(_: Any) -> None:
        seen.append(target.raw)

    graph = graphs.create()
    wait = graphs.add("EventWait", graph, [], event)
    fill = graphs.fill(graph, [wait], MemsetParams(memory, 0, 9, 4, 4, 1))
    kernel = graphs.store(graph, [fill], store, memory, 1)
    nothing = graphs.add("Empty", graph, [kernel])
    copy = graphs.copy(graph, [nothing], line(ctypes.addressof(target), memory, 16, TO_HOST, TO_DEVICE))
    host = graphs.host(graph, [copy], look)
    graphs.add("EventRecord", graph, [host], event)
    assert graphs.types(graph) == [EVENT_WAIT, MEMSET, KERNEL, EMPTY, MEMCPY, HOST, EVENT_RECORD]
    executable = graphs.instantiate(graph)
    driver("cuGraphUpload", executable, 0)
    driver("cuGraphLaunch", executable, 0)
    driver("cuEventSynchronize", event)
    assert seen == [words(1, 9, 9, 9)]


def test_nodes_answer_what_they_were_made_from(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(64)
    graph = graphs.create()
    params = store_params(store, memory, 7)
    kernel = graphs.add("Kernel", graph, [], ctypes.byref(params))
    ctypes.memset(params.kept_alive[1], 0, 4)  # the caller's again
    told = KernelParams()
    driver("cuGraphKernelNodeGetParams_v2", kernel, ctypes.byref(told))
    assert (told.function, list(told.grid), list(told.block)) == (store, [1] * 3, [1] * 3)
    assert told.context == driver.get("cuCtxGetCurrent")
    assert bytes_at(told, 0, 8) == bytes(ctypes.c_uint64(memory))
    assert bytes_at(told, 1, 4) == words(7)
    driver("cuGraphAddKernelNode_v2", ctypes.byref(ctypes.c_uint64()), graph, None, 0, ctypes.byref(told))
    copy = line(memory + 32, memory, 8, TO_DEVICE, TO_DEVICE)
    copy.src_x = 4
    node = graphs.copy(graph, [], copy)
    answered = line(0, 0, 0)
    driver("cuGraphMemcpyNodeGetParams", node, ctypes.byref(answered))
    assert bytes(answered) == bytes(copy)
    fill = MemsetParams(memory, 16, 3, 2, 4, 2)
    node = graphs.fill(graph, [], fill)
    answer = MemsetParams()
    driver("cuGraphMemsetNodeGetParams", node, ctypes.byref(answer))
    assert bytes(answer) == bytes(fill)


def test_parameters_come_packed_as_well(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(4)
    block = ctypes.create_string_buffer(bytes(ctypes.c_uint64(memory)) + words(77), 12)
    size = ctypes.c_size_t(12)
    extra = (ctypes.c_void_p * 5)(1, ctypes.addressof(block), 2, ctypes.addressof(size), 0)
    params = kernel_params(store)
    params.extra = ctypes.addressof(extra)
    graph = graphs.create()
    node = graphs.add("Kernel", graph, [], ctypes.byref(params))
    ctypes.memset(block, 0, 12)
    told = KernelParams()
    driver("cuGraphKernelNodeGetParams_v2", node, ctypes.byref(told))
    assert told.parameters is None
    assert told.extra is not None
    again = graphs.create()
    graphs.add("Kernel", again, [], ctypes.byref(told))
    driver("cuGraphDestroy", graph)
    graphs.run(again)
    assert driver.download(memory, 4) == words(77)


def test_kernels_of_libraries_can_be_named(driver: Driver, graphs: Graphs) -> None:
    library = driver.get("cuLibraryLoadData", PTX, None, None, 0, None, None, 0)
    kernel = driver.get("cuLibraryGetKernel", library, b"store")
    memory = driver.allocate(4)
    params = store_params(0, memory, 5)
    params.kernel = kernel
    graph = graphs.create()
    node = graphs.add("Kernel", graph, [], ctypes.byref(params))
    told = KernelParams()
    driver("cuGraphKernelNodeGetParams_v2", node, ctypes.byref(told))
    assert (told.function, told.kernel) == (0, kernel)
    driver("cuGraphKernelNodeGetParams", node, ctypes.byref(told))
    assert told.function == driver.get("cuKernelGetFunction", kernel)
    graphs.run(graph)
    assert driver.download(memory, 4) == words(5)


def test_changed_nodes_count_for_executables_to_come(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(16)
    seen: list[str] = []

    @host_function
    def first(_: Any) -> None:
        seen.append("first")

    @host_function
    def second(_: Any) -> None:
        seen.append("second")

    graph = graphs.create()
    kernel = graphs.store(graph, [], store, memory, 1)
    fill = graphs.fill(graph, [kernel], MemsetParams(memory + 4, 0, 1, 4, 1, 1))
    copy = graphs.copy(graph, [fill], line(memory + 8, memory, 4))
    host = graphs.host(graph, [copy], first)
    before = graphs.instantiate(graph)
    driver("cuGraphKernelNodeSetParams_v2", kernel, ctypes.byref(store_params(store, memory, 11)))
    driver("cuGraphMemsetNodeSetParams", fill, ctypes.byref(MemsetParams(memory + 4, 0, 12, 4, 1, 1)))
    driver("cuGraphMemcpyNodeSetParams", copy, ctypes.byref(line(memory + 8, memory + 4, 4)))
    called = (ctypes.c_uint64 * 2)(ctypes.cast(second, ctypes.c_void_p).value or 0, 0)
    driver("cuGraphHostNodeSetParams", host, called)
    graphs.run(graph)
    assert driver.download(memory, 12) == words(11, 12, 12)
    graphs.launch(before)
    assert driver.download(memory, 12) == words(1, 1, 1)
    assert seen == ["second", "first"]


def test_any_node_can_be_described_in_one_structure(driver: Driver, graphs: Graphs, store: int) -> None:
    memory, event = driver.allocate(8), driver.get("cuEventCreate", 0)
    child = graphs.create()
    graphs.fill(child, [], MemsetParams(memory + 4, 0, 6, 4, 1, 1))
    graph, node = graphs.create(), ctypes.c_uint64()
    descriptions = []
    for kind in (KERNEL, MEMCPY, MEMSET, CHILD, EMPTY, EVENT_RECORD, EVENT_WAIT):
        params = NodeParams(type=kind)
        if kind == KERNEL:
            params.of.kernel = kept = store_params(store, memory, 3)
        elif kind == MEMCPY:
            params.of.memcpy.copy = line(memory + 4, memory, 4)
        elif kind == MEMSET:
            params.of.memset = MemsetParams(memory + 4, 0, 4, 4, 1, 1)
        elif kind == CHILD:
            params.of.child.graph = child
        elif kind != EMPTY:
            params.of.event = event
        descriptions.append(params)
    for params in descriptions:
        dependencies = graphs.nodes(graph)[-1:]
        arguments = handles(*dependencies), None, len(dependencies), ctypes.byref(params)
        driver("cuGraphAddNode_v2", ctypes.byref(node), graph, *arguments)
    assert kept.function == store
    assert graphs.types(graph) == [KERNEL, MEMCPY, MEMSET, CHILD, EMPTY, EVENT_RECORD, EVENT_WAIT]
    graphs.run(graph)
    assert driver.download(memory, 8) == words(3, 6)
    descriptions[2].of.memset.value = 8
    driver("cuGraphNodeSetParams", graphs.nodes(graph)[2], ctypes.byref(descriptions[2]))
    assert driver.result("cuGraphNodeSetParams", graphs.nodes(graph)[0], ctypes.byref(descriptions[2])) == 1
    last = graphs.nodes(graph)[-1]
    driver("cuGraphAddNode", ctypes.byref(node), graph, handles(last), 1, ctypes.byref(descriptions[2]))
    graphs.run(graph)
    assert driver.download(memory, 8) == words(3, 8)
    descriptions[2].reserved2 = 1
    code = driver.result("cuGraphAddNode", ctypes.byref(node), graph, None, 0, ctypes.byref(descriptions[2]))
    assert code == INVALID_VALUE
    params = NodeParams(type=CONDITIONAL)
    assert driver.result("cuGraphAddNode", ctypes.byref(node), graph, None, 0, ctypes.byref(params)) == (
        NOT_SUPPORTED
    )


def test_attributes_of_kernels(driver: Driver, graphs: Graphs, store: int) -> None:
    graph = graphs.create()
    memory = driver.allocate(4)
    first, second = graphs.store(graph, [], store, memory, 1), graphs.store(graph, [], store, memory, 2)
    value = LaunchAttribute().value

    def get(node: int, attribute: int) -> int:
        answer = LaunchAttribute().value
        driver("cuGraphKernelNodeGetAttribute", node, attribute, answer)
        return ctypes.c_int(answer[0]).value

    assert (get(first, COOPERATIVE), get(first, PRIORITY), get(first, CARVEOUT)) == (0, 0, -1)
    for attribute, number in ((COOPERATIVE, 1), (PRIORITY, -3)):
        value[0] = number & 0xFFFFFFFF
        driver("cuGraphKernelNodeSetAttribute", first, attribute, value)
    driver("cuGraphKernelNodeCopyAttributes", second, first)
    driver("cuGraphKernelNodeSetParams_v2", second, ctypes.byref(store_params(store, memory, 3)))
    assert (get(second, COOPERATIVE), get(second, PRIORITY)) == (1, -3)
    value[0] = value[1] = value[2] = 2
    assert driver.result("cuGraphKernelNodeSetAttribute", first, 4, value) == 912, "clusters"
    assert driver.result("cuGraphKernelNodeGetAttribute", first, 3, value) == INVALID_VALUE
    graphs.run(graph)


def test_clones_are_independent(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(8)
    child, graph = graphs.create(), graphs.create()
    graphs.store(child, [], store, memory + 4, 5)
    kernel = graphs.store(graph, [], store, memory, 4)
    nested = graphs.add("ChildGraph", graph, [kernel], child)
    clone = driver.get("cuGraphClone", graph)
    twin = driver.get("cuGraphNodeFindInClone", kernel, clone)
    assert twin in graphs.nodes(clone)
    assert twin != kernel
    assert graphs.dependents(twin) == [driver.get("cuGraphNodeFindInClone", nested, clone)]
    driver("cuGraphKernelNodeSetParams_v2", kernel, ctypes.byref(store_params(store, memory, 9)))
    driver("cuGraphDestroyNode", nested)
    graphs.run(clone)
    assert driver.download(memory, 8) == words(4, 5)
    find = ctypes.byref(ctypes.c_uint64())
    assert driver.result("cuGraphNodeFindInClone", find, twin, clone) == INVALID_VALUE
    assert driver.result("cuGraphNodeFindInClone", find, kernel, child) == INVALID_VALUE
    driver("cuGraphDestroyNode", twin)
    assert driver.result("cuGraphNodeFindInClone", find, kernel, clone) == INVALID_VALUE


def test_children_belong_to_their_node(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(8)
    child, graph = graphs.create(), graphs.create()
    graphs.store(child, [], store, memory, 1)
    node = graphs.add("ChildGraph", graph, [], child)
    driver("cuGraphDestroy", child)
    embedded = ctypes.c_uint64()
    driver("cuGraphChildGraphNodeGetGraph", node, ctypes.byref(embedded))
    inner = graphs.nodes(embedded.value)[0]
    graphs.store(embedded.value, [inner], store, memory + 4, 2)
    driver("cuGraphKernelNodeSetParams_v2", inner, ctypes.byref(store_params(store, memory, 3)))
    graphs.run(graph)
    assert driver.download(memory, 8) == words(3, 2)
    assert driver.result("cuGraphDestroy", embedded.value) == INVALID_VALUE
    driver("cuGraphDestroyNode", node)
    assert driver.result("cuGraphGetNodes", embedded.value, None, ctypes.byref(ctypes.c_size_t())) == 1
    assert driver.result("cuGraphNodeGetType", inner, ctypes.byref(ctypes.c_int())) == INVALID_VALUE


def test_children_can_be_moved(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(4)
    child, graph, node = graphs.create(), graphs.create(), ctypes.c_uint64()
    graphs.store(child, [], store, memory, 1)
    params = NodeParams(type=CHILD)
    params.of.child.graph, params.of.child.ownership = child, 1
    arguments = None, 0, ctypes.byref(params)
    driver("cuGraphAddNode", ctypes.byref(node), graph, *arguments)
    out = ctypes.byref(ctypes.c_uint64())
    assert driver.result("cuGraphDestroy", child) == INVALID_VALUE
    assert driver.result("cuGraphInstantiateWithFlags", out, child, 0) == INVALID_VALUE
    assert driver.result("cuGraphAddNode", out, graphs.create(), *arguments) == INVALID_VALUE
    params.of.child.graph = graph
    assert driver.result("cuGraphAddNode", out, child, *arguments) == INVALID_VALUE, "into itself"
    graphs.run(graph)
    assert driver.download(memory, 4) == words(1)
    driver("cuGraphDestroy", graph)
    assert driver.result("cuGraphGetNodes", child, None, ctypes.byref(ctypes.c_size_t())) == INVALID_VALUE


def test_cycles_are_found_when_the_graph_is_instantiated(driver: Driver, graphs: Graphs) -> None:
    graph = graphs.create()
    free = graphs.add("Empty", graph, [])
    first = graphs.add("Empty", graph, [free])
    second = graphs.add("Empty", graph, [first])
    driver("cuGraphAddDependencies_v2", graph, handles(second), handles(first), None, 1)
    params = InstantiateParams()
    out = ctypes.byref(ctypes.c_uint64())
    code = driver.result("cuGraphInstantiateWithParams", out, graph, ctypes.byref(params))
    assert (code, params.result) == (INVALID_VALUE, 2)
    assert params.error_node in (first, second)
    node, log = ctypes.c_uint64(), ctypes.create_string_buffer(100)
    code = driver.result("cuGraphInstantiate_v2", out, graph, ctypes.byref(node), log, 100)
    assert (code, node.value) == (INVALID_VALUE, params.error_node)
    assert b"cycle" in log.value
    outer = graphs.create()
    graphs.add("ChildGraph", outer, [], graph)
    assert driver.result("cuGraphInstantiateWithFlags", out, outer, 0) == INVALID_VALUE
    driver("cuGraphRemoveDependencies_v2", graph, handles(second), handles(first), None, 1)
    driver("cuGraphInstantiateWithParams", out, graph, ctypes.byref(params))
    assert (params.result, params.error_node) == (0, 0)


def test_wrong_edges_and_foreign_nodes_are_refused(driver: Driver, graphs: Graphs) -> None:
    graph, other = graphs.create(), graphs.create()
    first, second = graphs.add("Empty", graph, []), graphs.add("Empty", graph, [])
    foreign, out = graphs.add("Empty", other, []), ctypes.byref(ctypes.c_uint64())
    one = handles(first)
    for starts, ends in ((first, first), (first, foreign), (foreign, first), (0, first), (first, graph)):
        arguments = handles(starts), handles(ends), 1
        assert driver.result("cuGraphAddDependencies", graph, *arguments) == INVALID_VALUE
    assert driver.result("cuGraphRemoveDependencies", graph, one, handles(second), 1) == INVALID_VALUE
    driver("cuGraphAddDependencies", graph, one, handles(second), 1)
    assert driver.result("cuGraphAddDependencies", graph, one, handles(second), 1) == INVALID_VALUE
    twice = handles(second, second), handles(first, first), 2
    assert driver.result("cuGraphAddDependencies", graph, *twice) == INVALID_VALUE
    assert driver.result("cuGraphAddEmptyNode", out, graph, handles(first, first), 2) == INVALID_VALUE
    assert driver.result("cuGraphAddEmptyNode", out, graph, handles(foreign), 1) == INVALID_VALUE
    assert driver.result("cuGraphAddEmptyNode", out, graph, None, 1) == INVALID_VALUE
    data = (ctypes.c_ubyte * 8)(1, 0, 1)  # a programmatic dependency
    assert driver.result("cuGraphAddDependencies_v2", graph, handles(second), one, data, 1) == NOT_SUPPORTED
    data = (ctypes.c_ubyte * 8)(0, 0, 0, 9)
    assert driver.result("cuGraphAddDependencies_v2", graph, handles(second), one, data, 1) == INVALID_VALUE
    assert graphs.edges(graph) == {(first, second)}
    assert len(graphs.nodes(graph)) == 2


def test_lists_are_cut_and_filled_up(driver: Driver, graphs: Graphs) -> None:
    graph = graphs.create()
    nodes = [graphs.add("Empty", graph, []) for _ in range(3)]
    array, count = handles(*[7] * 5), ctypes.c_size_t(2)
    driver("cuGraphGetNodes", graph, array, ctypes.byref(count))
    assert (list(array), count.value) == ([*nodes[:2], 7, 7, 7], 2)
    count.value = 5
    driver("cuGraphGetNodes", graph, array, ctypes.byref(count))
    assert (list(array), count.value) == ([*nodes, 0, 0], 3)


def test_wrong_parameters_are_refused(driver: Driver, graphs: Graphs, store: int) -> None:
    graph, out, memory = graphs.create(), ctypes.byref(ctypes.c_uint64()), driver.allocate(8)
    too_many = kernel_params(store, ctypes.c_uint64(memory), ctypes.c_uint32(1), block=(2048, 1, 1))
    nothing = MemsetParams(memory, 0, 0, 4, 0, 1)
    crooked = MemsetParams(memory + 1, 0, 0, 4, 1, 1)
    assert driver.result("cuGraphAddKernelNode_v2", out, graph, None, 0, ctypes.byref(too_many)) != SUCCESS
    assert driver.result("cuGraphAddKernelNode_v2", out, graph, None, 0, None) == INVALID_VALUE
    for params in (nothing, crooked, MemsetParams(memory, 0, 0, 3, 1, 1), MemsetParams(64, 0, 0, 4, 1, 1)):
        assert driver.result("cuGraphAddMemsetNode", out, graph, None, 0, ctypes.byref(params), 0) == 1
    copy = line(memory, memory, 0)
    assert driver.result("cuGraphAddMemcpyNode", out, graph, None, 0, ctypes.byref(copy), 0) == INVALID_VALUE
    copy = line(memory, memory + 4, 4)
    assert driver.result("cuGraphAddMemcpyNode", out, graph, None, 0, ctypes.byref(copy), 12345) == 201
    host = (ctypes.c_uint64 * 2)(0, 0)
    assert driver.result("cuGraphAddHostNode", out, graph, None, 0, host) == INVALID_VALUE
    assert driver.result("cuGraphAddEventRecordNode", out, graph, None, 0, 12345) == INVALID_VALUE
    assert driver.result("cuGraphCreate", out, 1) == INVALID_VALUE
    assert graphs.nodes(graph) == []
    node = graphs.add("Empty", graph, [])
    told = KernelParams()
    assert driver.result("cuGraphKernelNodeGetParams_v2", node, ctypes.byref(told)) == INVALID_VALUE


def test_destroyed_handles_are_refused(driver: Driver, graphs: Graphs) -> None:
    graph = graphs.create()
    node = graphs.add("Empty", graph, [])
    executable = graphs.instantiate(graph)
    driver("cuGraphExecDestroy", executable)
    driver("cuGraphDestroy", graph)
    out = ctypes.byref(ctypes.c_uint64())
    for code in (
        driver.result("cuGraphDestroy", graph),
        driver.result("cuGraphClone", out, graph),
        driver.result("cuGraphAddEmptyNode", out, graph, None, 0),
        driver.result("cuGraphInstantiateWithFlags", out, graph, 0),
        driver.result("cuGraphNodeGetType", node, out),
        driver.result("cuGraphDestroyNode", node),
        driver.result("cuGraphLaunch", executable, 0),
        driver.result("cuGraphExecDestroy", executable),
        driver.result("cuGraphLaunch", graph, 0),
        driver.result("cuGraphDestroy", 0),
    ):
        assert code == INVALID_VALUE


def test_dot_names_nodes_and_edges(driver: Driver, graphs: Graphs, store: int, tmp_path: Path) -> None:
    graph, path = graphs.create(), tmp_path / "graph.dot"
    memory = driver.allocate(4)
    first = graphs.fill(graph, [], MemsetParams(memory, 0, 9, 4, 1, 1))
    second = graphs.store(graph, [first], store, memory, 1)
    driver("cuGraphDebugDotPrint", graph, str(path).encode(), 0)
    plain = path.read_text()
    assert plain.startswith("digraph")
    assert f"node_{first} -> node_{second}" in plain
    assert "store" in plain
    driver("cuGraphDebugDotPrint", graph, str(path).encode(), 1)
    assert "grid 1 x 1 x 1" in path.read_text()
    assert driver.result("cuGraphDebugDotPrint", graph, b"/no/where/graph.dot", 0) == 304


@pytest.mark.parametrize(
    "function",
    [
        "cuGraphAddExternalSemaphoresSignalNode",
        "cuGraphAddExternalSemaphoresWaitNode",
        "cuGraphAddBatchMemOpNode",
        "cuGraphConditionalHandleCreate",
    ],
)
def test_other_kinds_of_nodes_are_not_supported(driver: Driver, graphs: Graphs, function: str) -> None:
    arguments = ctypes.byref(ctypes.c_uint64()), graphs.create(), None, 0, None
    assert driver.result(function, *arguments) == NOT_SUPPORTED
