"""Arrays and mipmapped arrays: what they say they are, what they cost the slice, how they end."""

import numpy as np
from images import ARRAY, HOST, LAYERED, SURFACE, array, box, descriptor, download, upload
from learner import cu, fails, ok, start

start()
MIB = 1 << 20
random = np.random.default_rng(3)
free, total = ok(cu.cuMemGetInfo())
assert free == total == 128 * MIB

# What goes in comes out, in every format and shape.
for dtype, channels in [
    ("uint8", 1),
    ("int8", 2),
    ("uint16", 4),
    ("int16", 1),
    ("float16", 2),
    ("uint32", 4),
    ("int32", 2),
    ("float32", 1),
]:
    texels = random.integers(0, 100, (1, 7, 33, channels)).astype(dtype)
    one = array(33, 7, dtype=dtype, channels=channels)
    upload(one, texels)
    assert np.array_equal(download(one, texels), texels), dtype
    ok(cu.cuArrayDestroy(one))
for shape, flags, stored in [
    ((50,), 0, (1, 1, 50, 1)),
    ((50, 20), 0, (1, 20, 50, 1)),
    ((50, 20, 6), 0, (6, 20, 50, 1)),
    ((50, 0, 6), LAYERED, (6, 1, 50, 1)),
    ((50, 20, 6), LAYERED | SURFACE, (6, 20, 50, 1)),
]:
    texels = random.random(stored, np.float32)
    one = array(*shape, flags=flags)
    upload(one, texels)
    assert np.array_equal(download(one, texels), texels), shape
    told = ok(cu.cuArray3DGetDescriptor(one))
    assert (told.Width, told.Height, told.Depth, told.Flags) == (*shape, *([0] * (3 - len(shape))), flags)
    assert (told.Format, told.NumChannels) == (cu.CUarray_format.CU_AD_FORMAT_FLOAT, 1)
    ok(cu.cuArrayDestroy(one))

flat = cu.CUDA_ARRAY_DESCRIPTOR()
flat.Width, flat.Height, flat.Format, flat.NumChannels = 10, 4, cu.CUarray_format.CU_AD_FORMAT_HALF, 2
one = ok(cu.cuArrayCreate(flat))
told = ok(cu.cuArrayGetDescriptor(one))
assert (told.Width, told.Height, told.Format, told.NumChannels) == (10, 4, flat.Format, 2)
fails(cu.cuArrayGetMemoryRequirements(one, 0), "INVALID_VALUE")  # only of arrays that are mapped later
ok(cu.cuArrayDestroy(one))
fails(cu.cuArrayDestroy(one), "INVALID_HANDLE")
fails(cu.cuArray3DGetDescriptor(one), "INVALID_HANDLE")

# What cannot be.
for bad in (
    descriptor(0, 4),
    descriptor(4, channels=3),
    descriptor(1 << 20),
    descriptor(10, 0, 5),
    descriptor(4, 4, flags=1 << 20),
):
    fails(cu.cuArray3DCreate(bad), "INVALID_VALUE")
fails(cu.cuArray3DCreate(descriptor(4, 4, flags=0x40)), "NOT_SUPPORTED")

# Memory counts, is given back, and the limit holds.
assert ok(cu.cuMemGetInfo())[0] == free
four = array(1024, 1024)
used = free - ok(cu.cuMemGetInfo())[0]
assert 4 * MIB <= used <= 6 * MIB, used
ok(cu.cuArrayDestroy(four))
assert ok(cu.cuMemGetInfo())[0] == free
fails(cu.cuArray3DCreate(descriptor(8192, 8192)), "OUT_OF_MEMORY")
held = [array(2048, 2048) for _ in range(7)]  # 16 MiB each
fails(cu.cuArray3DCreate(descriptor(4096, 2048)), "OUT_OF_MEMORY")
fails(cu.cuMemAlloc(32 * MIB), "OUT_OF_MEMORY")
for one in held:
    ok(cu.cuArrayDestroy(one))
assert ok(cu.cuMemGetInfo())[0] == free

# Levels of a mipmapped array are arrays of their own, and end with it.
whole = ok(cu.cuMipmappedArrayCreate(descriptor(40, 20), 6))
mipmapped_use = free - ok(cu.cuMemGetInfo())[0]
assert mipmapped_use > 0
sizes = []
for level in range(6):
    one = ok(cu.cuMipmappedArrayGetLevel(whole, level))
    assert int(one) == int(ok(cu.cuMipmappedArrayGetLevel(whole, level)))
    told = ok(cu.cuArray3DGetDescriptor(one))
    sizes.append((told.Width, told.Height, told.Depth))
    texels = np.full((1, told.Height, told.Width, 1), level + 0.5, np.float32)
    upload(one, texels)
    assert np.array_equal(download(one, texels), texels)
assert sizes == [(40, 20, 0), (20, 10, 0), (10, 5, 0), (5, 2, 0), (2, 1, 0), (1, 1, 0)]
fails(cu.cuMipmappedArrayGetLevel(whole, 6), "INVALID_VALUE")
fails(cu.cuArrayDestroy(one), "INVALID_HANDLE")
assert free - ok(cu.cuMemGetInfo())[0] == mipmapped_use
ok(cu.cuMipmappedArrayDestroy(whole))
fails(cu.cuArray3DGetDescriptor(one), "INVALID_HANDLE")
fails(cu.cuMipmappedArrayGetLevel(whole, 0), "INVALID_HANDLE")
assert ok(cu.cuMemGetInfo())[0] == free
layers = ok(cu.cuMipmappedArrayCreate(descriptor(8, 8, 3, flags=LAYERED), 2))
told = ok(cu.cuArray3DGetDescriptor(ok(cu.cuMipmappedArrayGetLevel(layers, 1))))
assert (told.Width, told.Height, told.Depth) == (4, 4, 3)
ok(cu.cuMipmappedArrayDestroy(layers))
fails(cu.cuMipmappedArrayCreate(descriptor(8, 8), 5), "INVALID_VALUE")
fails(cu.cuMipmappedArrayCreate(descriptor(8, 8), 0), "INVALID_VALUE")

# The context's reset ends them all.
left = [array(1024, 1024), ok(cu.cuMipmappedArrayCreate(descriptor(512, 512), 3))]
assert ok(cu.cuMemGetInfo())[0] < free
ok(cu.cuDevicePrimaryCtxReset(0))
context = ok(cu.cuDevicePrimaryCtxRetain(0))
ok(cu.cuCtxSetCurrent(context))
assert ok(cu.cuMemGetInfo())[0] == free
fails(cu.cuArrayDestroy(left[0]), "INVALID_HANDLE")
texels = random.random((1, 3, 5, 1), np.float32)
again = array(5, 3)
upload(again, texels)
assert np.array_equal(download(again, texels), texels)

# Outside of an array: an error at once, and the context lives on.
host = np.zeros(1000, np.float32)
fine = {"to": (HOST, host.ctypes.data), "of": (ARRAY, again), "to_rows": (20, 3)}
ok(cu.cuMemcpy3D(box(20, 3, 1, **fine)))
for width, height, depth, at in [
    (24, 3, 1, (0, 0, 0)),
    (20, 4, 1, (0, 0, 0)),
    (20, 3, 2, (0, 0, 0)),
    (20, 3, 1, (4, 0, 0)),
    (20, 3, 1, (0, 1, 0)),
    (20, 3, 1, (0, 0, 1)),
    (4, 1, 1, (1 << 63, 0, 0)),
    (3, 1, 1, (0, 0, 0)),
    (4, 1, 1, (2, 0, 0)),
]:
    fails(
        cu.cuMemcpy3D(box(width, height, depth, of_at=at, **(fine | {"to_rows": (40, 10)}))), "INVALID_VALUE"
    )
fails(cu.cuMemcpy3D(box(20, 3, 1, **(fine | {"of": (ARRAY, left[0])}))), "INVALID_HANDLE")
ok(cu.cuCtxSynchronize())
print("ok")
