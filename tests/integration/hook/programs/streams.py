"""Streams, events, per-thread default streams, and handles that are no more."""

import threading

from learner import KERNELS, compile_ptx, cu, fails, launch, ok, start, u32, u64

context = start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add, spin = (ok(cu.cuModuleGetFunction(module, n)) for n in (b"add", b"spin"))
flag = ok(cu.cuMemHostAlloc(4096, 0))
import ctypes  # noqa: E402

word = ctypes.c_uint32.from_address(int(flag))
data = ok(cu.cuMemAlloc(4096))
ok(cu.cuMemsetD8(data, 0, 4096))

stream = ok(cu.cuStreamCreateWithPriority(1, 0))
assert ok(cu.cuStreamGetFlags(stream)) == 1
assert ok(cu.cuStreamGetFlags(0)) == 0
assert ok(cu.cuStreamGetId(stream)) != ok(cu.cuStreamGetId(0))
assert int(ok(cu.cuStreamGetCtx(stream))) == int(context)
before, after = ok(cu.cuEventCreate(0)), ok(cu.cuEventCreate(0))
fails(cu.cuEventElapsedTime(before, after), "INVALID_HANDLE")

# While a kernel spins, nothing behind it is over; other calls of other threads are answered.
ok(cu.cuEventRecord(before, stream))
ok(launch(spin, 1, 1, u64(flag), stream=stream))
ok(cu.cuEventRecord(after, stream))
fails(cu.cuEventQuery(after), "NOT_READY")
fails(cu.cuStreamQuery(stream), "NOT_READY")
fails(cu.cuEventElapsedTime(before, after), "NOT_READY")
waited = []
waiter = threading.Thread(
    target=lambda: (cu.cuCtxSetCurrent(context), waited.append(cu.cuEventSynchronize(after)))
)
waiter.start()
assert ok(cu.cuMemGetInfo())[1] > 0
another = ok(cu.cuStreamCreate(0))
fails(cu.cuStreamQuery(stream), "NOT_READY")
assert not waited
word.value = 1
waiter.join()
ok(waited[0])
ok(cu.cuStreamQuery(stream))
assert ok(cu.cuEventElapsedTime(before, after)) > 0
ok(cu.cuStreamWaitEvent(another, after, 0))
ok(launch(add, 1, 32, u64(data), u32(3), u32(32), stream=another))
ok(cu.cuStreamSynchronize(another))

ok(cu.cuStreamDestroy(another))
fails(cu.cuStreamDestroy(another), "INVALID_HANDLE")
fails(cu.cuStreamSynchronize(another), "INVALID_HANDLE")
ok(cu.cuEventDestroy(before))
fails(cu.cuEventRecord(before, stream), "INVALID_HANDLE")
fails(cu.cuEventQuery(stream), "INVALID_HANDLE")
recycled = ok(cu.cuEventCreate(2))
assert int(recycled) != int(before)

# Two threads have two default streams of their own.
ids = []


def own_stream() -> None:
    ok(cu.cuCtxSetCurrent(context))
    per_thread = cu.CUstream(2)
    ids.append(ok(cu.cuStreamGetId(per_thread)))
    ok(launch(add, 1, 32, u64(data), u32(1), u32(32), stream=per_thread))
    ok(cu.cuStreamSynchronize(per_thread))


threads = [threading.Thread(target=own_stream) for _ in range(2)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert len(set(ids)) == 2
result = (ctypes.c_uint32 * 32)()
ok(cu.cuMemcpyDtoH(ctypes.addressof(result), data, 128))
assert list(result) == [5] * 32
ok(cu.cuStreamSynchronize(0))
print("ok")
