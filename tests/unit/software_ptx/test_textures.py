"""Texture and surface instructions on objects, against NumPy and by what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device import HEAD, Buffer, Program, PtxError, cuda
from images import BORDER, CHANNELS, CLAMP, MIRROR, WRAP, Image, as_floats, reference

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)
POINTS = 2048


def pixels(dtype: Any, *shape: int) -> Array:
    """Random texels; floats are whole numbers over 16, so that sums of them are exact."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (RNG.integers(-512, 512, shape) / 16).astype(dtype)
    info = np.iinfo(kind)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


FETCHES = r"""
template <class T> __device__ void put(T* o, int i, T v) { o[i] = v; }
#define KERNELS(T, N) \
extern "C" __global__ void one_##N(unsigned long long t, const float* x, const float*, const float*, const int*, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex1D<T>(t, x[i]); } \
extern "C" __global__ void two_##N(unsigned long long t, const float* x, const float* y, const float*, const int*, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex2D<T>(t, x[i], y[i]); } \
extern "C" __global__ void three_##N(unsigned long long t, const float* x, const float* y, const float* z, const int*, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex3D<T>(t, x[i], y[i], z[i]); } \
extern "C" __global__ void fetch_##N(unsigned long long t, const float*, const float*, const float*, const int* k, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex1Dfetch<T>(t, k[i]); } \
extern "C" __global__ void layers_one_##N(unsigned long long t, const float* x, const float*, const float*, const int* k, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex1DLayered<T>(t, x[i], k[i]); } \
extern "C" __global__ void layers_two_##N(unsigned long long t, const float* x, const float* y, const float*, const int* k, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex2DLayered<T>(t, x[i], y[i], k[i]); } \
extern "C" __global__ void level_one_##N(unsigned long long t, const float* x, const float*, const float* l, const int*, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex1DLod<T>(t, x[i], l[i]); } \
extern "C" __global__ void level_two_##N(unsigned long long t, const float* x, const float* y, const float* l, const int*, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex2DLod<T>(t, x[i], y[i], l[i]); } \
extern "C" __global__ void level_layers_##N(unsigned long long t, const float* x, const float* y, const float* l, const int* k, T* o, int n) \
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = tex2DLayeredLod<T>(t, x[i], y[i], k[i], l[i]); }
KERNELS(float, f1) KERNELS(float2, f2) KERNELS(float4, f4)
KERNELS(unsigned, u1) KERNELS(uint4, u4) KERNELS(int, s1) KERNELS(int2, s2)
KERNELS(unsigned char, b1) KERNELS(uchar4, b4) KERNELS(signed char, c1) KERNELS(short2, h2) KERNELS(unsigned short, w1)
"""


@pytest.fixture(scope="module")
def fetches() -> Program:
    return cuda(FETCHES)


def fetched(
    program: Program,
    kernel: str,
    image: Image,
    dtype: Any,
    channels: int,
    *,
    x: Array | None = None,
    y: Array | None = None,
    z: Array | None = None,
    k: Array | None = None,
) -> Array:
    count = len(next(a for a in (x, k) if a is not None))
    none = np.zeros(1, np.float32)
    inputs = [Buffer((a if a is not None else none).astype(np.float32)) for a in (x, y, z)]
    whole = Buffer((k if k is not None else none).astype(np.int32))
    result = Buffer(np.zeros((count, channels), dtype))
    program.run(kernel, (count + 127) // 128, 128, image.value, *inputs, whole, result, np.int32(count))
    values = result.array.copy()
    for buffer in (*inputs, whole, result):
        buffer.free()
    return values


def spread(size: int, normalised: bool, count: int = POINTS) -> Array:
    """Coordinates in and around an image's axis, some of them just between texels and some at its very ends."""
    some = RNG.uniform(-1.5 * size, 2.5 * size, count)
    some[: count // 4] = RNG.integers(-size, 2 * size, count // 4) / 2
    some[count // 4 : count // 4 + 8] = [0, size, size - 0.5, 0.5, -0.5, size + 0.5, -size, 2 * size]
    values: Array = (some / size if normalised else some).astype(np.float32)
    return values


@pytest.mark.parametrize(("dtype", "code"), [(np.float32, "f"), (np.uint32, "u"), (np.int32, "s")])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_a_point_fetch_gives_the_texel_itself(fetches: Program, dtype: Any, code: str, channels: int) -> None:
    if f"{code}{channels}" in ("u2", "s4"):
        channels = {"u": 4, "s": 2}[code]
    texels = pixels(dtype, 1, 9, 13, channels)
    image = Image(texels, pad=24)
    x, y = spread(13, False), spread(9, False)
    got = fetched(fetches, f"two_{code}{channels}", image, dtype, channels, x=x, y=y)
    assert np.array_equal(got, reference(texels, [x, y]))
    image.free()


@pytest.mark.parametrize(
    ("dtype", "code", "channels"),
    [(np.uint8, "b1", 1), (np.uint8, "b4", 4), (np.int8, "c1", 1), (np.int16, "h2", 2), (np.uint16, "w1", 1)],
)
def test_narrow_integers_are_extended(fetches: Program, dtype: Any, code: str, channels: int) -> None:
    texels = pixels(dtype, 1, 5, 8, channels)
    image = Image(texels)
    x, y = spread(8, False), spread(5, False)
    got = fetched(fetches, f"two_{code}", image, dtype, channels, x=x, y=y)
    assert np.array_equal(got, reference(texels, [x, y]))
    image.free()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int16])
def test_integers_read_as_floats_are_their_share_of_the_greatest(fetches: Program, dtype: Any) -> None:
    texels = pixels(dtype, 1, 16, 16, 4)
    texels[0, 0, 0] = np.iinfo(dtype).min
    image = Image(texels, normalised_values=True)
    x, y = np.meshgrid(np.arange(16) + 0.5, np.arange(16) + 0.5)
    got = fetched(fetches, "two_f4", image, np.float32, 4, x=x.ravel(), y=y.ravel())
    assert np.array_equal(got, as_floats(texels).reshape(-1, 4))
    assert got[0].min() == (0 if np.dtype(dtype).kind == "u" else -1)
    image.free()


def test_half_precision_texels_read_as_floats(fetches: Program) -> None:
    texels = pixels(np.float16, 1, 6, 7, 2)
    image = Image(texels)
    x, y = spread(7, False), spread(6, False)
    got = fetched(fetches, "two_f2", image, np.float32, 2, x=x, y=y)
    assert np.array_equal(got, reference(as_floats(texels), [x, y]))
    image.free()


@pytest.mark.parametrize("addressing", [WRAP, CLAMP, MIRROR, BORDER])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_addressing_and_filter(
    fetches: Program, dimensions: int, linear: bool, normalised: bool, addressing: int
) -> None:
    shape = [(1, 1, 16), (1, 8, 16), (4, 8, 16)][dimensions - 1]
    texels = pixels(np.float32, *shape, 4)
    border = (7.0, -3.0, 0.5, 100.0)
    image = Image(
        texels, addressing=addressing, linear_filter=linear, normalised_coordinates=normalised, border=border
    )
    points = [spread(size, normalised) for size in shape[::-1][:dimensions]]
    named = dict(zip("xyz", points, strict=False))
    got = fetched(fetches, f"{('one', 'two', 'three')[dimensions - 1]}_f4", image, np.float32, 4, **named)
    wanted = reference(
        texels, points, addressing=addressing, linear=linear, normalised=normalised, border=border
    )
    if (
        dimensions == 1 and linear and addressing == BORDER
    ):  # as on an H100: a row of a plane, sampled at its edge
        wanted = (wanted + np.array(border, np.float32)) / 2
    # Sizes are powers of two and texels short: products and sums of two are exact, of eight nearly so.
    np.testing.assert_allclose(got, wanted, rtol=0, atol=0 if dimensions < 2 or not linear else 2e-5)
    image.free()


def test_the_border_of_integers_has_the_bits_of_the_colours_numbers(fetches: Program) -> None:
    image = Image(pixels(np.uint32, 1, 4, 4, 4), addressing=BORDER, border=(7.0, -3.0, 0.5, 100.0))
    beyond = np.full(3, 9.5, np.float32)
    got = fetched(fetches, "two_u4", image, np.uint32, 4, x=beyond, y=beyond)
    assert np.array_equal(got, np.tile(np.array([7.0, -3.0, 0.5, 100.0], np.float32).view(np.uint32), (3, 1)))
    image.free()


def test_the_filters_weights_have_eight_bits(fetches: Program) -> None:
    image = Image(np.array([0, 1], np.float32).reshape(1, 1, 2, 1), linear_filter=True)
    x = (0.5 + np.arange(4097) / 4096).astype(np.float32)
    got = fetched(fetches, "one_f1", image, np.float32, 1, x=x).ravel()
    assert np.array_equal(got * 256, np.round(got * 256))
    assert len(np.unique(got)) == 257  # 0 and 1 are exact
    assert np.abs(got - (x - 0.5)).max() <= 1 / 512
    image.free()


def test_a_texel_of_no_weight_is_not_read(fetches: Program) -> None:
    image = Image(np.array([2, np.nan, 3], np.float32).reshape(1, 1, 3, 1), linear_filter=True)
    got = fetched(fetches, "one_f1", image, np.float32, 1, x=np.array([0.5, 2.5, 1.0], np.float32)).ravel()
    assert got[0] == 2 and got[1] == 3 and np.isnan(got[2])
    image.free()


def test_coordinates_that_are_no_numbers_or_far_away_are_no_fault(fetches: Program) -> None:
    texels = pixels(np.float32, 1, 1, 8, 1)
    x = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 2.0**31], np.float32)
    for settings in ({}, {"linear_filter": True}, {"normalised_coordinates": True, "addressing": CLAMP}):
        image = Image(texels, **settings)
        got = fetched(fetches, "one_f1", image, np.float32, 1, x=x).ravel()
        flat = texels.ravel()
        assert got[1:].tolist() == [flat[7], flat[0], flat[7], flat[0], flat[7]]
        image.free()


def test_linear_memory_is_fetched_by_index_and_zero_beyond(fetches: Program) -> None:
    texels = pixels(np.float32, 1, 1, 1000, 4)
    image = Image(texels, linear_memory=True)
    k = RNG.integers(-200, 1300, POINTS).astype(np.int32)
    got = fetched(fetches, "fetch_f4", image, np.float32, 4, k=k)
    inside = (k >= 0) & (k < 1000)
    assert np.array_equal(got, np.where(inside[:, None], texels[0, 0][np.clip(k, 0, 999)], 0))
    image.free()


@pytest.mark.parametrize("linear", [False, True])
def test_layers_are_chosen_and_never_mixed(fetches: Program, linear: bool) -> None:
    flat = pixels(np.float32, 5, 1, 16, 1)
    k = RNG.integers(0, 7, POINTS).astype(np.int32)  # beyond the last layer is the last
    x, y = spread(16, False), spread(8, False)
    image = Image(flat, layered=True, linear_filter=linear)
    got = fetched(fetches, "layers_one_f1", image, np.float32, 1, x=x, k=k)
    assert np.array_equal(got, reference(flat, [x], linear=linear, layer=k))
    image.free()
    texels = pixels(np.float32, 5, 8, 16, 4)
    image = Image(texels, layered=True, linear_filter=linear)
    got = fetched(fetches, "layers_two_f4", image, np.float32, 4, x=x, y=y, k=k)
    np.testing.assert_allclose(got, reference(texels, [x, y], linear=linear, layer=k), atol=2e-5, rtol=0)
    image.free()


def pyramid() -> list[Array]:
    return [np.full((2, max(8 >> i, 1), max(16 >> i, 1), 1), i * 10, np.float32) for i in range(5)]


def test_a_level_is_the_nearest_one_within_the_clamp(fetches: Program) -> None:
    levels = np.array([-3, 0, 0.4, 0.6, 1, 2.49, 2.51, 4, 9], np.float32)
    middle = np.full(len(levels), 0.5, np.float32)
    image = Image(*pyramid(), normalised_coordinates=True, least_level=0, greatest_level=99)
    got = fetched(fetches, "level_two_f1", image, np.float32, 1, x=middle, y=middle, z=levels).ravel()
    assert got.tolist() == [0, 0, 0, 10, 10, 20, 30, 40, 40]
    one = fetched(fetches, "level_one_f1", image, np.float32, 1, x=middle, z=levels).ravel()
    assert one.tolist() == got.tolist()
    image.free()
    image = Image(*pyramid(), normalised_coordinates=True, least_level=1, greatest_level=3, level_bias=0.5)
    got = fetched(fetches, "level_two_f1", image, np.float32, 1, x=middle, y=middle, z=levels).ravel()
    assert got.tolist() == [10, 10, 10, 10, 20, 30, 30, 30, 30]
    plain = fetched(fetches, "two_f1", image, np.float32, 1, x=middle, y=middle).ravel()
    assert set(plain.tolist()) == {10}
    image.free()


def test_levels_of_a_layer_are_named_by_the_fourth_coordinate(fetches: Program) -> None:
    image = Image(
        *(level + np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1) for level in pyramid()),
        layered=True,
        normalised_coordinates=True,
        greatest_level=99,
    )
    k, levels = np.array([0, 1, 0, 1], np.int32), np.array([0, 1, 2, 4], np.float32)
    middle = np.full(4, 0.5, np.float32)
    got = fetched(fetches, "level_layers_f1", image, np.float32, 1, x=middle, y=middle, z=levels, k=k).ravel()
    assert got.tolist() == [0, 11, 20, 41]
    image.free()


def test_levels_are_mixed_in_256ths_when_asked_to(fetches: Program) -> None:
    image = Image(*pyramid(), normalised_coordinates=True, linear_levels=True, greatest_level=99)
    levels = np.linspace(0, 4, 257, dtype=np.float32)
    middle = np.full(len(levels), 0.5, np.float32)
    got = fetched(fetches, "level_two_f1", image, np.float32, 1, x=middle, y=middle, z=levels).ravel()
    np.testing.assert_allclose(got, levels * 10, atol=1e-5)
    image.free()


SURFACES = r"""
extern "C" __global__ void turn(unsigned long long from, unsigned long long to, int w, int h)
{ int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < w && y < h) surf2Dwrite(surf2Dread<float>(from, x * 4, y), to, y * 4, x); }
#define MOVE(T, N) \
extern "C" __global__ void line_##N(unsigned long long from, unsigned long long to, int n) \
{ int i = threadIdx.x; if (i < n) surf1Dwrite(surf1Dread<T>(from, i * (int)sizeof(T)), to, (n - 1 - i) * (int)sizeof(T)); }
MOVE(unsigned char, b1) MOVE(ushort2, h2) MOVE(uint4, u4) MOVE(longlong2, l2) MOVE(char4, b4) MOVE(float, f1)
extern "C" __global__ void space(unsigned long long s, int* o, int w, int h, int d)
{ int i = threadIdx.x; if (i >= w * h * d) return; int x = i % w, y = i / w % h, z = i / w / h;
  o[i] = surf3Dread<int>(s, x * 4, y, z); surf3Dwrite(-i, s, x * 4, y, z); }
extern "C" __global__ void layers(unsigned long long s, unsigned long long t, int* o)
{ int i = threadIdx.x; o[i] = surf2DLayeredread<int>(s, 4 * (i % 4), i / 4 % 2, i / 8) * 100 + surf1DLayeredread<int>(t, 4 * (i % 4), i / 8);
  surf2DLayeredwrite(i, s, 4 * (i % 4), i / 4 % 2, i / 8); if (i / 4 % 2 == 0) surf1DLayeredwrite(-i, t, 4 * (i % 4), i / 8); }
extern "C" __global__ void beyond(unsigned long long s, int* o, const int* x, const int* y, int n)
{ int i = threadIdx.x; if (i >= n) return;
  o[i] = surf2Dread<int>(s, x[i] * 4, y[i], cudaBoundaryModeZero); o[n + i] = surf2Dread<int>(s, x[i] * 4, y[i], cudaBoundaryModeClamp); }
extern "C" __global__ void scatter_zero(unsigned long long s, int x, int y) { surf2Dwrite(77, s, x * 4, y, cudaBoundaryModeZero); }
extern "C" __global__ void scatter_clamp(unsigned long long s, int x, int y) { surf2Dwrite(77, s, x * 4, y, cudaBoundaryModeClamp); }
extern "C" __global__ void scatter_trap(unsigned long long s, int x, int y) { surf2Dwrite(77, s, x * 4, y); }
extern "C" __global__ void askew(unsigned long long s, int x) { surf2Dwrite(77, s, x, 0); }
extern "C" __global__ void sizes(unsigned long long t, unsigned long long s, int* o) {
  asm("txq.width.b32 %0, [%1];" : "=r"(o[0]) : "l"(t)); asm("txq.height.b32 %0, [%1];" : "=r"(o[1]) : "l"(t));
  asm("txq.depth.b32 %0, [%1];" : "=r"(o[2]) : "l"(t)); asm("txq.num_mipmap_levels.b32 %0, [%1];" : "=r"(o[3]) : "l"(t));
  asm("suq.width.b32 %0, [%1];" : "=r"(o[4]) : "l"(s)); asm("suq.height.b32 %0, [%1];" : "=r"(o[5]) : "l"(s));
  asm("suq.array_size.b32 %0, [%1];" : "=r"(o[6]) : "l"(s)); }
"""


@pytest.fixture(scope="module")
def surfaces() -> Program:
    return cuda(SURFACES)


def test_a_surface_is_read_and_written(surfaces: Program) -> None:
    texels = pixels(np.float32, 1, 20, 33, 1)
    one, two = Image(texels, surface=True, pad=12), Image(np.zeros((1, 33, 20, 1), np.float32), surface=True)
    surfaces.run("turn", (3, 2), (16, 16), one.value, two.value, np.int32(33), np.int32(20))
    assert np.array_equal(two.read()[0, :, :, 0], texels[0, :, :, 0].T)
    one.free()
    two.free()


@pytest.mark.parametrize(
    ("code", "dtype", "channels"),
    [
        ("b1", np.uint8, 1),
        ("h2", np.uint16, 2),
        ("u4", np.uint32, 4),
        ("l2", np.uint32, 4),
        ("b4", np.int8, 4),
        ("f1", np.float32, 1),
    ],
)
def test_every_width_of_a_surface_access(surfaces: Program, code: str, dtype: Any, channels: int) -> None:
    texels = pixels(dtype, 1, 1, 100, channels)
    one, two = Image(texels, surface=True), Image(np.zeros_like(texels), surface=True)
    surfaces.run(f"line_{code}", 1, 128, one.value, two.value, np.int32(100))
    assert np.array_equal(two.read(), texels[:, :, ::-1])
    one.free()
    two.free()


def test_three_dimensions_and_layers_of_surfaces(surfaces: Program) -> None:
    texels = pixels(np.int32, 3, 4, 5, 1)
    cube, out = Image(texels, surface=True, pad=4), Buffer(np.zeros(60, np.int32))
    surfaces.run("space", 1, 64, cube.value, out, np.int32(5), np.int32(4), np.int32(3))
    assert np.array_equal(out.array, texels.ravel())
    assert np.array_equal(cube.read().ravel(), -np.arange(60))
    sheets, lines = pixels(np.int32, 2, 2, 4, 1) % 100, pixels(np.int32, 2, 1, 4, 1) % 100
    s, t = Image(sheets, surface=True, layered=True), Image(lines, surface=True, layered=True)
    out16 = Buffer(np.zeros(16, np.int32))
    surfaces.run("layers", 1, 16, s.value, t.value, out16)
    i = np.arange(16)
    assert np.array_equal(out16.array, sheets.ravel() * 100 + lines[i // 8, 0, i % 4, 0])
    assert np.array_equal(s.read().ravel(), i)
    assert np.array_equal(t.read().ravel(), [0, -1, -2, -3, -8, -9, -10, -11])
    for each in (cube, s, t):
        each.free()


def test_beyond_a_surface_is_zero_or_its_edge(surfaces: Program) -> None:
    texels = pixels(np.int32, 1, 4, 6, 1)
    image = Image(texels, surface=True, pad=8)
    x, y = RNG.integers(-4, 10, 200).astype(np.int32), RNG.integers(-4, 8, 200).astype(np.int32)
    out = Buffer(np.zeros(400, np.int32))
    surfaces.run("beyond", 1, 256, image.value, out, Buffer(x), Buffer(y), np.int32(200))
    inside = (x >= 0) & (x < 6) & (y >= 0) & (y < 4)
    edge = texels[0, np.clip(y, 0, 3), np.clip(x, 0, 5), 0]
    assert np.array_equal(out.array[:200], np.where(inside, edge, 0))
    assert np.array_equal(out.array[200:], edge)
    image.free()


def test_a_write_beyond_a_surface_is_dropped_clamped_or_a_trap(surfaces: Program) -> None:
    image = Image(np.zeros((1, 3, 3, 1), np.int32), surface=True)
    surfaces.run("scatter_zero", 1, 1, image.value, np.int32(3), np.int32(0))
    assert not image.read().any()
    surfaces.run("scatter_clamp", 1, 1, image.value, np.int32(9), np.int32(-2))
    assert image.read()[0, 0, 2, 0] == 77 and image.read().sum() == 77
    result = surfaces.launch("scatter_trap", 1, 1, image.value, np.int32(0), np.int32(3))
    assert result.outcome == "trap" and "outside of the surface" in result.detail
    result = surfaces.launch("askew", 1, 1, image.value, np.int32(2))
    assert result.outcome == "misaligned_address"
    assert image.read().sum() == 77
    image.free()


def test_an_object_tells_its_sizes(surfaces: Program) -> None:
    texture = Image(*pyramid()[:3])
    surface = Image(np.zeros((6, 5, 7, 1), np.int32), surface=True, layered=True)
    out = Buffer(np.zeros(7, np.int32))
    surfaces.run("sizes", 1, 1, texture.value, surface.value, out)
    assert out.array.tolist() == [16, 8, 2, 3, 7, 5, 6]
    texture.free()
    surface.free()


def test_threads_of_one_warp_may_use_different_objects(fetches: Program) -> None:
    program = cuda(
        'extern "C" __global__ void k(const unsigned long long* t, float* o) {'
        "  int i = threadIdx.x; if (i % 3) o[i] = tex1D<float>(t[i % 2], 0.5f); else o[i] = -1; }"
    )
    one = Image(np.full((1, 1, 1, 1), 5, np.float32))
    two = Image(np.full((1, 1, 1, 1), 6, np.float32))
    out = Buffer(np.zeros(64, np.float32))
    program.run("k", 1, 64, Buffer(np.array([one.value, two.value])), out)
    i = np.arange(64)
    assert np.array_equal(out.array, np.where(i % 3 == 0, -1, 5 + i % 2))
    one.free()
    two.free()


@pytest.mark.parametrize("value", [0, 1 << 19, (1 << 64) - 1, 0x7F0000000000])
def test_a_value_that_is_no_object_is_a_fault_that_says_so(fetches: Program, value: int) -> None:
    out, x = Buffer(np.zeros(1, np.float32)), Buffer(np.zeros(1, np.float32))
    result = fetches.launch("one_f1", 1, 1, np.uint64(value), x, x, x, x, out, np.int32(1))
    assert result.outcome == "illegal_address"
    assert "texture object" in result.detail and "does not exist" in result.detail


def test_an_ended_object_and_one_of_the_other_kind_are_faults(fetches: Program, surfaces: Program) -> None:
    image = Image(np.zeros((1, 1, 4, 1), np.float32))
    image.forget()
    other = Image(np.zeros((1, 1, 4, 1), np.float32))  # may take its place in the table
    out, x = Buffer(np.zeros(1, np.float32)), Buffer(np.zeros(1, np.float32))
    arguments = (x, x, x, x, out, np.int32(1))
    assert fetches.launch("one_f1", 1, 1, image.value, *arguments).outcome == "illegal_address"
    assert fetches.launch("one_f1", 1, 1, other.value, *arguments).outcome == "success"
    written = surfaces.launch("scatter_trap", 1, 1, other.value, np.int32(0), np.int32(0))
    assert written.outcome == "illegal_address" and "surface object" in written.detail
    other.free()


def test_a_texture_whose_memory_is_gone_is_a_fault(fetches: Program) -> None:
    image = Image(np.zeros((1, 1, 4, 1), np.float32))
    out, x = Buffer(np.zeros(1, np.float32)), Buffer(np.zeros(1, np.float32))
    image.buffers[0].free()
    result = fetches.launch("one_f1", 1, 1, image.value, x, x, x, x, out, np.int32(1))
    assert result.outcome == "illegal_address" and "memory is gone" in result.detail
    image.forget()


@pytest.mark.parametrize(
    "line",
    [
        "tex.cube.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f1, %f1, %f1}];",
        "tex.grad.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f1}], {%f1, %f1}, {%f1, %f1};",
        "tld4.r.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f1}];",
        "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, %rd1, {%f1, %f1}];",
        "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [reference, {%f1, %f1}];",
        "tex.2d.v4.f16.f32 {%rs1, %rs2, %rs3, %rs4}, [%rd1, {%f1, %f1}];",
        "sured.b.add.2d.u32.trap [%rd1, {%r1, %r1}], %r1;",
        "sust.p.2d.v4.b32.trap [%rd1, {%r1, %r1}], {%r1, %r1, %r1, %r1};",
        "suld.b.2d.b32 {%r1}, [%rd1, {%r1, %r1}];",
        "txq.channel_order.b32 %r1, [%rd1];",
    ],
)
def test_what_is_not_there_is_named_with_its_line(line: str) -> None:
    body = (
        ".visible .entry k() {\n.reg .f32 %f<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .b16 %rs<9>;\n"
        f"{line}\nret; }}"
    )
    with pytest.raises(PtxError) as error:
        Program(HEAD + body)
    assert error.value.line == 6
    assert line.split()[0] in str(error.value)


def test_too_few_coordinates_are_an_error() -> None:
    body = (
        ".visible .entry k() {\n.reg .f32 %f<9>; .reg .b64 %rd<9>;\n"
        "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1}];\nret; }"
    )
    with pytest.raises(PtxError, match="takes 2 coordinates and has 1"):
        Program(HEAD + body)


def test_every_channel_type_has_its_place() -> None:
    assert [np.dtype(c).itemsize for c in CHANNELS] == [1, 2, 4, 1, 2, 4, 2, 4]
    assert CLAMP == 1
