"""Graphs that end with others: what a client may name is what is still there, and what a graph takes is bounded."""

from __future__ import annotations

import struct
from typing import Any

MIB = 1 << 20
OUT_OF_MEMORY = 2
INVALID_VALUE = 1
NOT_SUPPORTED = 801
CAPTURE_UNSUPPORTED = 900
CHILD, EMPTY = 4, 5  # CUgraphNodeType


def created(client: Any, name: str, **fields: int | bytes) -> int:
    """Asks for an object that the worker numbers; gives the number."""
    assert client.ask(name, **fields) == 0
    return int.from_bytes(client.payload(8), "little")


def capture(client: Any) -> tuple[int, int]:
    """Begins a capture; gives its stream and the number of its graph."""
    stream = client.layout.handle("stream")
    client.send(client.command("StreamCreate", stream=stream, flags=1))
    assert client.ask("CaptureBegin", stream=stream, mode=2) == 0
    assert client.ask("CaptureInfo", stream=stream) == 0
    return stream, int(struct.unpack("<QQ", client.payload(16))[1])


def child_of(client: Any, graph: int, inner: int) -> tuple[int, int]:
    """Adds a node that is a copy of `inner`; gives the numbers of the node and of its own graph."""
    node = created(client, "GraphAddNode", graph=graph, type=CHILD, tail=struct.pack("<Q", inner))
    assert client.ask("GraphNodeGet", node=node) == 0
    size = client.layout["commands"]["GraphNodeGet"].get("reply_bytes", 4)
    return node, int.from_bytes(client.payload(size + 8)[size:], "little")


def test_a_childs_graph_cannot_be_named_after_its_node(software_host: Any) -> None:
    client = software_host.client()
    outer, inner = created(client, "GraphCreate", flags=0), created(client, "GraphCreate", flags=0)
    node, own = child_of(client, outer, inner)
    assert client.ask("GraphList", object=own, what=0) == 0
    assert client.ask("GraphAddNode", graph=own, type=EMPTY) == 0
    inside = int.from_bytes(client.payload(8), "little")
    assert client.ask("GraphDestroyNode", node=node) == 0
    assert client.ask("GraphList", object=own, what=0) == INVALID_VALUE
    assert client.ask("GraphAddNode", graph=own, type=EMPTY) == INVALID_VALUE
    assert client.ask("GraphNodeGet", node=inside) == INVALID_VALUE
    assert client.ask("GraphList", object=outer, what=0) == 0


def test_a_graph_keeps_its_nodes_while_a_capture_goes_into_it(software_host: Any) -> None:
    client = software_host.client()
    stream, graph = capture(client)
    node = created(client, "GraphAddNode", graph=graph, type=EMPTY)
    assert client.ask("GraphDestroyNode", node=node) == CAPTURE_UNSUPPORTED
    assert client.ask("GraphDestroy", graph=graph) == CAPTURE_UNSUPPORTED
    assert client.ask("CaptureEnd", stream=stream) == 0
    assert client.ask("GraphDestroyNode", node=node) == 0
    assert client.ask("GraphDestroy", graph=graph) == 0


def test_a_captures_graph_ends_with_its_stream(software_host: Any) -> None:
    client = software_host.client()
    stream, graph = capture(client)
    client.send(client.command("StreamDestroy", stream=stream))
    assert client.ask("GraphList", object=graph, what=0) == INVALID_VALUE
    assert client.ask("GraphAddNode", graph=graph, type=EMPTY) == INVALID_VALUE


def test_a_context_is_reset_in_the_middle_of_a_capture(software_host: Any) -> None:
    client = software_host.client()
    _stream, graph = capture(client)
    assert client.ask("ContextReset") == 0
    assert client.ask("GraphList", object=graph, what=0) == INVALID_VALUE
    stream, graph = capture(client)
    assert client.ask("CaptureEnd", stream=stream) == 0
    assert client.ask("GraphDestroy", graph=graph) == 0


def test_a_capture_goes_into_no_nodes_own_graph(software_host: Any) -> None:
    client = software_host.client()
    outer, inner = created(client, "GraphCreate", flags=0), created(client, "GraphCreate", flags=0)
    _node, own = child_of(client, outer, inner)
    stream = client.layout.handle("stream")
    client.send(client.command("StreamCreate", stream=stream, flags=1))
    assert client.ask("CaptureBegin", stream=stream, mode=2, graph=own) == NOT_SUPPORTED


def test_a_node_depends_on_its_own_graphs_nodes_only(software_host: Any) -> None:
    client = software_host.client()
    one, two = created(client, "GraphCreate", flags=0), created(client, "GraphCreate", flags=0)
    node = created(client, "GraphAddNode", graph=one, type=EMPTY)
    named = struct.pack("<Q", node)
    assert client.ask("GraphAddNode", graph=two, type=EMPTY, dependencies=1, tail=named) == INVALID_VALUE
    assert client.ask("GraphChangeEdges", graph=two, add=1, dependencies=1, tail=named * 2) == INVALID_VALUE
    assert client.ask("GraphAddNode", graph=one, type=EMPTY, dependencies=1, tail=named) == 0


def test_a_graph_that_holds_another_twice_does_not_double_for_ever(software_host: Any) -> None:
    client = software_host.client()
    graph = created(client, "GraphCreate", flags=0)
    assert client.ask("GraphAddNode", graph=graph, type=EMPTY) == 0
    results = [0]
    for _ in range(24):
        outer = created(client, "GraphCreate", flags=0)
        inner = struct.pack("<Q", graph)
        results = [client.ask("GraphAddNode", graph=outer, type=CHILD, tail=inner) for _ in range(2)]
        if any(results):
            break
        assert client.ask("GraphDestroy", graph=graph) == 0
        graph = outer
    assert OUT_OF_MEMORY in results
    assert client.ask("GraphDestroy", graph=graph) == 0
    assert client.ask("GraphDestroy", graph=outer) == 0
    small = created(client, "GraphCreate", flags=0)  # what was given back is there again
    assert client.ask("GraphAddNode", graph=small, type=EMPTY) == 0
    assert client.ask("GraphClone", graph=small) == 0


def test_memory_without_access_is_not_copied(host: Any) -> None:
    client = host.client(host.open(16 * MIB))
    arena, allocation = client.layout["device_arena"], client.layout.handle("allocation")
    assert client.ask("PhysicalCreate", allocation=allocation, bytes=2 * MIB) == 0
    assert client.ask("PhysicalMap", allocation=allocation, address=arena, bytes=2 * MIB) == 0

    def copied() -> int:
        return int(client.ask("CopyToReply", source=arena, stream=1, bytes=64))

    assert copied() == INVALID_VALUE
    assert client.ask("PhysicalSetAccess", address=arena, bytes=2 * MIB, flags=3) == 0
    assert copied() == 0
    assert client.ask("PhysicalSetAccess", address=arena, bytes=2 * MIB, flags=0) == 0
    assert copied() == INVALID_VALUE
