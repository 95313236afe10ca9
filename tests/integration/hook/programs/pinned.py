"""Pinned host memory is the same memory at the same address for the program and for kernels."""

import ctypes

import numpy as np
from learner import KERNELS, compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add = ok(cu.cuModuleGetFunction(module, b"add"))
N = 300_000
address = ok(cu.cuMemHostAlloc(N * 4, cu.CU_MEMHOSTALLOC_DEVICEMAP))
host = np.ctypeslib.as_array((ctypes.c_uint32 * N).from_address(int(address)))
host[:] = np.arange(N)
assert int(ok(cu.cuMemHostGetDevicePointer(address, 0))) == int(address)
ok(launch(add, (N + 255) // 256, 256, u64(address), u32(7), u32(N)))
ok(cu.cuCtxSynchronize())
assert (host == np.arange(N) + 7).all()

device = ok(cu.cuMemAlloc(N * 4))
stream = ok(cu.cuStreamCreate(1))
ok(cu.cuMemcpyHtoDAsync(device, address, N * 4, stream))
ok(launch(add, (N + 255) // 256, 256, u64(device), u32(1), u32(N), stream=stream))
ok(cu.cuMemcpyDtoHAsync(address, device, N * 4, stream))
ok(cu.cuStreamSynchronize(stream))
assert (host == np.arange(N) + 8).all()

kind = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
assert int(ok(cu.cuPointerGetAttribute(kind, int(address)))) == int(cu.CUmemorytype.CU_MEMORYTYPE_HOST)
assert int(ok(cu.cuPointerGetAttribute(kind, int(device)))) == int(cu.CUmemorytype.CU_MEMORYTYPE_DEVICE)
plain = np.zeros(4)
fails(cu.cuPointerGetAttribute(kind, plain.ctypes.data), "INVALID_VALUE")
start_address = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_RANGE_START_ADDR
assert int(ok(cu.cuPointerGetAttribute(start_address, int(device) + 1000))) == int(device)
values = ok(cu.cuPointerGetAttributes(1, [kind], plain.ctypes.data))
assert int(values[0]) == 0, values

del host
ok(cu.cuMemFreeHost(address))
fails(cu.cuMemFreeHost(address), "INVALID_VALUE")
again = ok(cu.cuMemHostAlloc(4096, 0))
fresh = np.ctypeslib.as_array((ctypes.c_uint8 * 4096).from_address(int(again)))
assert not fresh.any(), "memory of an earlier block is seen"
print("ok")
