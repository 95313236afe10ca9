"""Contexts of the program's own: current per thread, with what was made in them, gone with it."""

import ctypes
import threading

from learner import KERNELS, compile_ptx, cu, fails, launch, ok, u32, u64

MIB = 1 << 20
ok(cu.cuInit(0))
fails(cu.cuMemAlloc(4), "INVALID_CONTEXT")
first = ok(cu.cuCtxCreate(None, 0, 0))
assert int(ok(cu.cuCtxGetCurrent())) == int(first)
free = ok(cu.cuMemGetInfo())[0]
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add = ok(cu.cuModuleGetFunction(module, b"add"))
data = ok(cu.cuMemAlloc(2 * MIB))
ok(cu.cuMemsetD32(data, 1, 64))
stream, event = ok(cu.cuStreamCreate(1)), ok(cu.cuEventCreate(0))
ok(launch(add, 1, 64, u64(data), u32(4), u32(64), stream=stream))
ok(cu.cuCtxSynchronize())
assert int(ok(cu.cuStreamGetCtx(stream))) == int(first)
whose = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
assert int(ok(cu.cuPointerGetAttribute(whose, data))) == int(first)

# A second context is another one; the first's memory is reached from it, as addresses are the device's.
second = ok(cu.cuCtxCreate(None, int(cu.CUctx_flags.CU_CTX_SCHED_YIELD), 0))
assert ok(cu.cuCtxGetFlags()) == int(cu.CUctx_flags.CU_CTX_SCHED_YIELD)
assert ok(cu.cuCtxGetId(first)) != ok(cu.cuCtxGetId(second))
word = ctypes.c_uint32()
ok(cu.cuMemcpyDtoH(ctypes.addressof(word), data, 4))
assert word.value == 5
mine = ok(cu.cuMemAlloc(4 * MIB))
pinned = ok(cu.cuMemHostAlloc(4096, 0))
managed = ok(cu.cuMemAllocManaged(4096, 1))
assert int(ok(cu.cuPointerGetAttribute(whose, managed))) == int(second)
shape = cu.CUDA_ARRAY3D_DESCRIPTOR()
shape.Width, shape.Height, shape.NumChannels, shape.Format = 1024, 1024, 4, cu.CUarray_format.CU_AD_FORMAT_FLOAT
array, levels = ok(cu.cuArray3DCreate(shape)), ok(cu.cuMipmappedArrayCreate(shape, 3))
resource = cu.CUDA_RESOURCE_DESC()
resource.resType = cu.CUresourcetype.CU_RESOURCE_TYPE_ARRAY
resource.res.array.hArray = array
texture = ok(cu.cuTexObjectCreate(resource, cu.CUDA_TEXTURE_DESC(), None))
assert int(ok(cu.cuCtxPopCurrent())) == int(second)
assert int(ok(cu.cuCtxGetCurrent())) == int(first)
ok(cu.cuCtxPushCurrent(second))

# Other threads have stacks of their own.
seen = []


def other_thread() -> None:
    seen.append(int(ok(cu.cuCtxGetCurrent())))
    fails(cu.cuMemAlloc(4), "INVALID_CONTEXT")
    ok(cu.cuCtxSetCurrent(first))
    ok(cu.cuMemFree(ok(cu.cuMemAlloc(4))))


thread = threading.Thread(target=other_thread)
thread.start()
thread.join()
assert seen == [0]

# What was made in a context ends with it, and nothing else does.
ok(cu.cuCtxDestroy(second))
assert int(ok(cu.cuCtxGetCurrent())) == int(first)
fails(cu.cuMemFree(mine), "INVALID_VALUE")
fails(cu.cuMemFreeHost(pinned), "INVALID_VALUE")
fails(cu.cuMemFree(managed), "INVALID_VALUE")
fails(cu.cuTexObjectDestroy(texture), "INVALID_VALUE")
fails(cu.cuArrayDestroy(array), "INVALID_HANDLE")
fails(cu.cuMipmappedArrayDestroy(levels), "INVALID_HANDLE")
fails(cu.cuCtxSetCurrent(second), "INVALID_CONTEXT")
fails(cu.cuCtxDestroy(second), "INVALID_CONTEXT")
ok(launch(add, 1, 64, u64(data), u32(1), u32(64), stream=stream))
ok(cu.cuStreamSynchronize(stream))

# The primary context beside them; its release leaves them be.
primary = ok(cu.cuDevicePrimaryCtxRetain(0))
ok(cu.cuCtxSetCurrent(primary))
kept = ok(cu.cuMemAlloc(MIB))
ok(cu.cuCtxSetCurrent(first))
ok(cu.cuDevicePrimaryCtxRelease(0))
ok(cu.cuMemcpyDtoH(ctypes.addressof(word), data, 4))
assert word.value == 6
ok(cu.cuMemFree(kept))

# Current elsewhere when it ends: that thread is told so.
ended = threading.Event()
codes = []


def late_thread() -> None:
    ok(cu.cuCtxSetCurrent(first))
    ready.set()
    ended.wait()
    codes.append(cu.cuMemAlloc(4)[0].name)


ready = threading.Event()
thread = threading.Thread(target=late_thread)
thread.start()
ready.wait()
ok(cu.cuCtxDestroy(first))
ended.set()
thread.join()
assert codes == ["CUDA_ERROR_CONTEXT_IS_DESTROYED"]
fails(cu.cuEventQuery(event), "INVALID_HANDLE")
again = ok(cu.cuCtxCreate(None, 0, 0))
assert ok(cu.cuMemGetInfo())[0] == free
fails(cu.cuCtxCreate(None, 0x4000, 0), "INVALID_VALUE")

# The thread's default stream ends with the context it was first used in, and is another in the next.
per_thread = cu.CUstream(2)
for _ in range(2):
    brief = ok(cu.cuCtxCreate(None, 0, 0))
    memory = ok(cu.cuMemAlloc(MIB))
    ok(cu.cuMemsetD32Async(memory, 7, 64, per_thread))
    ok(cu.cuStreamSynchronize(per_thread))
    ok(cu.cuCtxDestroy(brief))
fails(cu.cuCtxCreate(None, 0, 1), "INVALID_DEVICE")
ok(cu.cuCtxDestroy(again))
print("ok")
