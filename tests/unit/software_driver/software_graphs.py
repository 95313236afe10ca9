"""CUDA graphs for tests: the structures of cuda.h that they need, and short ways to capture, build and launch."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from software_gpu import Driver, Location, Memcpy3D, parameter_array

GRAPH_EXEC_UPDATE_FAILURE = 910
ILLEGAL_STATE = 401
CAPTURE_UNSUPPORTED = 900
CAPTURE_INVALIDATED = 901
CAPTURE_MERGE = 902
CAPTURE_UNMATCHED = 903
CAPTURE_UNJOINED = 904
CAPTURE_ISOLATION = 905
CAPTURE_IMPLICIT = 906
CAPTURED_EVENT = 907
CAPTURE_WRONG_THREAD = 908

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2  # CUstreamCaptureMode
NONE, ACTIVE, INVALIDATED = 0, 1, 2  # CUstreamCaptureStatus
KERNEL, MEMCPY, MEMSET, HOST, CHILD, EMPTY, EVENT_WAIT, EVENT_RECORD = range(8)  # CUgraphNodeType
MEM_ALLOC, MEM_FREE, BATCH_MEM_OP, CONDITIONAL = 10, 11, 12, 13
TO_HOST, TO_DEVICE, UNIFIED = 1, 2, 4  # CUmemorytype
NON_BLOCKING = 1


class KernelParams(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS, version 2."""

    _fields_ = [
        ("function", ctypes.c_uint64),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("parameters", ctypes.c_void_p),
        ("extra", ctypes.c_void_p),
        ("kernel", ctypes.c_uint64),
        ("context", ctypes.c_uint64),
    ]


class MemsetParams(ctypes.Structure):
    """CUDA_MEMSET_NODE_PARAMS; its second version has a context more."""

    _fields_ = [
        ("address", ctypes.c_uint64),
        ("pitch", ctypes.c_size_t),
        ("value", ctypes.c_uint),
        ("element_bytes", ctypes.c_uint),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("context", ctypes.c_uint64),
    ]


class HostParams(ctypes.Structure):
    """CUDA_HOST_NODE_PARAMS."""

    _fields_ = [("function", ctypes.c_void_p), ("user", ctypes.c_void_p)]


class MemcpyParams(ctypes.Structure):
    """CUDA_MEMCPY_NODE_PARAMS."""

    _fields_ = [
        ("flags", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("context", ctypes.c_uint64),
        ("copy", Memcpy3D),
    ]


class ChildParams(ctypes.Structure):
    """CUDA_CHILD_GRAPH_NODE_PARAMS."""

    _fields_ = [("graph", ctypes.c_uint64), ("ownership", ctypes.c_int)]


class AllocationParams(ctypes.Structure):
    """CUDA_MEM_ALLOC_NODE_PARAMS."""

    _fields_ = [
        ("kind", ctypes.c_int),
        ("handle_types", ctypes.c_int),
        ("location", Location),
        ("pool_rest", ctypes.c_ubyte * 72),
        ("access", ctypes.c_void_p),
        ("access_count", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
        ("address", ctypes.c_uint64),
    ]


class AnyParams(ctypes.Union):
    """The union in CUgraphNodeParams."""

    _fields_ = [
        ("padding", ctypes.c_longlong * 29),
        ("kernel", KernelParams),
        ("memcpy", MemcpyParams),
        ("memset", MemsetParams),
        ("host", HostParams),
        ("child", ChildParams),
        ("event", ctypes.c_uint64),
        ("allocation", AllocationParams),
        ("free", ctypes.c_uint64),
    ]


class NodeParams(ctypes.Structure):
    """CUgraphNodeParams."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("reserved0", ctypes.c_int * 3),
        ("of", AnyParams),
        ("reserved2", ctypes.c_longlong),
    ]


class InstantiateParams(ctypes.Structure):
    """CUDA_GRAPH_INSTANTIATE_PARAMS."""

    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("upload_stream", ctypes.c_uint64),
        ("error_node", ctypes.c_uint64),
        ("result", ctypes.c_int),
    ]


class UpdateInfo(ctypes.Structure):
    """CUgraphExecUpdateResultInfo."""

    _fields_ = [("result", ctypes.c_int), ("node", ctypes.c_uint64), ("from_node", ctypes.c_uint64)]


def words(*values: int) -> bytes:
    """Pack 32-bit words."""
    return struct.pack(f"<{len(values)}I", *values)


def handles(*values: int) -> Any:
    """Build an array of handles."""
    return (ctypes.c_uint64 * max(len(values), 1))(*values)


def kernel_params(
    function: int,
    *parameters: Any,
    grid: tuple[int, int, int] = (1, 1, 1),
    block: tuple[int, int, int] = (1, 1, 1),
) -> KernelParams:
    """Describe a launch with parameters given as ctypes values."""
    array = parameter_array(*parameters)
    params = KernelParams(
        function=function,
        grid=(ctypes.c_uint * 3)(*grid),
        block=(ctypes.c_uint * 3)(*block),
        parameters=ctypes.cast(array, ctypes.c_void_p) if array is not None else None,
    )
    params.kept_alive = array  # type: ignore[attr-defined]
    return params


def store_params(function: int, where: int, what: int) -> KernelParams:
    """Describe a launch of the kernel `store`."""
    return kernel_params(function, ctypes.c_uint64(where), ctypes.c_uint32(what))


def line(
    target: int, source: int, size: int, target_type: int = UNIFIED, source_type: int = UNIFIED
) -> Memcpy3D:
    """Describe a copy of one row."""
    copy = Memcpy3D(src_type=source_type, dst_type=target_type, width=size, height=1, depth=1)
    if source_type == TO_HOST:
        copy.src_host = source
    else:
        copy.src_device = source
    if target_type == TO_HOST:
        copy.dst_host = target
    else:
        copy.dst_device = target
    return copy


class Graphs:
    """Graphs of one driver."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def create(self) -> int:
        """Create an empty graph."""
        return int(self.driver.get("cuGraphCreate", 0))

    @contextmanager
    def capture(self, stream: int, mode: int = GLOBAL) -> Iterator[list[int]]:
        """Capture the block's work; the list has the graph afterwards."""
        captured: list[int] = []
        self.driver("cuStreamBeginCapture_v2", stream, mode)
        yield captured
        captured.append(int(self.end(stream)))

    def end(self, stream: int) -> int:
        """End a capture and return its graph."""
        graph = ctypes.c_uint64()
        self.driver("cuStreamEndCapture", stream, ctypes.byref(graph))
        return graph.value

    def end_result(self, stream: int) -> int:
        """End a capture that has gone wrong; there is no graph then."""
        graph = ctypes.c_uint64(1)
        code = self.driver.result("cuStreamEndCapture", stream, ctypes.byref(graph))
        assert graph.value == 0
        return code

    def status(self, stream: int) -> int:
        """Ask whether a stream captures."""
        status = ctypes.c_int(-1)
        self.driver("cuStreamIsCapturing", stream, ctypes.byref(status))
        return status.value

    def add(self, kind: str, graph: int, dependencies: Sequence[int], *arguments: Any) -> int:
        """Add a node with cuGraphAdd<kind>Node."""
        name = f"cuGraphAdd{kind}Node" + ("_v2" if kind == "Kernel" else "")
        return int(self.driver.get(name, graph, handles(*dependencies), len(dependencies), *arguments))

    def store(self, graph: int, dependencies: Sequence[int], function: int, where: int, what: int) -> int:
        """Add a node of the kernel `store`."""
        return self.add("Kernel", graph, dependencies, ctypes.byref(store_params(function, where, what)))

    def host(self, graph: int, dependencies: Sequence[int], function: Any) -> int:
        """Add a host node; the caller keeps the function alive."""
        params = HostParams(ctypes.cast(function, ctypes.c_void_p), None)
        return self.add("Host", graph, dependencies, ctypes.byref(params))

    def copy(self, graph: int, dependencies: Sequence[int], copy: Memcpy3D) -> int:
        """Add a memcpy node."""
        return self.add("Memcpy", graph, dependencies, ctypes.byref(copy), 0)

    def fill(self, graph: int, dependencies: Sequence[int], params: MemsetParams) -> int:
        """Add a memset node."""
        return self.add("Memset", graph, dependencies, ctypes.byref(params), 0)

    def instantiate(self, graph: int, flags: int = 0) -> int:
        """Make an executable."""
        return int(self.driver.get("cuGraphInstantiateWithFlags", graph, flags))

    def launch(self, executable: int, stream: int = 0) -> None:
        """Launch an executable and wait for it."""
        self.driver("cuGraphLaunch", executable, stream)
        self.driver("cuStreamSynchronize", stream)

    def run(self, graph: int) -> None:
        """Make an executable, launch it once and destroy it."""
        executable = self.instantiate(graph)
        self.launch(executable)
        self.driver("cuGraphExecDestroy", executable)

    def nodes(self, graph: int) -> list[int]:
        """List a graph's nodes."""
        return self.listed(lambda array, count: self.driver("cuGraphGetNodes", graph, array, count))

    def roots(self, graph: int) -> list[int]:
        """List the nodes without dependencies."""
        return self.listed(lambda array, count: self.driver("cuGraphGetRootNodes", graph, array, count))

    def dependencies(self, node: int) -> list[int]:
        """List what a node depends on."""
        return self.listed(
            lambda array, count: self.driver("cuGraphNodeGetDependencies_v2", node, array, None, count)
        )

    def dependents(self, node: int) -> list[int]:
        """List what depends on a node."""
        return self.listed(
            lambda array, count: self.driver("cuGraphNodeGetDependentNodes_v2", node, array, None, count)
        )

    def edges(self, graph: int) -> set[tuple[int, int]]:
        """List a graph's edges."""
        count = ctypes.c_size_t()
        self.driver("cuGraphGetEdges_v2", graph, None, None, None, ctypes.byref(count))
        starts, ends = handles(*[0] * count.value), handles(*[0] * count.value)
        self.driver("cuGraphGetEdges_v2", graph, starts, ends, None, ctypes.byref(count))
        return set(zip(starts[: count.value], ends[: count.value], strict=True))

    def types(self, graph: int) -> list[int]:
        """List the types of a graph's nodes, in the order of the nodes."""
        return [self.type(node) for node in self.nodes(graph)]

    def type(self, node: int) -> int:
        """Ask for a node's type."""
        kind = ctypes.c_int(-1)
        self.driver("cuGraphNodeGetType", node, ctypes.byref(kind))
        return kind.value

    def listed(self, ask: Callable[[Any, Any], None]) -> list[int]:
        """Ask for a list's length, then for the list."""
        count = ctypes.c_size_t()
        ask(None, ctypes.byref(count))
        array = handles(*[0] * count.value)
        ask(array, ctypes.byref(count))
        return list(array[: count.value])
