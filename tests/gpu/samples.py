"""Prints what textures and surfaces give, as one line of JSON a case. Run by test_textures.py on several GPUs.

Everything goes through the driver API; PTX for compute capability 7.5, so that the software GPU runs it too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "integration/hook/programs"))

from images import (
    AS_INTEGER,
    LAYERED,
    NORMALISED,
    SURFACE,
    array,
    descriptor,
    of_array,
    of_line,
    of_mipmapped,
    texture,
    upload,
)
from learner import compile_ptx, cu, launch, ok, start, u32, u64

start()
SOURCE = r"""
#define EACH int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
typedef unsigned long long object;
extern "C" __global__ void line(object t, const float* x, float* o, int n) { EACH; o[i] = tex1D<float>(t, x[i]); }
extern "C" __global__ void plane(object t, const float* x, float* o, int n)
{ EACH; o[i] = tex2D<float>(t, x[i], x[n - 1 - i]); }
extern "C" __global__ void space(object t, const float* x, float* o, int n)
{ EACH; o[i] = tex3D<float>(t, x[i], x[n - 1 - i], x[(i * 7) % n]); }
extern "C" __global__ void layer(object t, const float* x, float* o, int n)
{ EACH; o[i] = tex1DLayered<float>(t, x[i], i % 5); }
extern "C" __global__ void whole(object t, const float* x, float* o, int n) { EACH; o[i] = tex1D<int>(t, x[i]); }
extern "C" __global__ void index(object t, const float* x, float* o, int n)
{ EACH; o[i] = tex1Dfetch<float>(t, (int)floorf(x[i])); }
extern "C" __global__ void level(object t, const float* x, float* o, int n)
{ EACH; o[i] = tex2DLod<float>(t, 0.5f, 0.5f, x[i]); }
extern "C" __global__ void channels(object t, const float* x, float* o, int n)
{ EACH; float4 v = tex1D<float4>(t, x[i]); o[i] = i % 4 == 0 ? v.x : i % 4 == 1 ? v.y : i % 4 == 2 ? v.z : v.w; }
extern "C" __global__ void beyond_zero(object s, const float* x, float* o, int n)
{ EACH; o[i] = surf1Dread<float>(s, (int)floorf(x[i]) * 4, cudaBoundaryModeZero); }
extern "C" __global__ void beyond_clamp(object s, const float* x, float* o, int n)
{ EACH; o[i] = surf1Dread<float>(s, (int)floorf(x[i]) * 4, cudaBoundaryModeClamp); }
"""
module = ok(cu.cuModuleLoadData(compile_ptx(SOURCE)))
random = np.random.default_rng(17)


def show(case: str, kernel: str, value: Any, x: Any) -> None:
    x = np.ascontiguousarray(x, np.float32)
    where, out = ok(cu.cuMemAlloc(x.nbytes)), ok(cu.cuMemAlloc(x.nbytes))
    ok(cu.cuMemcpyHtoD(where, x.ctypes.data, x.nbytes))
    function = ok(cu.cuModuleGetFunction(module, kernel.encode()))
    ok(launch(function, (len(x) + 127) // 128, 128, u64(value), u64(where), u64(out), u32(len(x))))
    got = np.zeros_like(x)
    ok(cu.cuMemcpyDtoH(got.ctypes.data, out, x.nbytes))
    ok(cu.cuMemFree(where))
    ok(cu.cuMemFree(out))
    print(json.dumps({"case": case, "values": got.tolist()}))


def filled(texels: Any, *shape: int, **more: Any) -> Any:
    one = array(*shape, **more)
    upload(one, texels)
    return one


step = filled(np.array([0, 1], np.float32).reshape(1, 1, 2, 1), 2)
show("weights of the filter", "line", ok(texture(of_array(step), linear=True)), 0.5 + np.arange(4097) / 4096)

texels = random.random((4, 8, 16, 1), np.float32)
arrays = {
    "line": filled(texels[:1, :1], 16),
    "plane": filled(texels[:1], 16, 8),
    "space": filled(texels, 16, 8, 4),
    "layer": filled(texels[:, :1], 16, 0, 4, flags=LAYERED),
}
# A little off the places where a texel ends and the next begins: there rounding decides.
x = np.concatenate([np.arange(-40, 60) / 2 + 0.13, random.uniform(-20, 40, 412)])
for kernel, one in arrays.items():
    for address, name in enumerate(("wrap", "clamp", "mirror", "border")):
        for linear in (False, True):
            for flags, unit in ((0, 1), (NORMALISED, 16)):
                made = texture(
                    of_array(one), linear=linear, flags=flags, address=address, border=(9.0, 0.0, 0.0, 0.0)
                )
                filter_ = "linear" if linear else "points"
                if int(made[0]) == 0:
                    show(
                        f"{kernel} {name} {filter_} {'normalised' if flags else 'texels'}",
                        kernel,
                        made[1],
                        x / unit,
                    )

small = filled((np.arange(16) * 16).astype(np.uint8).reshape(1, 1, 16, 1), 16, dtype="uint8")
show("fractions of bytes", "line", ok(texture(of_array(small), linear=True)), x)
signed = filled(np.arange(-8, 8, dtype=np.int16).reshape(1, 1, 16, 1) * 4096, 16, dtype="int16")
show("fractions of shorts", "line", ok(texture(of_array(signed))), x)
numbers = filled(np.arange(16, dtype=np.int32).reshape(1, 1, 16, 1), 16, dtype="int32")
show(
    "border of integers",
    "whole",
    ok(texture(of_array(numbers), flags=AS_INTEGER, address=3, border=(9.0, 0, 0, 0))),
    x,
)
show("channels that are not there", "channels", ok(texture(of_array(arrays["line"]))), np.full(8, 0.5))

memory = ok(cu.cuMemAlloc(512))
ok(cu.cuMemsetD32(memory, 0x3F800000, 128))
show("beyond linear memory", "index", ok(texture(of_line(int(memory), 64, "float32"))), x)

pyramid = ok(cu.cuMipmappedArrayCreate(descriptor(16, 16), 5))
for depth in range(5):
    side = 16 >> depth
    upload(ok(cu.cuMipmappedArrayGetLevel(pyramid, depth)), np.full((1, side, side, 1), depth, np.float32))
levels = np.arange(-8, 48) / 8 + 0.01
for linear in (False, True):
    made = ok(texture(of_mipmapped(pyramid), flags=NORMALISED, greatest_level=4, linear_levels=linear))
    show(f"levels {'mixed' if linear else 'chosen'}", "level", made, levels)

written = filled(texels[:1, :1], 16, flags=SURFACE)
surface = ok(cu.cuSurfObjectCreate(of_array(written)))
show("surface beyond its edge is zero", "beyond_zero", surface, x)
show("surface beyond its edge is clamped", "beyond_clamp", surface, x)
