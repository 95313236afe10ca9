"""Launches in every form, parameters of every shape, and shapes that cannot be."""

import ctypes

import numpy as np
from learner import KERNELS, arguments, compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add, wide, shared_sum = (ok(cu.cuModuleGetFunction(module, n)) for n in (b"add", b"wide", b"shared_sum"))


class Wide(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_double), ("c", ctypes.c_char * 300))


out = ok(cu.cuMemAlloc(40))
w = Wide(7, 2.5, b"x" * 299 + b"y")
ok(launch(wide, 1, 1, ctypes.c_byte(-3), w, ctypes.c_short(-9), u64(out)))
values = np.zeros(5)
ok(cu.cuMemcpyDtoH(values.ctypes.data, out, 40))
assert values.tolist() == [-3, 7, 2.5, ord("y"), -9], values

# The packed form.
block = (ctypes.c_char * 344)()
ctypes.memmove(ctypes.addressof(block) + 8, ctypes.addressof(w), ctypes.sizeof(w))
ctypes.c_byte.from_buffer(block, 0).value = 4
ctypes.c_short.from_buffer(block, 328).value = 5
ctypes.c_uint64.from_buffer(block, 336).value = int(out)
size = ctypes.c_size_t(344)
extra = (ctypes.c_void_p * 5)(1, ctypes.addressof(block), 2, ctypes.addressof(size), 0)
ok(cu.cuLaunchKernel(wide, 1, 1, 1, 1, 1, 1, 0, 0, 0, ctypes.addressof(extra)))
ok(cu.cuMemcpyDtoH(values.ctypes.data, out, 40))
assert values.tolist() == [4, 7, 2.5, ord("y"), 5], values

# cuLaunchKernelEx, and shared memory.
data = ok(cu.cuMemAlloc(4096))
numbers = np.arange(1024, dtype=np.uint32)
ok(cu.cuMemcpyHtoD(data, numbers.ctypes.data, 4096))
config = cu.CUlaunchConfig()
config.gridDimX = config.gridDimY = config.gridDimZ = 1
config.blockDimX, config.blockDimY, config.blockDimZ = 1024, 1, 1
config.sharedMemBytes = 4096
pointers, alive = arguments(u64(data), u32(1024))
ok(cu.cuLaunchKernelEx(config, shared_sum, ctypes.addressof(pointers), 0))
ok(cu.cuMemcpyDtoH(numbers.ctypes.data, data, 4))
assert numbers[0] == 1024 * 1023 // 2

for grid, threads in ((0, 1), (1, 0), (1, 1025), (1 << 31, 1)):
    fails(launch(add, grid, threads, u64(data), u32(1), u32(1)), "INVALID_VALUE")
fails(launch(shared_sum, 1, 32, u64(data), u32(1), shared=49 << 10), "INVALID_VALUE")
fails(cu.cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0), "INVALID_VALUE")
fails(launch(cu.CUfunction(int(module)), 1, 1), "INVALID_HANDLE")
fails(launch(add, 1, 1, u64(data), u32(1), u32(1), stream=cu.CUstream(0x1234560)), "INVALID_HANDLE")

# More commands than the ring holds, in order.
ok(cu.cuMemsetD32(data, 0, 1024))
for _ in range(60_000):
    result = launch(add, 1, 32, u64(data), u32(1), u32(32))
    assert int(result[0]) == 0
ok(cu.cuMemcpyDtoH(numbers.ctypes.data, data, 128))
assert (numbers[:32] == 60_000).all(), numbers[:32]
del alive
print("ok")
