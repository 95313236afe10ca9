"""Executable graphs: launching, changing and outliving what they were made from."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import pytest
from software_gpu import (
    CONTEXT_IS_DESTROYED,
    ILLEGAL_ADDRESS,
    INVALID_VALUE,
    NOT_PERMITTED,
    NOT_READY,
    NOT_SUPPORTED,
    PTX,
    SUCCESS,
    Driver,
    host_function,
)
from software_graphs import (
    CHILD,
    GRAPH_EXEC_UPDATE_FAILURE,
    KERNEL,
    NON_BLOCKING,
    TO_DEVICE,
    TO_HOST,
    Graphs,
    HostParams,
    MemsetParams,
    NodeParams,
    UpdateInfo,
    handles,
    line,
    store_params,
    words,
)

TOPOLOGY_CHANGED, TYPE_CHANGED, PARAMETERS_CHANGED, ATTRIBUTES_CHANGED = 2, 3, 5, 8  # CUgraphExecUpdateResult


@pytest.fixture
def graphs(driver: Driver) -> Graphs:
    return Graphs(driver)


@pytest.fixture
def store(driver: Driver) -> int:
    return driver.function(driver.load(PTX), "store")


def update(driver: Driver, executable: int, graph: int) -> tuple[int, int, int, int]:
    """Return the code, the result, the error node and its dependency."""
    info = UpdateInfo(9, 9, 9)
    code = driver.result("cuGraphExecUpdate_v2", executable, graph, ctypes.byref(info))
    return code, info.result, info.node, info.from_node


def test_one_node_of_an_executable_can_be_changed(driver: Driver, graphs: Graphs, store: int) -> None:
    memory, seen = driver.allocate(32), list[str]()

    @host_function
    def first(_: Any) -> None:
        seen.append("first")

    @host_function
    def second(_: Any) -> None:
        seen.append("second")

    events = [driver.get("cuEventCreate", 0) for _ in range(2)]
    graph = graphs.create()
    kernel = graphs.store(graph, [], store, memory, 1)
    fill = graphs.fill(graph, [kernel], MemsetParams(memory + 4, 0, 1, 4, 1, 1))
    copy = graphs.copy(graph, [fill], line(memory + 8, memory, 4))
    host = graphs.host(graph, [copy], first)
    record = graphs.add("EventRecord", graph, [host], events[0])
    wait = graphs.add("EventWait", graph, [record], events[0])
    executable = graphs.instantiate(graph)
    driver(
        "cuGraphExecKernelNodeSetParams_v2", executable, kernel, ctypes.byref(store_params(store, memory, 2))
    )
    params = MemsetParams(memory + 16, 0, 3, 4, 2, 1)
    driver("cuGraphExecMemsetNodeSetParams", executable, fill, ctypes.byref(params), 0)
    params = line(memory + 8, memory + 16, 4)
    driver("cuGraphExecMemcpyNodeSetParams", executable, copy, ctypes.byref(params), 0)
    called = HostParams(ctypes.cast(second, ctypes.c_void_p), None)
    driver("cuGraphExecHostNodeSetParams", executable, host, ctypes.byref(called))
    driver("cuGraphExecEventRecordNodeSetEvent", executable, record, events[1])
    driver("cuGraphExecEventWaitNodeSetEvent", executable, wait, events[1])
    with driver.gate() as open_gate:
        driver("cuGraphLaunch", executable, 0)
        assert driver.result("cuEventQuery", events[0]) == SUCCESS
        assert driver.result("cuEventQuery", events[1]) == NOT_READY
        open_gate()
    assert driver.download(memory, 24) == words(2, 0, 3, 0, 3, 3)
    graphs.run(graph)
    assert driver.download(memory, 12) == words(1, 1, 1), "the graph itself is as it was"
    assert seen == ["second", "first"]
    generic = NodeParams(type=KERNEL)
    generic.of.kernel = kept = store_params(store, memory, 8)
    driver("cuGraphExecNodeSetParams", executable, kernel, ctypes.byref(generic))
    graphs.launch(executable)
    assert kept.function == store
    assert driver.download(memory, 4) == words(8)


def test_a_launch_that_waits_is_not_changed(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(8)
    graph = graphs.create()
    kernel = graphs.store(graph, [], store, memory, 1)
    graphs.copy(graph, [kernel], line(memory + 4, memory, 4))
    executable = graphs.instantiate(graph)
    with driver.gate() as open_gate:
        driver("cuGraphLaunch", executable, 0)
        params = store_params(store, memory, 2)
        driver("cuGraphExecKernelNodeSetParams_v2", executable, kernel, ctypes.byref(params))
        driver("cuGraphNodeSetEnabled", executable, graphs.nodes(graph)[1], 0)
        driver("cuGraphLaunch", executable, 0)
        driver("cuGraphExecDestroy", executable)
        driver("cuGraphDestroy", graph)
        open_gate()
    assert driver.download(memory, 8) == words(2, 1)


def test_what_a_change_may_not_do(driver: Driver, graphs: Graphs, store: int) -> None:
    memory, content = driver.allocate(64), ctypes.create_string_buffer(64)
    graph, other = graphs.create(), graphs.create()
    kernel = graphs.store(graph, [], store, memory, 1)
    fill = graphs.fill(graph, [], MemsetParams(memory, 16, 1, 4, 2, 2))
    copy = graphs.copy(graph, [], line(memory + 8, memory, 4))
    empty = graphs.add("Empty", graph, [])
    foreign = graphs.store(other, [], store, memory, 1)
    executable = graphs.instantiate(graph)
    kernel_params = ctypes.byref(store_params(store, memory, 2))
    upload = line(memory, ctypes.addressof(content), 4, TO_DEVICE, TO_HOST)
    locked = line(memory + 8, driver.get("cuMemHostAlloc", 4, 0), 4)
    two_rows = line(memory + 32, memory, 4)
    two_rows.height, two_rows.src_pitch, two_rows.dst_pitch = 2, 8, 8
    later = graphs.store(graph, [], store, memory, 1)
    for function, node, params in (
        ("cuGraphExecKernelNodeSetParams_v2", foreign, kernel_params),
        ("cuGraphExecKernelNodeSetParams_v2", later, kernel_params),
        ("cuGraphExecKernelNodeSetParams_v2", fill, kernel_params),
        ("cuGraphExecMemsetNodeSetParams", fill, ctypes.byref(MemsetParams(memory, 16, 1, 4, 1, 2))),
        ("cuGraphExecMemsetNodeSetParams", fill, ctypes.byref(MemsetParams(memory, 16, 1, 4, 2, 1))),
        ("cuGraphExecMemcpyNodeSetParams", copy, ctypes.byref(upload)),
        ("cuGraphExecMemcpyNodeSetParams", copy, ctypes.byref(locked)),
        ("cuGraphExecMemcpyNodeSetParams", copy, ctypes.byref(two_rows)),
        ("cuGraphNodeSetEnabled", empty, 0),
        ("cuGraphNodeGetEnabled", foreign, ctypes.byref(ctypes.c_uint())),
    ):
        assert driver.result(function, executable, node, params, 0) == INVALID_VALUE
    driver("cuGraphDestroyNode", kernel)
    assert (
        driver.result("cuGraphExecKernelNodeSetParams_v2", executable, kernel, kernel_params) == INVALID_VALUE
    )
    graphs.launch(executable)


def test_nodes_can_be_switched_off_and_on(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(4)
    graph = graphs.create()
    node = graphs.store(graph, [], store, memory, 1)
    executable, enabled = graphs.instantiate(graph), ctypes.c_uint(7)
    for state, expected in ((0, 0), (1, 1)):
        driver("cuGraphNodeSetEnabled", executable, node, state)
        driver("cuGraphNodeGetEnabled", executable, node, ctypes.byref(enabled))
        assert enabled.value == state
        graphs.launch(executable)
        assert driver.download(memory, 4) == words(expected)


def test_a_graph_of_the_same_shape_updates_all_nodes(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(16)

    def build(base: int, reverse: bool) -> int:
        """Two stores, then a copy of the second; made in one order or the other."""
        graph = graphs.create()
        child = graphs.create()
        graphs.fill(child, [], MemsetParams(memory + 12, 0, base + 3, 4, 1, 1))
        if reverse:
            second = graphs.store(graph, [], store, memory + 4, base + 2)
            first = graphs.store(graph, [], store, memory, base + 1)
        else:
            first = graphs.store(graph, [], store, memory, base + 1)
            second = graphs.store(graph, [], store, memory + 4, base + 2)
        copy = graphs.copy(graph, [first, second], line(memory + 8, memory + 4, 4))
        graphs.add("ChildGraph", graph, [copy], child)
        return graph

    original = build(0, False)
    executable = graphs.instantiate(original)
    for base, reverse in ((10, False), (20, True)):
        graph = build(base, reverse)
        assert update(driver, executable, graph) == (SUCCESS, 0, 0, 0)
        driver("cuGraphDestroy", graph)
        graphs.launch(executable)
        assert driver.download(memory, 16) == words(base + 1, base + 2, base + 2, base + 3)
    first = graphs.nodes(original)[0]
    driver(
        "cuGraphExecKernelNodeSetParams_v2", executable, first, ctypes.byref(store_params(store, memory, 5))
    )
    graphs.launch(executable)
    assert driver.download(memory, 4) == words(5), "nodes of the original still name those of the executable"


def test_updates_that_do_not_fit_say_why(driver: Driver, graphs: Graphs, store: int) -> None:
    memory, content = driver.allocate(64), ctypes.create_string_buffer(4)
    chain = graphs.create()
    start = graphs.store(chain, [], store, memory, 1)
    middle = graphs.fill(chain, [start], MemsetParams(memory, 0, 1, 4, 1, 1))
    graphs.copy(chain, [middle], line(memory + 8, memory, 4))
    executable = graphs.instantiate(chain)

    def check(graph: int, result: int, node: int, from_node: int = 0) -> None:
        assert update(driver, executable, graph) == (GRAPH_EXEC_UPDATE_FAILURE, result, node, from_node)

    shorter = driver.get("cuGraphClone", chain)
    driver("cuGraphDestroyNode", graphs.nodes(shorter)[2])
    check(shorter, TOPOLOGY_CHANGED, 0)
    parted = driver.get("cuGraphClone", chain)
    one, two, three = graphs.nodes(parted)
    driver("cuGraphRemoveDependencies_v2", parted, handles(two), handles(three), None, 1)
    check(parted, TOPOLOGY_CHANGED, three)
    driver("cuGraphAddDependencies_v2", parted, handles(one, two), handles(three, three), None, 2)
    check(parted, TOPOLOGY_CHANGED, three)
    other_type = graphs.create()
    one = graphs.fill(other_type, [], MemsetParams(memory, 0, 1, 4, 1, 1))
    two = graphs.fill(other_type, [one], MemsetParams(memory, 0, 1, 4, 1, 1))
    graphs.copy(other_type, [two], line(memory + 8, memory, 4))
    check(other_type, TYPE_CHANGED, one)
    two_rows = driver.get("cuGraphClone", chain)
    node = graphs.nodes(two_rows)[1]
    driver("cuGraphMemsetNodeSetParams", node, ctypes.byref(MemsetParams(memory, 8, 1, 4, 1, 2)))
    check(two_rows, PARAMETERS_CHANGED, node)
    from_host = driver.get("cuGraphClone", chain)
    node = graphs.nodes(from_host)[2]
    upload = line(memory, ctypes.addressof(content), 4, TO_DEVICE, TO_HOST)
    driver("cuGraphMemcpyNodeSetParams", node, ctypes.byref(upload))
    check(from_host, PARAMETERS_CHANGED, node)
    cooperative = driver.get("cuGraphClone", chain)
    node = graphs.nodes(cooperative)[0]
    driver("cuGraphKernelNodeSetAttribute", node, 2, (ctypes.c_uint32 * 16)(1))
    check(cooperative, ATTRIBUTES_CHANGED, node)
    looped = driver.get("cuGraphClone", chain)
    one, two, three = graphs.nodes(looped)
    driver("cuGraphAddDependencies_v2", looped, handles(three), handles(one), None, 1)
    check(looped, TOPOLOGY_CHANGED, 0)
    result, error_node = ctypes.c_int(), ctypes.c_uint64()
    arguments = shorter, ctypes.byref(error_node), ctypes.byref(result)
    assert driver.result("cuGraphExecUpdate", executable, *arguments) == GRAPH_EXEC_UPDATE_FAILURE
    assert result.value == TOPOLOGY_CHANGED
    assert update(driver, executable, 12345)[:2] == (INVALID_VALUE, 1)
    graphs.launch(executable)
    assert driver.download(memory, 12) == words(1, 0, 1), "a refused update changes nothing"


def test_child_graphs_of_executables_can_be_changed(driver: Driver, graphs: Graphs, store: int) -> None:
    memory = driver.allocate(8)
    child, graph, embedded = graphs.create(), graphs.create(), ctypes.c_uint64()
    graphs.store(child, [], store, memory, 1)
    node = graphs.add("ChildGraph", graph, [], child)
    graphs.store(graph, [node], store, memory + 4, 2)
    executable = graphs.instantiate(graph)
    driver(
        "cuGraphKernelNodeSetParams_v2", graphs.nodes(child)[0], ctypes.byref(store_params(store, memory, 3))
    )
    driver("cuGraphExecChildGraphNodeSetParams", executable, node, child)
    graphs.launch(executable)
    assert driver.download(memory, 8) == words(3, 2)
    driver("cuGraphChildGraphNodeGetGraph", node, ctypes.byref(embedded))
    inner = graphs.nodes(embedded.value)[0]
    driver(
        "cuGraphExecKernelNodeSetParams_v2", executable, inner, ctypes.byref(store_params(store, memory, 4))
    )
    graphs.launch(executable)
    assert driver.download(memory, 8) == words(4, 2)
    generic = NodeParams(type=CHILD)
    generic.of.child.graph = child
    driver("cuGraphExecNodeSetParams", executable, node, ctypes.byref(generic))
    graphs.launch(executable)
    assert driver.download(memory, 8) == words(3, 2)
    graphs.store(child, [], store, memory, 1)
    assert driver.result("cuGraphExecChildGraphNodeSetParams", executable, node, child) == INVALID_VALUE


def test_executables_outlive_their_graph_module_and_stream(driver: Driver, graphs: Graphs) -> None:
    stream, module, memory = driver.get("cuStreamCreate", NON_BLOCKING), driver.load(PTX), driver.allocate(4)
    with graphs.capture(stream) as captured:
        driver.launch(
            driver.function(module, "store"), ctypes.c_uint64(memory), ctypes.c_uint32(6), stream=stream
        )
    executable = graphs.instantiate(captured[0])
    driver("cuGraphDestroy", captured[0])
    driver("cuModuleUnload", module)
    driver("cuStreamDestroy_v2", stream)
    graphs.launch(executable)
    assert driver.download(memory, 4) == words(6)


def test_the_end_of_a_context_is_the_end_of_its_executables(driver: Driver, graphs: Graphs) -> None:
    outer, inner = driver.get("cuCtxGetCurrent"), ctypes.c_uint64()
    driver("cuCtxCreate_v2", ctypes.byref(inner), 0, 0)
    graph = graphs.create()
    graphs.fill(graph, [], MemsetParams(driver.allocate(4), 0, 1, 4, 1, 1))
    executable = graphs.instantiate(graph)
    driver("cuCtxDestroy_v2", inner.value)
    driver("cuCtxSetCurrent", outer)
    assert driver.result("cuGraphLaunch", executable, 0) == CONTEXT_IS_DESTROYED
    driver("cuGraphExecDestroy", executable)
    driver("cuGraphDestroy", graph)
    driver("cuCtxSynchronize")


def test_a_fault_ends_the_graph_and_sticks(driver: Driver, graphs: Graphs, store: int) -> None:
    memory, called = driver.allocate(4), list[int]()

    @host_function
    def call(_: Any) -> None:
        called.append(1)

    graph = graphs.create()
    node = graphs.store(graph, [], store, 64, 1)
    graphs.host(graph, [node], call)
    executable = graphs.instantiate(graph)
    driver("cuGraphLaunch", executable, 0)
    assert driver.result("cuStreamSynchronize", 0) == ILLEGAL_ADDRESS
    assert driver.result("cuMemFree_v2", memory) == ILLEGAL_ADDRESS
    assert called == []
    driver("cuGraphExecDestroy", executable)
    driver("cuGraphDestroy", graph)


def test_an_event_passes_in_the_middle_of_a_graph(driver: Driver, graphs: Graphs) -> None:
    event, opened = driver.get("cuEventCreate", 0), threading.Event()

    @host_function
    def hold(_: Any) -> None:
        opened.wait(60)

    graph = graphs.create()
    record = graphs.add("EventRecord", graph, [], event)
    graphs.host(graph, [record], hold)
    executable = graphs.instantiate(graph)
    driver("cuGraphLaunch", executable, 0)
    driver("cuEventSynchronize", event)  # while the rest of the graph waits for us
    assert driver.result("cuStreamQuery", 0) == NOT_READY
    opened.set()
    driver("cuStreamSynchronize", 0)


def test_user_objects_go_with_the_last_that_refers_to_them(driver: Driver, graphs: Graphs) -> None:
    gone: list[tuple[int, int]] = []

    @host_function
    def destroy(which: int) -> None:
        gone.append((which, driver.result("cuCtxSynchronize")))

    def create(number: int, references: int) -> int:
        return int(driver.get("cuUserObjectCreate", ctypes.c_void_p(number), destroy, references, 1))

    graph = graphs.create()
    moved, shared, released = create(1, 1), create(2, 2), create(3, 1)
    driver("cuGraphRetainUserObject", graph, moved, 1, 1)
    driver("cuGraphRetainUserObject", graph, shared, 3, 0)
    driver("cuGraphReleaseUserObject", graph, shared, 2)
    driver("cuUserObjectRetain", released, 2)
    driver("cuUserObjectRelease", released, 3)
    driver("cuCtxSynchronize")
    assert gone == [(3, NOT_PERMITTED)]
    assert driver.result("cuUserObjectRelease", released, 1) == INVALID_VALUE
    assert driver.result("cuGraphReleaseUserObject", graph, shared, 2) == INVALID_VALUE
    clone = driver.get("cuGraphClone", graph)
    executable = graphs.instantiate(graph)
    with driver.gate() as open_gate:
        driver("cuGraphLaunch", executable, 0)
        driver("cuGraphExecDestroy", executable)
        driver("cuGraphDestroy", graph)
        driver("cuGraphDestroy", clone)
        assert len(gone) == 1, "the launch still refers to it"
        open_gate()
    driver("cuCtxSynchronize")
    assert gone[1:] == [(1, NOT_PERMITTED)]
    driver("cuUserObjectRelease", shared, 2)
    driver("cuCtxSynchronize")
    assert gone[2:] == [(2, NOT_PERMITTED)]
    for arguments in ((None, destroy, 0, 1), (None, destroy, 1, 0), (None, None, 1, 1)):
        assert driver.result("cuUserObjectCreate", ctypes.byref(ctypes.c_uint64()), *arguments) == 1


def test_flags_are_answered(driver: Driver, graphs: Graphs) -> None:
    graph, flags = graphs.create(), ctypes.c_uint64()
    driver("cuGraphExecGetFlags", graphs.instantiate(graph, 1 | 8), ctypes.byref(flags))
    assert flags.value == 9
    for given, code in ((2, INVALID_VALUE), (4, NOT_SUPPORTED), (16, INVALID_VALUE)):
        out = ctypes.byref(ctypes.c_uint64())
        assert driver.result("cuGraphInstantiateWithFlags", out, graph, given) == code


@pytest.mark.parametrize("shared", [True, False], ids=["one executable", "one each"])
def test_threads_launch_and_change_at_once(driver: Driver, graphs: Graphs, store: int, shared: bool) -> None:
    memory, context = driver.allocate(4 * 4), driver.get("cuCtxGetCurrent")
    graph = graphs.create()
    nodes = [graphs.store(graph, [], store, memory + 4 * index, 0) for index in range(4)]
    common = graphs.instantiate(graph)
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            driver("cuCtxSetCurrent", context)
            executable = common if shared else graphs.instantiate(graph)
            for value in range(1, 101):
                params = store_params(store, memory + 4 * index, value)
                driver("cuGraphExecKernelNodeSetParams_v2", executable, nodes[index], ctypes.byref(params))
                if not shared:
                    for other in set(nodes) - {nodes[index]}:
                        driver("cuGraphNodeSetEnabled", executable, other, 0)
                driver("cuGraphLaunch", executable, 2)
            driver("cuStreamSynchronize", 2)
        except BaseException as failure:
            failures.append(failure)

    run_threads(work, 4)
    assert failures == []
    graphs.launch(common) if shared else None
    assert driver.download(memory, 16) == words(100, 100, 100, 100)


def run_threads(body: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=body, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
