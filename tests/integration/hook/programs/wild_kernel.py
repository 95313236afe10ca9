"""An illegal address sticks to the context, is told in words, and a reset context works again."""

import ctypes

from learner import KERNELS, compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
ptx = compile_ptx(KERNELS)
module = ok(cu.cuModuleLoadData(ptx))
data = ok(cu.cuMemAlloc(4096))
ok(launch(ok(cu.cuModuleGetFunction(module, b"wild")), 1, 1, u64(data)))
fails(cu.cuCtxSynchronize(), "ILLEGAL_ADDRESS")
fails(cu.cuMemAlloc(16), "ILLEGAL_ADDRESS")
fails(cu.cuMemcpyDtoH(ctypes.addressof(ctypes.create_string_buffer(4)), data, 4), "ILLEGAL_ADDRESS")
assert b"illegal memory access" in ok(cu.cuGetErrorString(cu.CUresult.CUDA_ERROR_ILLEGAL_ADDRESS))
ok(cu.cuDevicePrimaryCtxReset(0))
assert ok(cu.cuMemGetInfo())[0] == 128 << 20
module = ok(cu.cuModuleLoadData(ptx))
data = ok(cu.cuMemAlloc(4096))
ok(cu.cuMemsetD8(data, 0, 4096))
ok(launch(ok(cu.cuModuleGetFunction(module, b"add")), 1, 32, u64(data), u32(3), u32(32)))
value = ctypes.c_uint32()
ok(cu.cuMemcpyDtoH(ctypes.addressof(value), data, 4))
assert value.value == 3
print("ok")
