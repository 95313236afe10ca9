"""An asynchronous call's error is told by a later call that waits, once, and no other call suffers for it."""

import ctypes

import numpy as np
from learner import KERNELS, compile_ptx, cu, launch, ok, start, u32, u64

start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add = ok(cu.cuModuleGetFunction(module, b"add"))
block = ok(cu.cuMemAlloc(64 << 20))

# A memset that reaches past its block is refused by the worker, after the call returned.
ok(cu.cuMemsetD8(block, 1, 100 << 20))
another = ok(cu.cuMemAlloc(4 << 20))
stream = ok(cu.cuStreamCreate(0))
ok(cu.cuModuleGetFunction(module, b"count"))
assert cu.cuCtxSynchronize()[0] == cu.CUresult.CUDA_ERROR_INVALID_VALUE
ok(cu.cuCtxSynchronize())

# Freeing waits, so it may be the one to tell; the memory is free all the same.
ok(cu.cuMemsetD8(block, 1, 100 << 20))
told = cu.cuMemFree(block)[0]
assert told == cu.CUresult.CUDA_ERROR_INVALID_VALUE, told
assert ok(cu.cuMemGetInfo())[0] == (128 - 4) << 20
ok(cu.cuMemsetD8(another, 0, 4096))
ok(launch(add, 1, 32, u64(another), u32(9), u32(32), stream=stream))

# A stream that is destroyed with work in it: the work is done, and a wait for the context waits for it.
ok(cu.cuStreamDestroy(stream))
ok(cu.cuCtxSynchronize())
value = ctypes.c_uint32()
ok(cu.cuMemcpyDtoH(ctypes.addressof(value), another, 4))
assert value.value == 9

# Synchronous fills and copies into pinned memory are there when they return.
pinned = ok(cu.cuMemHostAlloc(1 << 20, 0))
host = np.ctypeslib.as_array((ctypes.c_uint8 * (1 << 20)).from_address(int(pinned)))
source = np.random.default_rng(3).integers(0, 256, 1 << 20, dtype=np.uint8)
for _ in range(20):
    ok(cu.cuMemsetD8(int(pinned), 7, 1 << 20))
    assert (host == 7).all()
    ok(cu.cuMemcpy(int(pinned), source.ctypes.data, 1 << 20))
    assert (host == source).all()
print("ok")
