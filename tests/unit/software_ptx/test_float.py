"""Floating-point instructions and conversions, bit for bit where IEEE 754 says what comes out."""

from __future__ import annotations

import ctypes
import fractions
import math
from typing import Any

import numpy as np
import pytest
from device import elementwise

SPECIALS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1.5,
    2.5,
    3.5,
    -2.5,
    0.1,
    1e-3,
    65504.0,
    65520.0,
    1e30,
    -1e30,
    np.inf,
    -np.inf,
    np.nan,
    2.0**-149,
    2.0**-126,
    2.0**-24,
    2.0**-14,
]


def samples(dtype: Any, seed: int = 1) -> np.ndarray[Any, Any]:
    """Special values, denormals, and random bit patterns."""
    kind = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 1 << 63, 3000, dtype=np.uint64) * np.uint64(2) + rng.integers(
        0, 2, 3000, dtype=np.uint64
    )
    with np.errstate(over="ignore"):
        return np.concatenate(
            [
                np.array(SPECIALS).astype(kind),
                bits.astype(f"u{kind.itemsize}").view(kind),
                rng.normal(size=500).astype(kind),
            ]
        )


def same(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    """Equal bit for bit, but for the payload of NaNs."""
    assert np.array_equal(np.isnan(got), np.isnan(wanted))
    kind = f"u{got.dtype.itemsize}"
    ok = (got.view(kind) == wanted.view(kind)) | np.isnan(got)
    bad = np.flatnonzero(~ok)
    assert len(bad) == 0, f"{len(bad)} differ, first at {bad[0]}: {got[bad[0]]!r}, wanted {wanted[bad[0]]!r}"


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic(name: str, dtype: Any) -> None:
    a, b = samples(dtype), samples(dtype, 2)[::-1].copy()
    bits = np.dtype(dtype).itemsize * 8
    got = elementwise(f"{name}.rn.f{bits} %d, %a0, %a1;", "", [a, b], dtype)
    with np.errstate(all="ignore"):
        wanted = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[name](a, b)
    same(got, wanted)


@pytest.mark.parametrize("name", ["add", "sub", "mul"])
def test_half_arithmetic(name: str) -> None:
    a, b = samples(np.float16), samples(np.float16, 2)[::-1].copy()
    got = elementwise(f"{name}.f16 %d, %a0, %a1;", "", [a, b], np.float16)
    with np.errstate(all="ignore"):
        wanted = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[name](a, b)
    same(got, wanted)
    packed_a, packed_b = (np.resize(v, len(v) // 2 * 2).view(np.uint32) for v in (a, b))
    got = elementwise(f"{name}.f16x2 %d, %a0, %a1;", "", [packed_a, packed_b], np.uint32).view(np.float16)
    same(got, wanted[: len(got)])


def exact_round(value: fractions.Fraction, dtype: Any) -> float:
    """The value of a type nearest to an exact number, ties to even; for finite results."""
    p, low = {np.float16: (11, -24), np.float32: (24, -149), np.float64: (53, -1074)}[dtype]
    if value == 0:
        return 0.0
    magnitude = abs(value)
    exponent = max(math.floor(math.log2(magnitude)) if magnitude.denominator < 1 << 900 else -1074, low)
    exponent = exponent + 1 if fractions.Fraction(2) ** (exponent + 1) <= magnitude else exponent
    exponent = exponent - 1 if fractions.Fraction(2) ** exponent > magnitude else exponent
    unit = fractions.Fraction(2) ** max(exponent - p + 1, low)
    return float(round(value / unit) * unit)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_fused_multiply_add_rounds_once(dtype: Any) -> None:
    rng = np.random.default_rng(3)
    scale = 4 if dtype == np.float16 else 1e3
    a, b, c = (rng.normal(size=2000, scale=scale).astype(dtype) for _ in range(3))
    # Sums that nearly cancel, where two roundings would show.
    c[:1000] = (-(a[:1000].astype(np.float64) * b[:1000].astype(np.float64))).astype(dtype)
    c[1000:1300] = (c[1000:1300].astype(np.float64) * 2.0**-12).astype(dtype)
    bits = np.dtype(dtype).itemsize * 8
    got = elementwise(f"fma.rn.f{bits} %d, %a0, %a1, %a2;", "", [a, b, c], dtype)
    exact = [
        fractions.Fraction(float(x)) * fractions.Fraction(float(y)) + fractions.Fraction(float(z))
        for x, y, z in zip(a, b, c, strict=True)
    ]
    wanted = np.array([exact_round(value, dtype) for value in exact]).astype(dtype)
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
@pytest.mark.parametrize("name", ["add", "mul", "div"])
def test_directed_rounding(name: str, mode: str, dtype: Any) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=400).astype(dtype), rng.normal(size=400).astype(dtype)
    bits = np.dtype(dtype).itemsize * 8
    got = elementwise(f"{name}.{mode}.f{bits} %d, %a0, %a1;", "", [a, b], dtype)
    for x, y, z in zip(a, b, got, strict=True):
        fx, fy, fz = (fractions.Fraction(float(v)) for v in (x, y, z))
        exact = fx + fy if name == "add" else fx * fy if name == "mul" else fx / fy
        below = mode == "rm" or (mode == "rz" and exact > 0)
        if fz == exact:
            continue
        neighbour = np.nextafter(z, dtype(np.inf if below else -np.inf))
        other = fractions.Fraction(float(neighbour))
        assert (fz < exact < other) if below else (other < exact < fz)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_roots_and_reciprocals(dtype: Any) -> None:
    a = np.abs(samples(dtype))
    bits = np.dtype(dtype).itemsize * 8
    with np.errstate(all="ignore"):
        same(elementwise(f"sqrt.rn.f{bits} %d, %a0;", "", [a], dtype), np.sqrt(a))
        same(elementwise(f"rcp.rn.f{bits} %d, %a0;", "", [a], dtype), dtype(1) / a)


def test_flush_to_zero_and_saturation() -> None:
    a = np.array([2.0**-149, -(2.0**-127), 2.0**-126, 1.0], np.float32)
    got = elementwise("add.ftz.f32 %d, %a0, 0f00000000;", "", [a], np.float32)
    same(got, np.array([0.0, 0.0, 2.0**-126, 1.0], np.float32))
    got = elementwise("mul.ftz.f32 %d, %a0, 0f3F800000;", "", [a], np.float32)
    same(got, np.array([0.0, -0.0, 2.0**-126, 1.0], np.float32))
    b = np.array([-1.0, 0.25, 7.0, np.nan, np.inf], np.float32)
    got = elementwise("add.sat.f32 %d, %a0, 0f00000000;", "", [b], np.float32)
    same(got, np.array([0.0, 0.25, 1.0, 0.0, 1.0], np.float32))


def test_minimum_and_maximum_ignore_nan() -> None:
    a = np.array([1, np.nan, 2, np.nan, -0.0, 0.0], np.float32)
    b = np.array([2, 3, np.nan, np.nan, 0.0, -0.0], np.float32)
    same(
        elementwise("min.f32 %d, %a0, %a1;", "", [a, b], np.float32),
        np.array([1, 3, 2, np.nan, -0.0, -0.0], np.float32),
    )
    same(
        elementwise("max.f32 %d, %a0, %a1;", "", [a, b], np.float32),
        np.array([2, 3, 2, np.nan, 0.0, 0.0], np.float32),
    )
    same(
        elementwise("min.NaN.f32 %d, %a0, %a1;", "", [a, b], np.float32),
        np.array([1, np.nan, np.nan, np.nan, -0.0, -0.0], np.float32),
    )


def test_a_nan_result_is_the_gpus() -> None:
    a = np.array([np.inf, 0.0], np.float32)
    got = elementwise("mul.f32 %d, %a0, 0f00000000; sub.f32 %d, %d, %d;", "", [a], np.float32)
    assert got.view(np.uint32)[0] == 0x7FFFFFFF


@pytest.mark.parametrize(
    "relation", ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_comparison(relation: str, dtype: Any) -> None:
    a = samples(dtype)
    b = np.roll(a, 1)
    b[::3] = a[::3]
    bits = np.dtype(dtype).itemsize * 8
    got = elementwise(
        f"setp.{relation}.f{bits} %p, %a0, %a1; selp.u32 %d, 1, 0, %p;", ".reg .pred %p;", [a, b], np.uint32
    )
    unordered = np.isnan(a) | np.isnan(b)
    if relation in ("num", "nan"):
        wanted = unordered if relation == "nan" else ~unordered
    else:
        base = {
            "eq": np.equal,
            "ne": np.not_equal,
            "lt": np.less,
            "le": np.less_equal,
            "gt": np.greater,
            "ge": np.greater_equal,
        }[relation[:2]]
        wanted = (base(a, b) & ~unordered) | (unordered if relation.endswith("u") else False)
    assert np.array_equal(got.astype(bool), wanted)


FORMATS = (np.float16, np.float32, np.float64)


@pytest.mark.parametrize("source,target", [(s, t) for s in FORMATS for t in FORMATS if s != t])
def test_conversion_between_formats(source: Any, target: Any) -> None:
    a = samples(source)
    s, t = np.dtype(source).itemsize * 8, np.dtype(target).itemsize * 8
    rounding = ".rn" if t < s else ""
    with np.errstate(all="ignore"):
        same(elementwise(f"cvt{rounding}.f{t}.f{s} %d, %a0;", "", [a], target), a.astype(target))


@pytest.mark.parametrize("mode", ["rni", "rzi", "rmi", "rpi"])
@pytest.mark.parametrize("source", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("target", ["s32", "u32", "s64", "u64", "s16", "u8"])
def test_float_to_integer_clamps(mode: str, source: Any, target: str) -> None:
    a = samples(source)
    a = a[~np.isnan(a)]
    s = np.dtype(source).itemsize * 8
    bits = int(target[1:])
    out = np.dtype(f"{'i' if target[0] == 's' else 'u'}{max(bits, 16) // 8}")
    got = elementwise(f"cvt.{mode}.{target}.f{s} %d, %a0;", "", [a], out)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if target[0] == "s" else (0, (1 << bits) - 1)
    rounder: Any = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}[mode]

    def oracle(x: float) -> int:
        if math.isinf(x):
            return high if x > 0 else low
        return max(low, min(high, int(rounder(x))))

    assert [int(x) for x in got] == [oracle(float(x)) for x in a]


def test_nan_becomes_what_the_hardware_makes_of_it() -> None:
    """Measured on an H200: 0 from f32 to at most 32 bits, the highest bit else."""
    single, double = np.array([np.nan], np.float32), np.array([np.nan])
    assert list(elementwise("cvt.rzi.s32.f32 %d, %a0;", "", [single], np.int32)) == [0]
    assert list(elementwise("cvt.rzi.u32.f32 %d, %a0;", "", [single], np.uint32)) == [0]
    assert list(elementwise("cvt.rzi.u64.f32 %d, %a0;", "", [single], np.uint64)) == [1 << 63]
    assert list(elementwise("cvt.rzi.s32.f64 %d, %a0;", "", [double], np.uint32)) == [1 << 31]
    assert list(elementwise("cvt.rzi.u16.f64 %d, %a0;", "", [double], np.uint16)) == [1 << 15]


@pytest.mark.parametrize("source", ["s32", "u32", "s64", "u64"])
@pytest.mark.parametrize("target", [np.float32, np.float64])
def test_integer_to_float(source: str, target: Any) -> None:
    bits = int(source[1:])
    rng = np.random.default_rng(9)
    raw = np.concatenate(
        [
            rng.integers(0, 1 << 63, 500, dtype=np.uint64) * np.uint64(2),
            np.arange(64, dtype=np.uint64),
            (np.uint64(1) << np.arange(64, dtype=np.uint64)) - np.uint64(1),
        ]
    )
    a = raw.astype(f"u{bits // 8}").view(f"{'i' if source[0] == 's' else 'u'}{bits // 8}")
    t = np.dtype(target).itemsize * 8
    same(elementwise(f"cvt.rn.f{t}.{source} %d, %a0;", "", [a], target), a.astype(target))
    got = elementwise(f"cvt.rz.f{t}.{source} %d, %a0;", "", [a], target)
    assert all(abs(int(x)) >= abs(int(float(y))) for x, y in zip(a, got, strict=True))


@pytest.mark.parametrize(
    "mode,rounder", [("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_to_integral_values(mode: str, rounder: Any, dtype: Any) -> None:
    a = samples(dtype)
    bits = np.dtype(dtype).itemsize * 8
    with np.errstate(invalid="ignore"):
        wanted = rounder(a)
    same(elementwise(f"cvt.{mode}.f{bits}.f{bits} %d, %a0;", "", [a], dtype), wanted)


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
def test_float_to_half_in_directed_modes(mode: str) -> None:
    rng = np.random.default_rng(10)
    a = np.concatenate([rng.normal(size=1000), rng.normal(size=300) * 1e-6, [0.0, 1.0, 65504.0]]).astype(
        np.float32
    )
    got = elementwise(f"cvt.{mode}.f16.f32 %d, %a0;", "", [a], np.float16)
    wide = got.astype(np.float64)
    exact = a.astype(np.float64)
    near = np.abs(wide - exact)
    got = np.minimum(np.abs(got), np.float16(60000))
    assert np.all(near <= np.maximum(np.spacing(got).astype(np.float64), 2.0**-24))
    if mode == "rz":
        assert np.all(np.abs(wide) <= np.abs(exact))
    else:
        assert np.all(wide <= exact) if mode == "rm" else np.all(wide >= exact)


@pytest.mark.parametrize(
    "name,function,lowest,highest",
    [
        ("sin.approx", np.sin, -3, 3),
        ("cos.approx", np.cos, -3, 3),
        ("ex2.approx", np.exp2, -20, 20),
        ("lg2.approx", np.log2, 0.01, 1e6),
        ("tanh.approx", np.tanh, -4, 4),
        ("rsqrt.approx", lambda x: 1 / np.sqrt(x), 1e-3, 1e6),
        ("sqrt.approx", np.sqrt, 0, 1e6),
    ],
)
def test_approximations(name: str, function: Any, lowest: float, highest: float) -> None:
    a = np.linspace(lowest, highest, 2000).astype(np.float32)
    got = elementwise(f"{name}.f32 %d, %a0;", "", [a], np.float32)
    np.testing.assert_allclose(got, function(a.astype(np.float64)), rtol=5e-7, atol=5e-7)


def test_bfloat16() -> None:
    rng = np.random.default_rng(11)
    a, b = (rng.normal(size=500).astype(np.float32) for _ in range(2))
    half = [(v.view(np.uint32) >> 16).astype(np.uint16) for v in (a, b)]
    got = elementwise("fma.rn.bf16 %d, %a0, %a1, %a1;", "", half, np.uint16)
    x, y = ((v.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for v in half)
    exact = (x * y + y).astype(np.float64)
    back = (got.astype(np.uint32) << 16).view(np.float32)
    assert np.all(np.abs(back - exact) <= np.abs(exact) * 2.0**-8)


def test_sign_operations() -> None:
    a = np.array([1.0, -2.0, 0.0, -0.0, np.inf], np.float32)
    same(elementwise("neg.f32 %d, %a0;", "", [a], np.float32), -a)
    same(elementwise("abs.f32 %d, %a0;", "", [a], np.float32), np.abs(a))
    b = a[::-1].copy()
    same(elementwise("copysign.f32 %d, %a0, %a1;", "", [a, b], np.float32), np.copysign(b, a))
    kinds = np.array([1.0, np.inf, np.nan, 2.0**-130, -0.0], np.float32)
    for test, wanted in (
        ("finite", [1, 0, 0, 1, 1]),
        ("infinite", [0, 1, 0, 0, 0]),
        ("notanumber", [0, 0, 1, 0, 0]),
        ("subnormal", [0, 0, 0, 1, 0]),
        ("normal", [1, 0, 0, 0, 1]),
    ):
        got = elementwise(
            f"testp.{test}.f32 %p, %a0; selp.u32 %d, 1, 0, %p;", ".reg .pred %p;", [kinds], np.uint32
        )
        assert list(got) == wanted, test


def test_host_rounding_mode_is_left_alone() -> None:
    libm = ctypes.CDLL("libm.so.6")
    before = libm.fegetround()
    elementwise("add.rp.f32 %d, %a0, %a0;", "", [np.ones(4, np.float32)], np.float32)
    assert libm.fegetround() == before
