"""Integer, logic, selection and comparison instructions, hand-written, against Python's exact integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from device import elementwise

EDGES32 = [
    0,
    1,
    2,
    3,
    31,
    32,
    33,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0x80000001,
    0xFFFFFFFE,
    0xFFFFFFFF,
]
EDGES64 = [
    *EDGES32,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    (1 << 64) - 2,
    (1 << 64) - 1,
    0x123456789ABCDEF0,
]


def pairs(bits: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Every pair of edge values, and random ones."""
    edges = [value & ((1 << bits) - 1) for value in (EDGES64 if bits == 64 else EDGES32)]
    a = [x for x in edges for _ in edges]
    b = [y for _ in edges for y in edges]
    rng = np.random.default_rng(7)
    dtype = np.dtype(f"u{bits // 8}")
    more = [rng.integers(0, 1 << bits, 100, dtype=np.uint64) & ((1 << bits) - 1) for _ in range(2)]
    return np.array([*a, *map(int, more[0])], dtype), np.array([*b, *map(int, more[1])], dtype)


def signed(value: int, bits: int) -> int:
    """Two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def truncated(a: int, b: int) -> int:
    """Division that rounds to zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def clamp(value: int, bits: int) -> int:
    """Nearest signed value of this width."""
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))


BINARY: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul.lo": lambda a, b: a * b,
    "min": min,
    "max": max,
}


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("sign", ["u", "s"])
@pytest.mark.parametrize("name", [*BINARY, "mul.hi", "div", "rem"])
def test_binary(name: str, sign: str, bits: int) -> None:
    a, b = pairs(bits)
    if name in ("div", "rem"):
        keep = b != 0
        if sign == "s":
            keep &= ~((a == 1 << (bits - 1)) & (b == (1 << bits) - 1))
        a, b = a[keep], b[keep]
    got = elementwise(f"{name}.{sign}{bits} %d, %a0, %a1;", "", [a, b], a.dtype)
    values = [
        (signed(int(x), bits), signed(int(y), bits)) if sign == "s" else (int(x), int(y))
        for x, y in zip(a, b, strict=True)
    ]
    if name == "mul.hi":
        wanted = [(x * y) >> bits for x, y in values]
    elif name == "div":
        wanted = [truncated(x, y) for x, y in values]
    elif name == "rem":
        wanted = [x - truncated(x, y) * y for x, y in values]
    else:
        wanted = [BINARY[name](x, y) for x, y in values]
    assert [int(x) for x in got] == [x & ((1 << bits) - 1) for x in wanted]


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_division_by_zero_gives_all_ones(kind: str) -> None:
    """Measured on an H200, quotient and remainder; and the most negative number by -1 wraps."""
    bits = int(kind[1:])
    a = np.array([0, 1, 5, 1 << (bits - 1)], f"u{bits // 8}")
    for name in ("div", "rem"):
        got = elementwise(f"{name}.{kind} %d, %a0, %a1;", "", [a, np.zeros_like(a)], a.dtype)
        assert [int(x) for x in got] == [(1 << bits) - 1] * 4
    if kind[0] == "s":
        minus = np.full_like(a, (1 << bits) - 1)
        assert int(elementwise(f"div.{kind} %d, %a0, %a1;", "", [a, minus], a.dtype)[3]) == 1 << (bits - 1)
        assert int(elementwise(f"rem.{kind} %d, %a0, %a1;", "", [a, minus], a.dtype)[3]) == 0


@pytest.mark.parametrize("sign", ["u", "s"])
@pytest.mark.parametrize("bits", [16, 32])
def test_wide_products(sign: str, bits: int) -> None:
    a, b = pairs(bits)
    wide = np.dtype(f"u{bits // 4}")
    got = elementwise(f"mul.wide.{sign}{bits} %d, %a0, %a1;", "", [a, b], wide)
    convert = (lambda v: signed(v, bits)) if sign == "s" else int
    assert [int(x) for x in got] == [
        (convert(int(x)) * convert(int(y))) & ((1 << 2 * bits) - 1) for x, y in zip(a, b, strict=True)
    ]
    c = np.arange(len(a)).astype(wide)
    got = elementwise(f"mad.wide.{sign}{bits} %d, %a0, %a1, %a2;", "", [a, b, c], wide)
    wanted = [
        (convert(int(x)) * convert(int(y)) + int(z)) & ((1 << 2 * bits) - 1)
        for x, y, z in zip(a, b, c, strict=True)
    ]
    assert [int(x) for x in got] == wanted


@pytest.mark.parametrize("name", ["add", "sub"])
def test_saturating(name: str) -> None:
    a, b = pairs(32)
    got = elementwise(f"{name}.sat.s32 %d, %a0, %a1;", "", [a, b], np.int32)
    wanted = [
        clamp(BINARY[name](signed(int(x), 32), signed(int(y), 32)), 32) for x, y in zip(a, b, strict=True)
    ]
    assert [int(x) for x in got] == wanted


@pytest.mark.parametrize("sign", ["u", "s"])
def test_twenty_four_bits(sign: str) -> None:
    a, b = pairs(32)
    cut = (lambda v: signed(v, 24)) if sign == "s" else (lambda v: v & 0xFFFFFF)
    for part, shift in (("lo", 0), ("hi", 16)):
        got = elementwise(f"mul24.{part}.{sign}32 %d, %a0, %a1;", "", [a, b], np.uint32)
        wanted = [((cut(int(x)) * cut(int(y))) >> shift) & 0xFFFFFFFF for x, y in zip(a, b, strict=True)]
        assert [int(x) for x in got] == wanted


def test_sum_of_absolute_differences() -> None:
    a, b = pairs(32)
    got = elementwise("sad.s32 %d, %a0, %a1, 5;", "", [a, b], np.uint32)
    assert [int(x) for x in got] == [
        (abs(signed(int(x), 32) - signed(int(y), 32)) + 5) & 0xFFFFFFFF for x, y in zip(a, b, strict=True)
    ]


@pytest.mark.parametrize("bits", [32, 64])
def test_bit_counts(bits: int) -> None:
    a, _ = pairs(bits)
    values = [int(x) for x in a]
    assert list(elementwise(f"popc.b{bits} %d, %a0;", "", [a], np.uint32)) == [x.bit_count() for x in values]
    assert list(elementwise(f"clz.b{bits} %d, %a0;", "", [a], np.uint32)) == [
        bits - x.bit_length() for x in values
    ]
    reverse = [int(f"{x:0{bits}b}"[::-1], 2) for x in values]
    assert [int(x) for x in elementwise(f"brev.b{bits} %d, %a0;", "", [a], a.dtype)] == reverse
    found = elementwise(f"bfind.u{bits} %d, %a0;", "", [a], np.int32)
    assert list(found) == [x.bit_length() - 1 for x in values]
    found = elementwise(f"bfind.s{bits} %d, %a0;", "", [a], np.int32)
    assert list(found) == [(~x if x < 0 else x).bit_length() - 1 for x in (signed(v, bits) for v in values)]
    shift = elementwise(f"bfind.shiftamt.u{bits} %d, %a0;", "", [a], np.int32)
    assert list(shift) == [bits - x.bit_length() if x else -1 for x in values]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("sign", ["u", "s"])
def test_bit_field_extract(bits: int, sign: str) -> None:
    rng = np.random.default_rng(3)
    n = 2000
    a = rng.integers(0, 1 << 63, n, dtype=np.uint64).astype(f"u{bits // 8}") * np.array(3, f"u{bits // 8}")
    position = rng.integers(0, 80, n).astype(np.uint32)
    length = rng.integers(0, 80, n).astype(np.uint32)
    got = elementwise(f"bfe.{sign}{bits} %d, %a0, %a1, %a2;", "", [a, position, length], a.dtype)

    def oracle(x: int, pos: int, count: int) -> int:
        fill = 0
        if sign == "s" and count:
            fill = (x >> min(pos + count - 1, bits - 1)) & 1
        return sum(((x >> (pos + i)) & 1 if i < count and pos + i < bits else fill) << i for i in range(bits))

    assert [int(x) for x in got] == [
        oracle(int(x), int(p), int(c)) for x, p, c in zip(a, position, length, strict=True)
    ]


@pytest.mark.parametrize("bits", [32, 64])
def test_bit_field_insert(bits: int) -> None:
    rng = np.random.default_rng(4)
    n = 2000
    a, b = (rng.integers(0, 1 << 63, n, dtype=np.uint64).astype(f"u{bits // 8}") for _ in range(2))
    position = rng.integers(0, 80, n).astype(np.uint32)
    length = rng.integers(0, 80, n).astype(np.uint32)
    got = elementwise(f"bfi.b{bits} %d, %a0, %a1, %a2, %a3;", "", [a, b, position, length], a.dtype)

    def oracle(x: int, y: int, pos: int, count: int) -> int:
        for i in range(count):
            if pos + i < bits:
                y = (y & ~(1 << (pos + i))) | (((x >> i) & 1) << (pos + i))
        return y

    assert [int(x) for x in got] == [
        oracle(int(x), int(y), int(p), int(c)) for x, y, p, c in zip(a, b, position, length, strict=True)
    ]


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_shifts_beyond_the_width(bits: int) -> None:
    a, _ = pairs(bits)
    by = (np.arange(len(a)) * 7 % 100).astype(np.uint32)
    mask = (1 << bits) - 1
    got = elementwise(f"shl.b{bits} %d, %a0, %a1;", "", [a, by], a.dtype)
    assert [int(x) for x in got] == [(int(x) << int(s)) & mask for x, s in zip(a, by, strict=True)]
    got = elementwise(f"shr.u{bits} %d, %a0, %a1;", "", [a, by], a.dtype)
    assert [int(x) for x in got] == [int(x) >> int(s) for x, s in zip(a, by, strict=True)]
    got = elementwise(f"shr.s{bits} %d, %a0, %a1;", "", [a, by], a.dtype)
    assert [int(x) for x in got] == [
        (signed(int(x), bits) >> int(s)) & mask for x, s in zip(a, by, strict=True)
    ]


@pytest.mark.parametrize("mode", ["wrap", "clamp"])
@pytest.mark.parametrize("direction", ["l", "r"])
def test_funnel_shift(mode: str, direction: str) -> None:
    low, high = pairs(32)
    by = (np.arange(len(low)) * 5 % 50).astype(np.uint32)
    got = elementwise(f"shf.{direction}.{mode}.b32 %d, %a0, %a1, %a2;", "", [low, high, by], np.uint32)
    wanted = []
    for x, y, s in zip(map(int, low), map(int, high), map(int, by), strict=True):
        n = s & 31 if mode == "wrap" else min(s, 32)
        both = y << 32 | x
        wanted.append(((both << n) >> 32 if direction == "l" else both >> n) & 0xFFFFFFFF)
    assert [int(x) for x in got] == wanted


@pytest.mark.parametrize("table", [0x00, 0x80, 0x96, 0xE8, 0x1B, 0xCA, 0xFF, 0x6A])
def test_lop3(table: int) -> None:
    a, b = pairs(32)
    c = a[::-1].copy()
    got = elementwise(f"lop3.b32 %d, %a0, %a1, %a2, {table};", "", [a, b, c], np.uint32)
    wanted = []
    for x, y, z in zip(map(int, a), map(int, b), map(int, c), strict=True):
        wanted.append(
            sum(
                ((table >> (((x >> i) & 1) << 2 | ((y >> i) & 1) << 1 | (z >> i) & 1)) & 1) << i
                for i in range(32)
            )
        )
    assert [int(x) for x in got] == wanted


def test_byte_permute() -> None:
    rng = np.random.default_rng(5)
    a, b, c = (rng.integers(0, 1 << 32, 500, dtype=np.uint64).astype(np.uint32) for _ in range(3))
    got = elementwise("prmt.b32 %d, %a0, %a1, %a2;", "", [a, b, c], np.uint32)
    wanted = []
    for x, y, s in zip(map(int, a), map(int, b), map(int, c), strict=True):
        data = (y << 32 | x).to_bytes(8, "little")
        result = 0
        for i in range(4):
            pick = (s >> (4 * i)) & 15
            byte = data[pick & 7]
            if pick & 8:
                byte = 0xFF if byte & 0x80 else 0
            result |= byte << (8 * i)
        wanted.append(result)
    assert [int(x) for x in got] == wanted


def test_carry_chain_adds_128_bits() -> None:
    rng = np.random.default_rng(6)
    words = [rng.integers(0, 1 << 64, 300, dtype=np.uint64) for _ in range(4)]
    words[0][:10] = (1 << 64) - 1
    words[2][:10] = 1
    body = ".reg .b64 %lo; add.cc.u64 %lo, %a0, %a2; addc.u64 %d, %a1, %a3;"
    got = elementwise(body, "", words, np.uint64)
    wanted = [
        ((int(b) << 64 | int(a)) + (int(d) << 64 | int(c))) >> 64 & ((1 << 64) - 1)
        for a, b, c, d in zip(*words, strict=True)
    ]
    assert [int(x) for x in got] == wanted
    body = ".reg .b64 %lo; sub.cc.u64 %lo, %a0, %a2; subc.u64 %d, %a1, %a3;"
    got = elementwise(body, "", words, np.uint64)
    wanted = [
        ((int(b) << 64 | int(a)) - (int(d) << 64 | int(c))) >> 64 & ((1 << 64) - 1)
        for a, b, c, d in zip(*words, strict=True)
    ]
    assert [int(x) for x in got] == wanted
    # 32 x 32 + 64 through the multiplying form
    small = [word.astype(np.uint32) for word in words]
    body = ".reg .b32 %lo; mad.lo.cc.u32 %lo, %a0, %a1, %a2; madc.hi.u32 %d, %a0, %a1, %a3;"
    got = elementwise(body, "", small, np.uint32)
    wanted = [
        ((int(a) * int(b) + (int(d) << 32 | int(c))) >> 32) & 0xFFFFFFFF
        for a, b, c, d in zip(*small, strict=True)
    ]
    assert [int(x) for x in got] == wanted


def test_dot_products() -> None:
    rng = np.random.default_rng(8)
    a, b, c = (rng.integers(0, 1 << 32, 300, dtype=np.uint64).astype(np.uint32) for _ in range(3))

    def parts(x: int, width: int, is_signed: bool) -> list[int]:
        found = [(x >> (width * i)) & ((1 << width) - 1) for i in range(32 // width)]
        return [signed(v, width) for v in found] if is_signed else found

    for ta in "us":
        for tb in "us":
            got = elementwise(f"dp4a.{ta}32.{tb}32 %d, %a0, %a1, %a2;", "", [a, b, c], np.uint32)
            wanted = [
                (
                    sum(
                        p * q
                        for p, q in zip(parts(int(x), 8, ta == "s"), parts(int(y), 8, tb == "s"), strict=True)
                    )
                    + int(z)
                )
                & 0xFFFFFFFF
                for x, y, z in zip(a, b, c, strict=True)
            ]
            assert [int(x) for x in got] == wanted
            for part, first in (("lo", 0), ("hi", 2)):
                got = elementwise(f"dp2a.{part}.{ta}32.{tb}32 %d, %a0, %a1, %a2;", "", [a, b, c], np.uint32)
                wanted = [
                    (
                        sum(
                            p * q
                            for p, q in zip(
                                parts(int(x), 16, ta == "s"),
                                parts(int(y), 8, tb == "s")[first:],
                                strict=False,
                            )
                        )
                        + int(z)
                    )
                    & 0xFFFFFFFF
                    for x, y, z in zip(a, b, c, strict=True)
                ]
                assert [int(x) for x in got] == wanted


COMPARES: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("relation", list(COMPARES))
def test_comparison(relation: str, kind: str) -> None:
    bits = int(kind[1:])
    a, b = pairs(bits)
    convert = (lambda v: signed(int(v), bits)) if kind[0] == "s" else int
    got = elementwise(
        f"setp.{relation}.{kind} %p, %a0, %a1; selp.b32 %d, 7, 9, %p;", ".reg .pred %p;", [a, b], np.uint32
    )
    assert list(got) == [
        7 if COMPARES[relation](convert(x), convert(y)) else 9 for x, y in zip(a, b, strict=True)
    ]


def test_comparison_with_second_predicate_and_combination() -> None:
    a = np.arange(64, dtype=np.uint32)
    b = (np.arange(64) % 3 == 0).astype(np.uint32)
    body = """
    setp.ne.u32 %c0, %a1, 0;
    setp.lt.and.u32 %p|%q, %a0, 32, %c0;
    selp.u32 %x, 1, 0, %p; selp.u32 %y, 2, 0, %q; add.u32 %d, %x, %y;
    @!%c0 add.u32 %d, %d, 100;
    """
    got = elementwise(body, ".reg .pred %p, %q, %c0; .reg .u32 %x, %y;", [a, b], np.uint32)
    wanted = [
        (1 if x < 32 and y else 0) + (2 if x >= 32 and y else 0) + (0 if y else 100)
        for x, y in zip(a, b, strict=True)
    ]
    assert list(got) == wanted


def test_set_and_slct() -> None:
    a = np.array([-2, -1, 0, 1, 2], np.int32)
    got = elementwise("set.lt.u32.s32 %d, %a0, 0;", "", [a], np.uint32)
    assert list(got) == [0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0]
    got = elementwise("set.ge.f32.s32 %d, %a0, 0;", "", [a], np.float32)
    assert list(got) == [0, 0, 1, 1, 1]
    got = elementwise("slct.b32.s32 %d, 10, 20, %a0;", "", [a], np.uint32)
    assert list(got) == [20, 20, 10, 10, 10]
    values = np.array([-1.0, -0.0, 0.0, 1.0, np.nan], np.float32)
    got = elementwise("slct.b32.f32 %d, 10, 20, %a0;", "", [values], np.uint32)
    assert list(got) == [20, 10, 10, 10, 20]


def test_packing_and_unpacking() -> None:
    a = np.array([0x1122334455667788, 0x8899AABBCCDDEEFF], np.uint64)
    body = "mov.b64 {%x, %y}, %a0; mov.b32 {%h, %k}, %x; mov.b32 %x, {%k, %h}; mov.b64 %d, {%y, %x};"
    got = elementwise(body, ".reg .b32 %x, %y; .reg .b16 %h, %k;", [a], np.uint64)
    assert [int(x) for x in got] == [0x7788556611223344, 0xEEFFCCDD8899AABB]


def test_narrow_loads_are_extended_by_their_type() -> None:
    a = np.array([0x7F, 0x80, 0xFF], np.uint8)
    assert list(elementwise("cvt.s32.s8 %d, %a0;", "", [a], np.int32)) == [127, -128, -1]
    assert list(elementwise("cvt.u32.u8 %d, %a0;", "", [a], np.int32)) == [127, 128, 255]


def test_integer_conversions_saturate() -> None:
    a = np.array([-(1 << 31), -129, -128, -1, 0, 127, 128, 255, 256, (1 << 31) - 1], np.int32)
    assert list(elementwise("cvt.sat.s8.s32 %d, %a0;", "", [a], np.int32)) == [
        max(-128, min(127, int(x))) for x in a
    ]
    assert list(elementwise("cvt.sat.u8.s32 %d, %a0;", "", [a], np.int32)) == [
        max(0, min(255, int(x))) for x in a
    ]
    assert list(elementwise("cvt.sat.u16.s32 %d, %a0;", "", [a], np.uint16)) == [
        max(0, min(65535, int(x))) for x in a
    ]


def test_find_nth_set_bit_and_masks() -> None:
    a = np.array([0b1011000] * 6, np.uint32)
    base = np.array([0, 3, 5, 6, 6, 3], np.uint32)
    offset = np.array([1, 0, 1, -1, -3, 4], np.int32)
    got = elementwise("fns.b32 %d, %a0, %a1, %a2;", "", [a, base, offset], np.int32)
    assert list(got) == [3, 3, 6, 6, 3, -1]
    position = np.array([0, 4, 30, 32, 5], np.uint32)
    width = np.array([32, 4, 8, 3, 0], np.uint32)
    got = elementwise("bmsk.clamp.b32 %d, %a0, %a1;", "", [position, width], np.uint32)
    assert list(got) == [0xFFFFFFFF, 0xF0, 0xC0000000, 0, 0]
