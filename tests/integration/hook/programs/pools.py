"""Stream-ordered allocation: reuse in stream order, pools and their attributes, the slice's limit."""

import ctypes

from learner import KERNELS, compile_ptx, cu, fails, launch, ok, start, u32, u64

context = start()
MIB = 1 << 20
assert ok(cu.cuDeviceGetAttribute(cu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 0)) == 1
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add, spin = (ok(cu.cuModuleGetFunction(module, n)) for n in (b"add", b"spin"))
first, second = ok(cu.cuStreamCreate(1)), ok(cu.cuStreamCreate(1))
pool = ok(cu.cuDeviceGetDefaultMemPool(0))
assert int(ok(cu.cuDeviceGetMemPool(0))) == int(pool)
Attribute = cu.CUmemPool_attribute


def value(which: str, of: object = pool) -> int:
    return int(ok(cu.cuMemPoolGetAttribute(of, getattr(Attribute, f"CU_MEMPOOL_ATTR_{which}"))))


def set_value(which: str, number: int, of: object = pool) -> tuple:
    attribute = getattr(Attribute, f"CU_MEMPOOL_ATTR_{which}")
    return cu.cuMemPoolSetAttribute(of, attribute, cu.cuuint64_t(number))


# What was freed in a stream is given out again in it at once; not in another, which could run first.
flag = ok(cu.cuMemHostAlloc(4096, 0))
word = ctypes.c_uint32.from_address(int(flag))
block = ok(cu.cuMemAllocAsync(4 * MIB, first))
assert int(
    ok(cu.cuPointerGetAttribute(cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, block))
) == int(pool)
ok(launch(spin, 1, 1, u64(flag), stream=first))
ok(cu.cuMemFreeAsync(block, first))
again = ok(cu.cuMemAllocAsync(4 * MIB, first))
assert int(again) == int(block)
ok(cu.cuMemFreeAsync(again, first))
other = ok(cu.cuMemAllocAsync(4 * MIB, second))
assert int(other) != int(block)
fails(cu.cuMemFreeAsync(block, first), "INVALID_VALUE")
fails(cu.cuMemFree(block), "INVALID_VALUE")
assert value("USED_MEM_CURRENT") == 4 * MIB
assert value("RESERVED_MEM_CURRENT") == 8 * MIB
word.value = 1
ok(cu.cuStreamSynchronize(first))
assert value("RESERVED_MEM_CURRENT") == 4 * MIB  # with the default threshold nothing is kept past a wait
assert value("RESERVED_MEM_HIGH") == 8 * MIB
ok(set_value("RESERVED_MEM_HIGH", 0))
fails(set_value("RESERVED_MEM_HIGH", 5), "INVALID_VALUE")
assert value("RESERVED_MEM_HIGH") == 4 * MIB

# A threshold keeps memory over waits; any stream may have it then; trimming gives it back.
ok(set_value("RELEASE_THRESHOLD", 64 * MIB))
ok(cu.cuMemFreeAsync(other, second))
ok(cu.cuCtxSynchronize())
assert value("RESERVED_MEM_CURRENT") == 4 * MIB
assert int(ok(cu.cuMemAllocAsync(4 * MIB, first))) == int(other)
ok(cu.cuMemFreeAsync(other, first))
ok(cu.cuStreamSynchronize(first))
ok(cu.cuMemPoolTrimTo(pool, 0))
assert value("RESERVED_MEM_CURRENT") == 0
assert ok(cu.cuMemGetInfo())[0] == 128 * MIB

# When memory is out, what pools keep is given up, for whoever asks.
keep = ok(cu.cuMemAllocAsync(64 * MIB, first))
ok(cu.cuMemFreeAsync(keep, first))
large = ok(cu.cuMemAlloc(128 * MIB))
fails(cu.cuMemAllocAsync(MIB, first), "OUT_OF_MEMORY")
ok(cu.cuMemFree(large))
ok(set_value("RELEASE_THRESHOLD", 0))  # also where the wait for it gives up everything by itself
keep = ok(cu.cuMemAllocAsync(120 * MIB, first))
ok(cu.cuMemFreeAsync(keep, first))
ok(cu.cuMemFree(ok(cu.cuMemAlloc(64 * MIB))))
keep = ok(cu.cuMemAllocAsync(120 * MIB, first))
ok(cu.cuMemFreeAsync(keep, first))
shape = cu.CUDA_ARRAY3D_DESCRIPTOR()
shape.Width, shape.Height, shape.NumChannels, shape.Format = 1024, 1024, 4, cu.CUarray_format.CU_AD_FORMAT_FLOAT
ok(cu.cuArrayDestroy(ok(cu.cuArray3DCreate(shape))))

# Results stand in the order of the stream although addresses are reused.
n = 1000
sums = ok(cu.cuMemHostAlloc(4 * n, 0))
for i in range(n):
    scratch = ok(cu.cuMemAllocAsync(4096, first))
    ok(cu.cuMemsetD32Async(scratch, i, 1024, first))
    ok(launch(add, 1, 32, u64(scratch), u32(7), u32(32), stream=first))
    ok(cu.cuMemcpyDtoHAsync(int(sums) + 4 * i, scratch, 4, first))
    ok(cu.cuMemFreeAsync(scratch, first))
ok(cu.cuStreamSynchronize(first))
assert list((ctypes.c_uint32 * n).from_address(int(sums))) == [i + 7 for i in range(n)]

# A pool of the program's own.
props = cu.CUmemPoolProps()
props.allocType = cu.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
props.location.type = cu.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
props.location.id = 0
own = ok(cu.cuMemPoolCreate(props))
mine = ok(cu.cuMemAllocFromPoolAsync(2 * MIB, own, first))
assert value("USED_MEM_CURRENT", own) == 2 * MIB
ok(cu.cuDeviceSetMemPool(0, own))
assert int(ok(cu.cuDeviceGetMemPool(0))) == int(own)
plain = ok(cu.cuMemAllocAsync(2 * MIB, first))
assert value("USED_MEM_CURRENT", own) == 4 * MIB
ok(cu.cuMemFree(plain))  # a synchronous free of such memory is as good
assert value("USED_MEM_CURRENT", own) == 2 * MIB
ok(cu.cuMemPoolDestroy(own))
assert int(ok(cu.cuDeviceGetMemPool(0))) == int(pool)
fails(cu.cuMemAllocFromPoolAsync(MIB, own, first), "INVALID_VALUE")
ok(cu.cuMemFreeAsync(mine, first))  # its memory outlives it
fails(cu.cuMemPoolDestroy(pool), "INVALID_VALUE")
late = ok(cu.cuMemAlloc(MIB))
ok(cu.cuMemFreeAsync(late, first))  # and any device memory may be freed in a stream
ok(cu.cuCtxSynchronize())
ok(cu.cuMemPoolTrimTo(pool, 0))
assert ok(cu.cuMemGetInfo())[0] == 128 * MIB
fails(cu.cuMemAllocAsync(0, first), "INVALID_VALUE")
print("ok")
