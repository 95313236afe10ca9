"""Host functions and stream callbacks: in stream order, in this process, on a thread that may not call CUDA."""

import ctypes
import threading

from learner import KERNELS, compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add = ok(cu.cuModuleGetFunction(module, b"add"))
stream = ok(cu.cuStreamCreate(1))
host = ok(cu.cuMemHostAlloc(4096, 0))
words = (ctypes.c_uint32 * 1024).from_address(int(host))
hook = ctypes.CDLL(None)
HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
main = threading.get_native_id()

# A function sees what the stream did before it, and the stream waits for it.
seen: list[object] = []
ran_on: list[int] = []


@HostFunction
def look(argument: int) -> None:
    ran_on.append(threading.get_native_id())
    seen.append((argument, words[0]))
    words[0] = 100


ok(launch(add, 1, 32, u64(host), u32(1), u32(32), stream=stream))
ok(cu.cuLaunchHostFunc(stream, ctypes.cast(look, ctypes.c_void_p).value, 41))
ok(launch(add, 1, 32, u64(host), u32(1), u32(32), stream=stream))
ok(cu.cuStreamSynchronize(stream))
assert seen == [(41, 1)]
assert words[0] == 101
assert ran_on[0] != main

# Many, in order.
order: list[int] = []
note = HostFunction(order.append)
for i in range(1, 300):
    ok(cu.cuLaunchHostFunc(stream, ctypes.cast(note, ctypes.c_void_p).value, i))
ok(cu.cuStreamSynchronize(stream))
assert order == list(range(1, 300))

# The stream is not done while a function runs.
begun, go_on = threading.Event(), threading.Event()


@HostFunction
def block(_: int) -> None:
    begun.set()
    go_on.wait()


ok(cu.cuLaunchHostFunc(stream, ctypes.cast(block, ctypes.c_void_p).value, 0))
begun.wait()
fails(cu.cuStreamQuery(stream), "NOT_READY")
assert ok(cu.cuMemGetInfo())[1] > 0
go_on.set()
ok(cu.cuStreamSynchronize(stream))

# Callbacks are told the stream and how it stands.
called: list[tuple[int, int, int]] = []
callback = Callback(lambda s, status, argument: called.append((s, status, argument)))
ok(cu.cuStreamAddCallback(stream, ctypes.cast(callback, ctypes.c_void_p).value, 7, 0))
ok(cu.cuStreamSynchronize(stream))
assert called == [(int(stream), 0, 7)]

# No CUDA in them.
codes: list[int] = []


@HostFunction
def call_cuda(_: int) -> None:
    codes.append(hook.cuCtxSynchronize())
    codes.append(hook.cuMemGetInfo_v2(ctypes.byref(ctypes.c_size_t()), ctypes.byref(ctypes.c_size_t())))


ok(cu.cuLaunchHostFunc(stream, ctypes.cast(call_cuda, ctypes.c_void_p).value, 0))
ok(cu.cuStreamSynchronize(stream))
assert codes == [800, 800]  # CUDA_ERROR_NOT_PERMITTED
ok(cu.cuCtxSynchronize())
fails(cu.cuLaunchHostFunc(stream, 0, 0), "INVALID_VALUE")
print("ok")
