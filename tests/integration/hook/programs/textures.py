"""Texture and surface objects, from kernels of NVRTC, over arrays and linear memory."""

import ctypes
import itertools

import numpy as np
from images import (
    AS_INTEGER,
    LAYERED,
    NORMALISED,
    SURFACE,
    array,
    descriptor,
    download,
    of_array,
    of_line,
    of_mipmapped,
    of_plane,
    texture,
    upload,
)
from learner import compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
random = np.random.default_rng(11)
module = ok(
    cu.cuModuleLoadData(
        compile_ptx(r"""
extern "C" __global__ void plane(unsigned long long t, const float* x, const float* y, float* o, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex2D<float>(t, x[i], y[i]); }
extern "C" __global__ void level(unsigned long long t, const float* x, const float* y, float* o, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex2DLod<float>(t, 0.5f, 0.5f, x[i]); }
extern "C" __global__ void space(unsigned long long t, const float* x, const float* y, float* o, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex3D<float>(t, x[i], y[i], 1.5f); }
extern "C" __global__ void layer(unsigned long long t, const float* x, const float* y, float* o, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex2DLayered<float>(t, x[i], y[i], i % 3); }
extern "C" __global__ void whole(unsigned long long t, const float* x, const float* y, int* o, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return;
  short2 v = tex2D<short2>(t, x[i], y[i]); o[i] = v.x * 1000 + v.y; }
extern "C" __global__ void fetch(unsigned long long t, float4* o, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex1Dfetch<float4>(t, n - 1 - i); }
extern "C" __global__ void blur(unsigned long long from, unsigned long long to, int w, int h)
{ int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y; if (x >= w || y >= h) return;
  float s = 0;
  for (int j = -1; j < 2; ++j) for (int i = -1; i < 2; ++i) s += tex2D<float>(from, x + 0.5f + i, y + 0.5f + j);
  surf2Dwrite(s, to, x * 4, y); }
struct Pair { unsigned long long in, out; };
extern "C" __global__ void double_it(Pair p, int n)
{ int i = threadIdx.x; if (i < n) surf1Dwrite(2 * surf1Dread<int>(p.in, i * 4), p.out, i * 4); }
""")
    )
)
kernel = {
    name: ok(cu.cuModuleGetFunction(module, name.encode()))
    for name in "plane level space layer whole fetch blur double_it".split()
}
N = 1000
x = random.uniform(-5, 40, N).astype(np.float32)
y = random.uniform(-5, 30, N).astype(np.float32)
dx, dy, out = (ok(cu.cuMemAlloc(4 * N)) for _ in range(3))
ok(cu.cuMemcpyHtoD(dx, x.ctypes.data, 4 * N))
ok(cu.cuMemcpyHtoD(dy, y.ctypes.data, 4 * N))


def sampled(name: str, t: int, dtype: type = np.float32) -> np.ndarray:
    """What a kernel reads at x, y."""
    ok(launch(kernel[name], 8, 128, u64(t), u64(dx), u64(dy), u64(out), u32(N)))
    got = np.zeros(N, dtype)
    ok(cu.cuMemcpyDtoH(got.ctypes.data, out, 4 * N))
    return got


def clamped(index: np.ndarray, size: int) -> np.ndarray:
    return np.clip(index, 0, size - 1).astype(int)


def filtered(texels: np.ndarray) -> np.ndarray:
    """The linear filter with weights of eight bits and clamped edges, on (height, width)."""
    height, width = texels.shape
    fx, fy = (np.floor(v.astype(np.float64) * 256 - 127.5).astype(int) for v in (x, y))
    i, j, a, b = fx >> 8, fy >> 8, (fx & 255) / 256, (fy & 255) / 256
    total = np.zeros(N)
    for di, dj in itertools.product((0, 1), repeat=2):
        weight = (a if di else 1 - a) * (b if dj else 1 - b)
        total += weight * texels[clamped(j + dj, height), clamped(i + di, width)]
    return total


# An array, by points and filtered.
texels = random.random((1, 24, 32, 1), np.float32)
image = array(32, 24)
upload(image, texels)
flat = texels[0, :, :, 0]
points = ok(texture(of_array(image)))
assert np.array_equal(sampled("plane", points), flat[clamped(np.floor(y), 24), clamped(np.floor(x), 32)])
smooth = ok(texture(of_array(image), linear=True))
assert np.abs(sampled("plane", smooth) - filtered(flat)).max() < 1e-5
edged = ok(texture(of_array(image), address=3, border=(9.0, 0.0, 0.0, 0.0)))
beyond = (x < 0) | (x >= 32) | (y < 0) | (y >= 24)
assert beyond.any()
assert (sampled("plane", edged)[beyond] == 9).all()
turning = ok(texture(of_array(image), address=0, flags=NORMALISED))
wrapped = flat[
    np.floor((y - np.floor(y)) * 24).astype(int), np.floor((x - np.floor(x)) * np.float32(32)).astype(int)
]
assert np.array_equal(sampled("plane", turning), wrapped)

# A texture sees what a later copy writes.
upload(image, texels + 1)
assert np.abs(sampled("plane", smooth) - filtered(flat + 1)).max() < 1e-5

# Integers: as they are, or as fractions.
shorts = random.integers(-300, 300, (1, 24, 32, 2)).astype(np.int16)
pair = array(32, 24, dtype="int16", channels=2)
upload(pair, shorts)
raw = ok(texture(of_array(pair), flags=AS_INTEGER))
at = (clamped(np.floor(y), 24), clamped(np.floor(x), 32))
assert np.array_equal(sampled("whole", raw, np.int32), shorts[0][at] @ np.array([1000, 1], np.int32))
share = ok(texture(of_array(pair)))
assert np.array_equal(sampled("plane", share), np.maximum(shorts[0][at][:, 0] / np.float32(32767), -1))

# Three dimensions, layers, levels.
solid = random.random((3, 24, 32, 1), np.float32)
block, layers = array(32, 24, 3), array(32, 24, 3, flags=LAYERED)
upload(block, solid)
upload(layers, solid)
assert np.array_equal(sampled("space", ok(texture(of_array(block)))), solid[1][at][:, 0])
assert np.array_equal(
    sampled("layer", ok(texture(of_array(layers)))), solid[np.arange(N) % 3, at[0], at[1], 0]
)
pyramid = ok(cu.cuMipmappedArrayCreate(descriptor(16, 16), 5))
for level in range(5):
    side = 16 >> level
    upload(ok(cu.cuMipmappedArrayGetLevel(pyramid, level)), np.full((1, side, side, 1), level, np.float32))
stepped = ok(texture(of_mipmapped(pyramid), flags=NORMALISED, greatest_level=4))
assert np.array_equal(sampled("level", stepped), np.floor(np.clip(x, 0, 4) + np.float32(0.5)))

# Linear memory and pitched memory.
line = random.random((500, 4), np.float32)
memory = ok(cu.cuMemAlloc(line.nbytes))
ok(cu.cuMemcpyHtoD(memory, line.ctypes.data, line.nbytes))
fetched = ok(texture(of_line(int(memory), line.nbytes, "float32", 4)))
result = ok(cu.cuMemAlloc(line.nbytes))
ok(launch(kernel["fetch"], 4, 128, u64(fetched), u64(result), u32(500)))
got = np.zeros_like(line)
ok(cu.cuMemcpyDtoH(got.ctypes.data, result, line.nbytes))
assert np.array_equal(got, line[::-1])
pitched, pitch = ok(cu.cuMemAllocPitch(32 * 4, 24, 4))
two = cu.CUDA_MEMCPY2D()
two.srcMemoryType, two.srcHost = cu.CUmemorytype.CU_MEMORYTYPE_HOST, flat.ctypes.data
two.srcPitch, two.dstPitch, two.WidthInBytes, two.Height = flat.strides[0], pitch, 32 * 4, 24
two.dstMemoryType, two.dstDevice = cu.CUmemorytype.CU_MEMORYTYPE_DEVICE, pitched
ok(cu.cuMemcpy2D(two))
spread = ok(texture(of_plane(int(pitched), 32, 24, pitch, "float32"), linear=True))
assert np.abs(sampled("plane", spread) - filtered(flat)).max() < 1e-5
assert ok(cu.cuDeviceGetTexture1DLinearMaxWidth(cu.CUarray_format.CU_AD_FORMAT_FLOAT, 1, 0)) >= 1 << 27

# Surfaces: written by kernels, read back by copies; objects inside of a structure.
target = array(32, 24, flags=SURFACE)
upload(image, texels)
surface = ok(cu.cuSurfObjectCreate(of_array(target)))
widths = ctypes.c_uint32(32), ctypes.c_uint32(24)
values = (u64(points), u64(surface), *widths)
pointers = (ctypes.c_void_p * 4)(*(ctypes.addressof(v) for v in values))
ok(cu.cuLaunchKernel(kernel["blur"], 1, 24, 1, 32, 1, 1, 0, 0, ctypes.addressof(pointers), 0))
padded = np.pad(flat, 1, mode="edge")
sums = sum(padded[j : j + 24, i : i + 32].astype(np.float64) for j in range(3) for i in range(3))
assert np.abs(download(target, texels)[0, :, :, 0] - sums).max() < 1e-5
lines = [array(100, dtype="int32", flags=SURFACE) for _ in range(2)]
numbers = np.arange(100, dtype=np.int32)
ok(cu.cuMemcpyHtoA(lines[0], 0, numbers.ctypes.data, 400))
ends = [ok(cu.cuSurfObjectCreate(of_array(a))) for a in lines]
ok(launch(kernel["double_it"], 1, 128, (ctypes.c_uint64 * 2)(*map(int, ends)), u32(100)))
doubled = np.zeros_like(numbers)
ok(cu.cuMemcpyAtoH(doubled.ctypes.data, lines[1], 0, 400))
assert np.array_equal(doubled, 2 * numbers)

# What an object was made of can be asked for.
told = ok(cu.cuTexObjectGetResourceDesc(spread))
assert told.resType == cu.CUresourcetype.CU_RESOURCE_TYPE_PITCH2D
assert (int(told.res.pitch2D.devPtr), told.res.pitch2D.pitchInBytes) == (int(pitched), pitch)
sampling = ok(cu.cuTexObjectGetTextureDesc(edged))
assert sampling.addressMode[0] == cu.CUaddress_mode.CU_TR_ADDRESS_MODE_BORDER
assert sampling.borderColor[0] == 9
fails(cu.cuTexObjectGetResourceViewDesc(spread), "INVALID_VALUE")
assert int(ok(cu.cuSurfObjectGetResourceDesc(surface)).res.array.hArray) == int(target)

# What cannot be.
fails(texture(of_array(pair), flags=AS_INTEGER, linear=True), "INVALID_VALUE")
fails(texture(of_line(int(memory) + 4, 64, "float32")), "INVALID_VALUE")
fails(texture(of_line(0x500000000000 + (1 << 41), 64, "float32")), "INVALID_VALUE")
fails(texture(of_line(int(memory), 1 << 40, "float32")), "INVALID_VALUE")
fails(texture(of_line(texels.ctypes.data, 64, "float32")), "INVALID_VALUE")
fails(texture(of_plane(int(pitched), 32, 24, 64, "float32")), "INVALID_VALUE")
fails(texture(of_plane(int(pitched), 32, 1 << 17, pitch, "float32")), "INVALID_VALUE")
gone = array(4, 4)
ok(cu.cuArrayDestroy(gone))
fails(texture(of_array(gone)), "INVALID_HANDLE")
fails(cu.cuSurfObjectCreate(of_array(gone)), "INVALID_HANDLE")
fails(cu.cuSurfObjectCreate(of_array(image)), "INVALID_VALUE")  # it was not made to be written
fails(cu.cuTexObjectDestroy(12345678), "INVALID_VALUE")
fails(cu.cuSurfObjectDestroy(points), "INVALID_VALUE")
ok(cu.cuTexObjectDestroy(points))
fails(cu.cuTexObjectDestroy(points), "INVALID_VALUE")
fails(cu.cuTexObjectGetTextureDesc(points), "INVALID_VALUE")
ok(cu.cuSurfObjectDestroy(surface))
ok(cu.cuCtxSynchronize())
assert np.abs(sampled("plane", smooth) - filtered(flat)).max() < 1e-5
print("ok")
