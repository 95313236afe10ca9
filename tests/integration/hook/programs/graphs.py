"""Stream capture and graphs: what is captured runs at each launch, and what a program asks of a graph is answered."""

import ctypes

from learner import KERNELS, arguments, compile_ptx, cu, fails, launch, ok, start, u32, u64

context = start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add, spin = (ok(cu.cuModuleGetFunction(module, n)) for n in (b"add", b"spin"))
N = 256
stream, side = ok(cu.cuStreamCreate(1)), ok(cu.cuStreamCreate(1))
GLOBAL = cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL
Status = cu.CUstreamCaptureStatus
data, copy = ok(cu.cuMemAlloc(4 * N)), ok(cu.cuMemAlloc(4 * N))
pinned = ok(cu.cuMemHostAlloc(4 * N, 0))
words = (ctypes.c_uint32 * N).from_address(int(pinned))


def read(address: object, index: int = 0) -> int:
    out = (ctypes.c_uint32 * N)()
    ok(cu.cuMemcpyDtoH(ctypes.addressof(out), address, 4 * N))
    return int(out[index])


# --- a capture that forks and joins, with a copy that reads pinned memory when it runs
ok(cu.cuMemsetD32(data, 0, N))
assert ok(cu.cuStreamIsCapturing(stream)) == Status.CU_STREAM_CAPTURE_STATUS_NONE
ok(cu.cuStreamBeginCapture(stream, GLOBAL))
assert ok(cu.cuStreamIsCapturing(stream)) == Status.CU_STREAM_CAPTURE_STATUS_ACTIVE
assert ok(cu.cuStreamIsCapturing(side)) == Status.CU_STREAM_CAPTURE_STATUS_NONE
fork, join = ok(cu.cuEventCreate(2)), ok(cu.cuEventCreate(2))
ok(cu.cuMemcpyHtoDAsync(copy, pinned, 4 * N, stream))
ok(cu.cuEventRecord(fork, stream))
ok(cu.cuStreamWaitEvent(side, fork, 0))
assert ok(cu.cuStreamIsCapturing(side)) == Status.CU_STREAM_CAPTURE_STATUS_ACTIVE
ok(launch(add, 1, N, u64(data), u32(1), u32(N), stream=stream))
ok(launch(add, 1, N, u64(copy), u32(1000), u32(N), stream=side))
ok(cu.cuEventRecord(join, side))
ok(cu.cuStreamWaitEvent(stream, join, 0))
ok(launch(add, 1, N, u64(data), u32(10), u32(N), stream=stream))
# Memory of this process alone cannot be read when the graph runs; other streams and calls go on as ever.
local = (ctypes.c_uint32 * N)()
fails(cu.cuMemcpyHtoDAsync(copy, ctypes.addressof(local), 4 * N, stream), "STREAM_CAPTURE_UNSUPPORTED")
block = ok(cu.cuMemAlloc(1 << 21))
ok(cu.cuMemFree(block))
status, identity, graph, dependencies, *_ = ok(cu.cuStreamGetCaptureInfo(stream))
assert status == Status.CU_STREAM_CAPTURE_STATUS_ACTIVE
assert identity
assert len(dependencies) == 1
ended = ok(cu.cuStreamEndCapture(stream))
assert int(ended) == int(graph)
assert ok(cu.cuStreamIsCapturing(side)) == Status.CU_STREAM_CAPTURE_STATUS_NONE
assert read(data) == 0  # nothing ran yet

nodes, count = ok(cu.cuGraphGetNodes(ended, 16))
assert count == 4
kinds = sorted(ok(cu.cuGraphNodeGetType(n)).name.rsplit("_", 1)[1] for n in nodes[:count])
assert kinds == ["KERNEL", "KERNEL", "KERNEL", "MEMCPY"]
assert ok(cu.cuGraphGetRootNodes(ended, 16))[1] == 1
executable = ok(cu.cuGraphInstantiate(ended, 0))
for turn in range(1, 51):
    words[:] = [turn] * N
    ok(cu.cuGraphLaunch(executable, stream))
    ok(cu.cuStreamSynchronize(stream))
    assert read(copy, 7) == turn + 1000
assert read(data) == 50 * 11

# --- what runs before and beside a capture does not get into its graph
spare = ok(cu.cuMemAlloc(4 * N))
ok(cu.cuMemsetD8(spare, 0, 4 * N))
ok(launch(add, 1, N, u64(spare), u32(1), u32(N), stream=side))
ok(cu.cuStreamBeginCapture(side, GLOBAL))
for _ in range(40):
    ok(launch(add, 1, N, u64(spare), u32(1), u32(N), stream=stream))
ok(launch(add, 1, N, u64(spare), u32(100), u32(N), stream=side))
alone = ok(cu.cuStreamEndCapture(side))
assert ok(cu.cuGraphGetNodes(alone, 16))[1] == 1
ok(cu.cuGraphDestroy(alone))
ok(cu.cuStreamSynchronize(stream))
ok(cu.cuMemFree(spare))

# --- parameters are told and can be changed, in the graph and in the executable
kernels = [
    n for n in nodes[:count] if ok(cu.cuGraphNodeGetType(n)) == cu.CUgraphNodeType.CU_GRAPH_NODE_TYPE_KERNEL
]
for node in kernels:
    told = ok(cu.cuGraphKernelNodeGetParams(node))
    assert int(told.func) == int(add)
    assert (told.gridDimX, told.blockDimX) == (1, N)
ok(cu.cuMemsetD32(data, 0, N))
last = next(n for n in kernels if ok(cu.cuGraphNodeGetDependentNodes(n, 4))[-1] == 0)
changed = cu.CUDA_KERNEL_NODE_PARAMS()
changed.func = add
changed.gridDimX = changed.gridDimY = changed.gridDimZ = 1
changed.blockDimX, changed.blockDimY, changed.blockDimZ = N, 1, 1
pointers, alive = arguments(u64(data), u32(500), u32(N))
changed.kernelParams = ctypes.addressof(pointers)
ok(cu.cuGraphExecKernelNodeSetParams(executable, last, changed))
ok(cu.cuGraphLaunch(executable, stream))
ok(cu.cuStreamSynchronize(stream))
assert read(data) == 501
ok(cu.cuGraphKernelNodeSetParams(last, changed))
second = ok(cu.cuGraphInstantiate(ended, 0))
ok(cu.cuGraphNodeSetEnabled(second, last, 0))
assert ok(cu.cuGraphNodeGetEnabled(second, last)) == 0
ok(cu.cuGraphLaunch(second, stream))
ok(cu.cuStreamSynchronize(stream))
assert read(data) == 502
ok(cu.cuGraphExecUpdate(second, ended))
ok(cu.cuGraphExecDestroy(second))
clone = ok(cu.cuGraphClone(ended))
assert int(ok(cu.cuGraphNodeFindInClone(last, clone))) != int(last)
ok(cu.cuGraphDestroy(clone))

# --- a graph built by hand: memset, kernel, child graph, host function, event
HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
ran: list[int] = []
note = HostFunction(ran.append)
built = ok(cu.cuGraphCreate(0))
fill = cu.CUDA_MEMSET_NODE_PARAMS()
fill.dst, fill.value, fill.elementSize, fill.width, fill.height = data, 5, 4, N, 1
first = ok(cu.cuGraphAddMemsetNode(built, None, 0, fill, context))
told = ok(cu.cuGraphMemsetNodeGetParams(first))
assert (int(told.dst), told.value, told.width) == (int(data), 5, N)
inner = ok(cu.cuGraphCreate(0))
pointers, alive = arguments(u64(data), u32(20), u32(N))
changed.kernelParams = ctypes.addressof(pointers)
ok(cu.cuGraphAddKernelNode(inner, None, 0, changed))
child = ok(cu.cuGraphAddChildGraphNode(built, [first], 1, inner))
ok(cu.cuGraphDestroy(inner))
inside = ok(cu.cuGraphChildGraphNodeGetGraph(child))
assert ok(cu.cuGraphGetNodes(inside, 4))[1] == 1
host = cu.CUDA_HOST_NODE_PARAMS()
host.fn = ctypes.cast(note, ctypes.c_void_p).value
host.userData = 77
called = ok(cu.cuGraphAddHostNode(built, [child], 1, host))
event = ok(cu.cuEventCreate(0))
recorded = ok(cu.cuGraphAddEventRecordNode(built, [called], 1, event))
assert int(ok(cu.cuGraphEventRecordNodeGetEvent(recorded))) == int(event)
empty = ok(cu.cuGraphAddEmptyNode(built, None, 0))
ok(cu.cuGraphAddDependencies(built, [empty], [first], None, 1))
assert ok(cu.cuGraphGetEdges(built, 16))[-1] == 4
runs = ok(cu.cuGraphInstantiate(built, 0))
for _ in range(3):
    ok(cu.cuGraphLaunch(runs, side))
ok(cu.cuEventSynchronize(event))
ok(cu.cuStreamSynchronize(side))
assert ran == [77] * 3
assert read(data) == 25
ok(cu.cuGraphDestroyNode(empty))
ok(cu.cuGraphDestroy(built))  # the executable lives on
ok(cu.cuGraphLaunch(runs, side))
ok(cu.cuStreamSynchronize(side))
assert ran == [77] * 4
ok(cu.cuGraphExecDestroy(runs))

# --- user objects live as long as the graphs that hold them
freed: list[int] = []
destroy = HostFunction(freed.append)
CREATE = cu.CUuserObject_flags.CU_USER_OBJECT_NO_DESTRUCTOR_SYNC
thing = ok(cu.cuUserObjectCreate(33, ctypes.cast(destroy, ctypes.c_void_p).value, 1, int(CREATE)))
holder = ok(cu.cuGraphCreate(0))
ok(cu.cuGraphAddEmptyNode(holder, None, 0))
ok(cu.cuGraphRetainUserObject(holder, thing, 1, 0))
ok(cu.cuUserObjectRelease(thing, 1))
held = ok(cu.cuGraphInstantiate(holder, 0))
ok(cu.cuGraphDestroy(holder))
assert freed == []
ok(cu.cuGraphExecDestroy(held))
assert freed == [33]


def held_by_a_graph(number: int) -> object:
    """A graph of one empty node that alone holds an object whose destructor notes the number."""
    thing = ok(cu.cuUserObjectCreate(number, ctypes.cast(destroy, ctypes.c_void_p).value, 1, int(CREATE)))
    holder = ok(cu.cuGraphCreate(0))
    ok(cu.cuGraphAddEmptyNode(holder, None, 0))
    ok(
        cu.cuGraphRetainUserObject(
            holder, thing, 1, int(cu.CUuserObjectRetain_flags.CU_GRAPH_USER_OBJECT_MOVE)
        )
    )
    return holder


freed.clear()
holder, outer = held_by_a_graph(1), ok(cu.cuGraphCreate(0))
ok(cu.cuGraphAddChildGraphNode(outer, None, 0, holder))
ok(cu.cuGraphDestroy(holder))
assert freed == []  # what a child graph held, its parent holds
ok(cu.cuGraphDestroy(outer))
assert freed == [1]

# An executable lets go behind its launches, when it is updated as when it ends.
freed.clear()
graphs = [held_by_a_graph(n) for n in (2, 3)]
held = ok(cu.cuGraphInstantiate(graphs[0], 0))
ok(cu.cuGraphDestroy(graphs[0]))
words[0] = 0
ok(launch(spin, 1, 1, u64(pinned), stream=stream))
ok(cu.cuGraphLaunch(held, stream))
ok(cu.cuGraphExecUpdate(held, graphs[1]))
ok(cu.cuGraphDestroy(graphs[1]))
ok(cu.cuGraphExecDestroy(held))
assert freed == []
words[0] = 1
ok(cu.cuStreamSynchronize(stream))
assert freed == [2, 3]

# --- what goes wrong is an error, and the session goes on
fails(cu.cuStreamEndCapture(stream), "ILLEGAL_STATE")
ok(cu.cuStreamBeginCapture(stream, GLOBAL))
fails(cu.cuStreamSynchronize(stream), "STREAM_CAPTURE_UNSUPPORTED")
fails(cu.cuStreamEndCapture(stream), "STREAM_CAPTURE_INVALIDATED")
fails(cu.cuStreamBeginCapture(cu.CUstream(0), GLOBAL), "STREAM_CAPTURE_UNSUPPORTED")
ok(cu.cuStreamBeginCapture(stream, GLOBAL))
ok(cu.cuEventRecord(fork, stream))
ok(cu.cuStreamWaitEvent(side, fork, 0))
ok(launch(add, 1, 1, u64(data), u32(1), u32(1), stream=side))
fails(cu.cuStreamEndCapture(stream), "STREAM_CAPTURE_UNJOINED")
brief = ok(cu.cuStreamCreate(1))
ok(cu.cuStreamBeginCapture(brief, GLOBAL))
ok(cu.cuStreamDestroy(brief))  # ends its capture
assert ok(cu.cuStreamIsCapturing(stream)) == Status.CU_STREAM_CAPTURE_STATUS_NONE
ok(cu.cuGraphExecDestroy(executable))
ok(cu.cuGraphDestroy(ended))
fails(cu.cuGraphGetNodes(ended, 4), "INVALID_VALUE")
fails(cu.cuGraphLaunch(cu.CUgraphExec(12345 << 4), stream), "INVALID_VALUE")
fails(cu.cuGraphExecKernelNodeSetParams(cu.CUgraphExec(0), last, changed), "INVALID_VALUE")
foreign = ok(cu.cuGraphCreate(0))
fill.dst = 0x500000000000 + (1 << 41)
fails(cu.cuGraphAddMemsetNode(foreign, None, 0, fill, context), "INVALID_VALUE")
ok(cu.cuCtxSynchronize())
ok(launch(add, 1, N, u64(data), u32(1), u32(N), stream=stream))
ok(cu.cuStreamSynchronize(stream))

# --- a reset ends all graphs, and with them what they held
freed.clear()
held_by_a_graph(4)
ok(cu.cuDevicePrimaryCtxReset(0))
assert freed == [4]
print("ok")
