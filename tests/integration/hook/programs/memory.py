"""Allocation, the slice's limit, and copies of every size that takes another way."""

import ctypes
import itertools

import numpy as np
from learner import cu, fails, ok, start

start()
MIB = 1 << 20
assert ok(cu.cuDeviceTotalMem(0)) == 128 * MIB
free, total = ok(cu.cuMemGetInfo())
assert (free, total) == (128 * MIB, 128 * MIB)

# Small blocks share pages, are aligned, and do not overlap.
small = sorted(int(ok(cu.cuMemAlloc(1 + 300 * i))) for i in range(1, 40))
assert all(a % 512 == 0 for a in small)
sizes = {a: int(ok(cu.cuMemGetAddressRange(a))[1]) for a in small}
assert all(b - a >= sizes[a] for a, b in itertools.pairwise(small))
for a in small:
    ok(cu.cuMemFree(a))
assert ok(cu.cuMemGetInfo())[0] == 128 * MIB
fails(cu.cuMemFree(small[0]), "INVALID_VALUE")
fails(cu.cuMemFree(small[0] + 512), "INVALID_VALUE")
fails(cu.cuMemAlloc(0), "INVALID_VALUE")
ok(cu.cuMemFree(0))

# An attribute that only is told again: of the block, wherever in it the pointer points, and gone with it.
sync = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_SYNC_MEMOPS
for allocate, free in ((cu.cuMemAlloc, cu.cuMemFree), (lambda n: cu.cuMemHostAlloc(n, 0), cu.cuMemFreeHost)):
    block = ok(allocate(4096))
    for value in (True, False, True):
        ok(cu.cuPointerSetAttribute(value, sync, int(block) + 100))
        assert bool(ok(cu.cuPointerGetAttribute(sync, int(block)))) is value
    ok(free(block))
    block = ok(allocate(4096))
    assert not ok(cu.cuPointerGetAttribute(sync, int(block)))
    ok(free(block))

# The limit is exact: 128 MiB of whole pages, and not one more.
blocks = [ok(cu.cuMemAlloc(32 * MIB)) for _ in range(4)]
fails(cu.cuMemAlloc(2 * MIB), "OUT_OF_MEMORY")
fails(cu.cuMemAlloc(1), "OUT_OF_MEMORY")
fails(cu.cuMemAlloc(1 << 45), "OUT_OF_MEMORY")
ok(cu.cuMemFree(blocks.pop()))
blocks.append(ok(cu.cuMemAlloc(32 * MIB)))
for b in blocks:
    ok(cu.cuMemFree(b))

# Inline, one chunk, several chunks, odd ends; there and back.
random = np.random.default_rng(1)
for size in (1, 7, 4079, 4080, 4081, 16384, 16385, MIB - 1, MIB, MIB + 1, 5 * MIB + 3, 40 * MIB + 5):
    data = random.integers(0, 256, size, dtype=np.uint8)
    back = np.zeros_like(data)
    block = ok(cu.cuMemAlloc(size))
    ok(cu.cuMemcpyHtoD(block, data.ctypes.data, size))
    ok(cu.cuMemcpyDtoH(back.ctypes.data, block, size))
    assert (back == data).all(), size
    ok(cu.cuMemcpyDtoH(back.ctypes.data, int(block) + size // 2, size - size // 2))
    assert (back[: size - size // 2] == data[size // 2 :]).all(), size
    ok(cu.cuMemFree(block))

# Device to device, memsets, and two dimensions.
a, b = ok(cu.cuMemAlloc(MIB)), ok(cu.cuMemAlloc(MIB))
ok(cu.cuMemsetD32(a, 0x01020304, MIB // 4))
ok(cu.cuMemcpyDtoD(b, a, MIB))
ok(cu.cuMemsetD8(int(b) + 16, 9, 16))
ok(cu.cuMemsetD16(int(b) + 64, 0x0506, 4))
out = np.zeros(MIB, np.uint8)
ok(cu.cuMemcpy(out.ctypes.data, b, MIB))
expected = np.frombuffer(np.full(MIB // 4, 0x01020304, np.uint32).tobytes(), np.uint8).copy()
expected[16:32] = 9
expected[64:72] = [6, 5] * 4
assert (out == expected).all()

pitched, pitch = ok(cu.cuMemAllocPitch(100, 20, 4))
assert pitch >= 100
assert pitch % 512 == 0
image = random.integers(0, 256, (20, 100), dtype=np.uint8)
copy = cu.CUDA_MEMCPY2D()
copy.srcMemoryType = cu.CUmemorytype.CU_MEMORYTYPE_HOST
copy.srcHost = image.ctypes.data
copy.srcPitch = 100
copy.dstMemoryType = cu.CUmemorytype.CU_MEMORYTYPE_DEVICE
copy.dstDevice = pitched
copy.dstPitch = pitch
copy.WidthInBytes = 100
copy.Height = 20
ok(cu.cuMemcpy2D(copy))
part = np.zeros((5, 10), np.uint8)
copy.srcMemoryType = cu.CUmemorytype.CU_MEMORYTYPE_DEVICE
copy.srcDevice = pitched
copy.srcPitch = pitch
copy.srcXInBytes = 30
copy.srcY = 7
copy.dstMemoryType = cu.CUmemorytype.CU_MEMORYTYPE_HOST
copy.dstHost = part.ctypes.data
copy.dstPitch = 10
copy.WidthInBytes = 10
copy.Height = 5
ok(cu.cuMemcpy2D(copy))
assert (part == image[7:12, 30:40]).all()

# A batch of copies, each of its own direction; and a copy between contexts, of which this device has one.
stream = ok(cu.cuStreamCreate(1))
first, second = ok(cu.cuMemAlloc(64)), ok(cu.cuMemAlloc(64))
source, target = np.arange(16, dtype=np.uint32), np.zeros(16, np.uint32)
attributes = cu.CUmemcpyAttributes()
attributes.srcAccessOrder = cu.CUmemcpySrcAccessOrder.CU_MEMCPY_SRC_ACCESS_ORDER_STREAM
pointers = cu.CUdeviceptr
batch = (
    [first, second, pointers(target.ctypes.data)],
    [pointers(source.ctypes.data), first, second],
    [64] * 3,
    3,
)
ok(cu.cuMemcpyBatchAsync(*batch, [attributes], [0], 1, stream))
ok(cu.cuStreamSynchronize(stream))
assert (target == source).all()
fails(cu.cuMemcpyBatchAsync(*batch, [attributes], [0], 1, 0), "INVALID_VALUE")
ok(cu.cuMemcpyBatchAsync(*batch, [attributes], [0], 1, cu.CUstream(2)))  # the thread's own default stream
fails(cu.cuMemcpyBatchAsync(*batch, [attributes], [0], 1, cu.CUstream(1)), "INVALID_VALUE")
# The variant for which that is stream 0.
lists = [(ctypes.c_uint64 * 1)(v) for v in (int(first), source.ctypes.data, 64, 0)]
per_thread = ctypes.CDLL("libcuda.so.1").cuMemcpyBatchAsync_v2_ptsz
assert (
    per_thread(
        *(ctypes.c_void_p(ctypes.addressof(v)) for v in lists[:3]),
        ctypes.c_size_t(1),
        ctypes.c_void_p(attributes.getPtr()),
        ctypes.c_void_p(ctypes.addressof(lists[3])),
        ctypes.c_size_t(1),
        None,
    )
    == 0
)
ok(cu.cuMemsetD32(first, 7, 16))
current = ok(cu.cuCtxGetCurrent())
ok(cu.cuMemcpyPeer(second, current, first, current, 64))
ok(cu.cuMemcpyDtoH(target.ctypes.data, second, 64))
assert (target == 7).all()

# Outside of what is allocated: an error, and the context lives on.
fails(cu.cuMemcpyDtoH(out.ctypes.data, 0x500000000000 + (1 << 41), 4), "INVALID_VALUE")
fails(cu.cuMemcpyDtoH(out.ctypes.data, out.ctypes.data, 4), "INVALID_VALUE")
ok(cu.cuCtxSynchronize())
print("ok")
