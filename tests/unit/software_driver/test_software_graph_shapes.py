"""Graphs of shapes that nobody thought of: order, structure, and captures that replay what a stream would do."""

from __future__ import annotations

import ctypes
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from software_gpu import PTX, SUCCESS, Driver, host_function
from software_graphs import NON_BLOCKING, RELAXED, Graphs, HostParams, UpdateInfo, handles, words

WORDS, STREAMS = 8, 3

relaxed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    """An order in which nodes are made, and edges that go up in their numbers."""
    count = draw(st.integers(1, 12))
    made = draw(st.permutations(range(count)))
    pairs = [(low, high) for high in range(count) for low in range(high)]
    return made, draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30)) if pairs else []


@given(shape=shapes())
@relaxed
def test_every_order_keeps_the_dependencies(
    driver: Driver, shape: tuple[list[int], list[tuple[int, int]]]
) -> None:
    graphs, (made, edges), seen = Graphs(driver), shape, list[int]()

    @host_function
    def run(user: int | None) -> None:
        seen.append(user or 0)

    graph, nodes = graphs.create(), dict[int, int]()
    for number in made:
        params = HostParams(ctypes.cast(run, ctypes.c_void_p), number)
        nodes[number] = graphs.add("Host", graph, [], ctypes.byref(params))
    starts, ends = (handles(*[nodes[edge[side]] for edge in edges]) for side in (0, 1))
    driver("cuGraphAddDependencies_v2", graph, starts, ends, None, len(edges))
    expected_edges = {(nodes[low], nodes[high]) for low, high in edges}
    assert graphs.edges(graph) == expected_edges
    for number, node in nodes.items():
        assert set(graphs.dependencies(node)) == {nodes[low] for low, high in edges if high == number}
        assert set(graphs.dependents(node)) == {nodes[high] for low, high in edges if low == number}
    clone = driver.get("cuGraphClone", graph)
    twins = {node: driver.get("cuGraphNodeFindInClone", node, clone) for node in nodes.values()}
    assert graphs.edges(clone) == {(twins[start], twins[end]) for start, end in expected_edges}
    executable, info = graphs.instantiate(graph), UpdateInfo()
    assert driver.result("cuGraphExecUpdate_v2", executable, clone, ctypes.byref(info)) == SUCCESS
    graphs.launch(executable)
    assert sorted(seen) == sorted(made)
    assert all(seen.index(low) < seen.index(high) for low, high in edges)
    for destroy, handle in (("Graph", graph), ("GraphExec", executable), ("Graph", clone)):
        driver(f"cu{destroy}Destroy", handle)


word = st.integers(0, WORDS - 1)
calls = st.one_of(
    st.tuples(st.just("store"), word, st.integers(1, 1000)),
    st.tuples(st.just("fill"), word, st.integers(1, 1000)),
    st.tuples(st.just("copy"), word, word),
    st.tuples(st.just("wait"), st.integers(0, STREAMS - 1), st.just(0)),
)


@given(program=st.lists(st.tuples(st.integers(0, STREAMS - 1), calls), max_size=30))
@relaxed
def test_a_capture_replays_what_its_streams_would_have_done(
    driver: Driver, program: list[tuple[int, tuple[str, int, int]]]
) -> None:
    graphs = Graphs(driver)
    streams = [driver.get("cuStreamCreate", NON_BLOCKING) for _ in range(STREAMS)]
    store, memory = driver.function(driver.load(PTX), "store"), driver.allocate(4 * WORDS)
    event = driver.get("cuEventCreate", 0)

    def order(waiting: int, recording: int) -> None:
        driver("cuEventRecord", event, streams[recording])
        driver("cuStreamWaitEvent", streams[waiting], event, 0)

    def run() -> None:
        for other in range(1, STREAMS):
            order(other, 0)
        for stream, (kind, first, second) in program:
            where, value = memory + 4 * first, second
            if kind == "store":
                driver.launch(store, ctypes.c_uint64(where), ctypes.c_uint32(value), stream=streams[stream])
            elif kind == "fill":
                driver("cuMemsetD32Async", where, value, 1, streams[stream])
            elif kind == "copy":
                driver("cuMemcpyDtoDAsync_v2", where, memory + 4 * second, 4, streams[stream])
            else:
                order(stream, first)
        for other in range(1, STREAMS):
            order(0, other)

    def clear() -> None:
        driver.upload(memory, words(*range(WORDS)))

    # The queue's order is one of those that the program allows, and a replay keeps to the same one.
    clear()
    run()
    driver("cuStreamSynchronize", streams[0])
    expected = driver.download(memory, 4 * WORDS)
    clear()
    with graphs.capture(streams[0], RELAXED) as captured:
        run()
    executable: Any = graphs.instantiate(captured[0])
    assert len(graphs.nodes(captured[0])) == sum(kind != "wait" for _, (kind, _, _) in program)
    for _ in range(2):
        clear()
        graphs.launch(executable, streams[1])
        assert driver.download(memory, 4 * WORDS) == expected
    driver("cuGraphExecDestroy", executable)
    driver("cuGraphDestroy", captured[0])
    driver("cuMemFree_v2", memory)


OBJECTS = ("graph", "child", "clone", "executable", "other executable", "stream", "event", "module")


@given(order=st.permutations(OBJECTS))
@relaxed
def test_objects_may_go_in_any_order_while_a_launch_waits(driver: Driver, order: list[str]) -> None:
    graphs, gone = Graphs(driver), list[int]()

    @host_function
    def destroy(user: int | None) -> None:
        gone.append(user or 0)

    stream, event = driver.get("cuStreamCreate", NON_BLOCKING), driver.get("cuEventCreate", 0)
    module, memory = driver.load(PTX), driver.allocate(8)
    store = driver.function(module, "store")
    user_object = driver.get("cuUserObjectCreate", ctypes.c_void_p(7), destroy, 1, 1)
    with graphs.capture(stream) as captured:
        driver.launch(store, ctypes.c_uint64(memory), ctypes.c_uint32(1), stream=stream)
        driver("cuEventRecordWithFlags", event, stream, 1)
    graph, child = captured[0], graphs.create()
    graphs.store(child, [], store, memory + 4, 2)
    graphs.add("ChildGraph", graph, graphs.nodes(graph)[-1:], child)
    driver("cuGraphRetainUserObject", graph, user_object, 1, 1)
    objects = {
        "graph": ("cuGraphDestroy", graph),
        "child": ("cuGraphDestroy", child),
        "clone": ("cuGraphDestroy", driver.get("cuGraphClone", graph)),
        "executable": ("cuGraphExecDestroy", graphs.instantiate(graph)),
        "other executable": ("cuGraphExecDestroy", graphs.instantiate(child)),
        "stream": ("cuStreamDestroy_v2", stream),
        "event": ("cuEventDestroy_v2", event),
        "module": ("cuModuleUnload", module),
    }
    assert objects.keys() == set(OBJECTS)
    with driver.gate() as open_gate:
        driver("cuGraphLaunch", objects["executable"][1], stream)
        driver("cuGraphLaunch", objects["other executable"][1], 0)
        for name in order:
            function, handle = objects[name]
            driver(function, handle)
            assert driver.result(function, handle) != SUCCESS, "it is gone"
        assert gone == []
        open_gate()
    assert driver.download(memory, 8) == words(1, 2)
    driver("cuCtxSynchronize")
    assert gone == [7]
    driver("cuMemFree_v2", memory)
