"""Managed memory: one pointer for host and device, seen by both at any time."""

import ctypes

from learner import KERNELS, compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add, spin = (ok(cu.cuModuleGetFunction(module, n)) for n in (b"add", b"spin"))
attribute = cu.CUdevice_attribute
for which in ("MANAGED_MEMORY", "CONCURRENT_MANAGED_ACCESS"):
    assert ok(cu.cuDeviceGetAttribute(getattr(attribute, f"CU_DEVICE_ATTRIBUTE_{which}"), 0)) == 1

n = 1000
memory = ok(cu.cuMemAllocManaged(4 * n, 1))
words = (ctypes.c_uint32 * n).from_address(int(memory))
words[:] = range(n)
for turn in range(1, 4):
    ok(launch(add, 8, 128, u64(memory), u32(5), u32(n)))
    ok(cu.cuCtxSynchronize())
    assert list(words) == [i + 5 * turn + turn - 1 for i in range(n)]
    for i in range(n):  # the host writes between kernels without any call
        words[i] += 1

# The host's write is seen by a kernel that runs.
flag = ok(cu.cuMemAllocManaged(4, 1))
ctypes.c_uint32.from_address(int(flag)).value = 0
ok(launch(spin, 1, 1, u64(flag)))
fails(cu.cuStreamQuery(0), "NOT_READY")
ctypes.c_uint32.from_address(int(flag)).value = 1
ok(cu.cuCtxSynchronize())

# Copies and fills of any direction take it.
device = ok(cu.cuMemAlloc(4 * n))
ok(cu.cuMemcpyDtoD(device, memory, 4 * n))
ok(cu.cuMemsetD32(memory, 9, n))
assert list(words) == [9] * n
ok(cu.cuMemcpy(memory, device, 4 * n))
assert words[1] == 1 + 15 + 3
back = (ctypes.c_uint32 * n)()
ok(cu.cuMemcpyDtoH(ctypes.addressof(back), memory, 4 * n))
assert list(back) == list(words)

pointer = cu.CUpointer_attribute
assert ok(cu.cuPointerGetAttribute(pointer.CU_POINTER_ATTRIBUTE_IS_MANAGED, memory))
assert not ok(cu.cuPointerGetAttribute(pointer.CU_POINTER_ATTRIBUTE_IS_MANAGED, device))
assert int(ok(cu.cuPointerGetAttribute(pointer.CU_POINTER_ATTRIBUTE_HOST_POINTER, memory))) == int(memory)

# Advice and prefetches are kept and told again; elsewhere they are errors.
place = cu.CUmemLocation()
place.type = cu.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
place.id = 0
ok(cu.cuMemAdvise(memory, 4 * n, cu.CUmem_advise.CU_MEM_ADVISE_SET_READ_MOSTLY, place))
ok(cu.cuMemAdvise(memory, 4 * n, cu.CUmem_advise.CU_MEM_ADVISE_SET_PREFERRED_LOCATION, place))
ok(cu.cuMemPrefetchAsync(memory, 4 * n, place, 0, 0))
ranges = cu.CUmem_range_attribute
for which, expected in (("READ_MOSTLY", 1), ("PREFERRED_LOCATION", 0), ("LAST_PREFETCH_LOCATION", 0)):
    asked = getattr(ranges, f"CU_MEM_RANGE_ATTRIBUTE_{which}")
    assert ok(cu.cuMemRangeGetAttribute(4, asked, memory, 4 * n)) == expected
fails(cu.cuMemAdvise(device, 4 * n, cu.CUmem_advise.CU_MEM_ADVISE_SET_READ_MOSTLY, place), "INVALID_VALUE")
fails(cu.cuMemPrefetchAsync(device, 4 * n, place, 0, 0), "INVALID_VALUE")
fails(cu.cuMemPrefetchAsync(memory, (1 << 64) - 1, place, 0, 0), "INVALID_VALUE")  # past the end of all addresses
place.id = 3
fails(cu.cuMemPrefetchAsync(memory, 4 * n, place, 0, 0), "INVALID_DEVICE")

fails(cu.cuMemFreeHost(memory), "INVALID_VALUE")
fails(cu.cuMemHostGetFlags(memory), "INVALID_VALUE")
ok(cu.cuMemFree(memory))
fails(cu.cuMemFree(memory), "INVALID_VALUE")
ok(cu.cuMemFree(flag))
fails(cu.cuMemAllocManaged(0, 1), "INVALID_VALUE")
fails(cu.cuMemAllocManaged(64, 0), "INVALID_VALUE")
print("ok")
