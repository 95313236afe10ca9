"""Damaged texts: every one compiles or gives a CompileError, and what compiles runs to a named outcome.

A crash or a hang of the process is the failure. The damage is seeded, so a failure can be had again; the texts that
ran last are in the assertion's message.
"""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from device import Buffer, Program, PtxError, nvrtc

SOURCE = """
__device__ int counter; __constant__ float table[4] = {1, 2, 3, 4};
__device__ __noinline__ int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
typedef int (*F)(int); __device__ F pointers[1] = {fib};
extern "C" __global__ void k(int* o, int n) { extern __shared__ int dynamic[]; __shared__ float s[64]; int t = threadIdx.x, local[4];
  for (int i = 0; i < 4; i++) local[(i + n) & 3] = i * t; s[t & 63] = table[t & 3]; dynamic[t & 7] = t; __syncthreads(); float v = s[(t + 1) & 63];
  for (int d = 16; d; d /= 2) v += __shfl_xor_sync(~0u, v, d); switch (n & 7) { case 0: v *= 2; break; case 1: v = sqrtf(v); break; case 2: v += 7; break; case 3: v /= 3; break; case 4: v = sinf(v); break; default: v = -v; }
  atomicAdd(&counter, local[t & 3]); if (t == 3) printf("%d %f", t, v); o[t] = (int)v + pointers[n & 0](t & 3) + dynamic[t & 7] / (n + 1) + __popc(__ballot_sync(~0u, t & 1)); }
"""


def try_one(text: str) -> str:
    """What became of a text."""
    try:
        program = Program(text)
        number, facts = program.kernel("k")
    except (PtxError, KeyError) as error:
        return str(error)
    if (
        facts["parameters"] != 2
        or program.parameter(number, 0)[1] != 8
        or program.parameter(number, 1)[1] != 4
    ):
        return "other parameters"
    out = Buffer(np.zeros(64, np.int32))
    result = program.launch("k", 2, 64, out, np.int32(3), shared=64, stop_after_ms=200)
    out.free()
    return result.outcome


@pytest.fixture(scope="module")
def text() -> str:
    return nvrtc(SOURCE)


def test_the_whole_text_runs(text: str) -> None:
    assert try_one(text) == "success"


def test_truncated_texts(text: str) -> None:
    chooser = random.Random(1)
    for end in sorted(chooser.sample(range(len(text)), 400)):
        try_one(text[:end])
    end = text.rindex("}")
    for cut in range(end - 40, end):
        with pytest.raises(PtxError):
            Program(text[:cut])


@pytest.mark.parametrize("seed", range(8))
def test_mutated_texts(text: str, seed: int) -> None:
    chooser = random.Random(seed)
    words = sorted(set(re.findall(r"[%$.\w]+", text)))
    numbers = [
        "0",
        "-1",
        "4294967295",
        "18446744073709551615",
        "0x7fffffff",
        "0fFFC00000",
        "1e400",
        "99999999999999999999",
        "65",
        "3",
    ]
    outcomes = set()
    for _ in range(60):
        damaged = text
        for _ in range(chooser.choice([1, 1, 2, 5])):
            kind = chooser.randrange(6)
            if kind == 0:  # another word in a word's place
                places = list(re.finditer(r"[%$.\w]+", damaged))
                place = chooser.choice(places)
                damaged = damaged[: place.start()] + chooser.choice(words) + damaged[place.end() :]
            elif kind == 1:  # another number
                places = list(re.finditer(r"(?<![\w%.$])-?\d+", damaged))
                place = chooser.choice(places)
                damaged = damaged[: place.start()] + chooser.choice(numbers) + damaged[place.end() :]
            elif kind == 2:  # a character
                at = chooser.randrange(len(damaged))
                damaged = damaged[:at] + chr(chooser.randrange(1, 256)) + damaged[at + 1 :]
            else:  # lines out, doubled, or exchanged
                lines = damaged.split("\n")
                a, b = chooser.randrange(len(lines)), chooser.randrange(len(lines))
                if kind == 3:
                    del lines[a]
                elif kind == 4:
                    lines.insert(a, lines[b])
                else:
                    lines[a], lines[b] = lines[b], lines[a]
                damaged = "\n".join(lines)
        outcomes.add(try_one(damaged))
    assert len(outcomes) > 1


def test_texts_made_of_nesting_and_size() -> None:
    head = ".version 8.0\n.target sm_75\n.address_size 64\n"
    for body in (
        "{" * 100_000,
        ".visible .entry k() " + "{" * 5000 + "}" * 5000,
        ".visible .entry k() { mov.u32 %r, " + "(" * 100_000,
        ".visible .entry k() { .reg .b32 %r<4000000000>; mov.u32 %r3999999999, " + "-" * 100_000 + "1; }",
        ".global .b8 x[4] = " + "{" * 100_000,
        ".global .b8 x[0xFFFFFFFFFFFFFFFF][0xFFFFFFFFFFFFFFFF];",
        ".visible .entry k() { " + "@" * 1000 + " }",
        ".visible .entry k(" + ".param .b8 p[60000], " * 40 + ".param .u32 q) { ret; }",
        ".visible .entry k() { " + "".join(f"L{i}: bra L{(i * 7919) % 3000};\n" for i in range(3000)) + " }",
        ".visible .entry k() { .reg .b32 %r<20000>;"
        + "".join(f"add.u32 %r{i + 1}, %r{i}, %r{i // 2};\n" for i in range(19_000))
        + " }",
    ):
        try_one(head + body)
