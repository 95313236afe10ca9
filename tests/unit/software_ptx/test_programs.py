"""Whole CUDA C++ kernels through NVRTC, compared with NumPy."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from device import Buffer, Program, cuda, nvrtc


def test_saxpy_with_a_ragged_last_block() -> None:
    program = cuda("""extern "C" __global__ void saxpy(int n, float a, const float* x, float* y) {
        int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) y[i] = a * x[i] + y[i]; }""")
    rng = np.random.default_rng(1)
    n = 100_003
    x, y = rng.random(n, np.float32), rng.random(n, np.float32)
    dx, dy = Buffer(x), Buffer(y)
    program.run("saxpy", (n + 255) // 256, 256, np.int32(n), np.float32(2.5), dx, dy)
    # One rounding, as fma has.
    assert np.array_equal(dy.array, (2.5 * x.astype(np.float64) + y).astype(np.float32))


@pytest.mark.parametrize("threads", [1, 31, 32, 33, 100, 256, 257, 1000, 1024])
def test_block_reduction_for_every_shape_of_block(threads: int) -> None:
    program = cuda("""extern "C" __global__ void sum(const int* in, int* out) {
        __shared__ int s[1024]; int t = threadIdx.x; s[t] = in[blockIdx.x * blockDim.x + t]; __syncthreads();
        for (int n = blockDim.x; n > 1; ) { int h = (n + 1) / 2; if (t < n / 2) s[t] += s[t + h]; __syncthreads(); n = h; }
        if (t == 0) out[blockIdx.x] = s[0]; }""")
    values = np.random.default_rng(2).integers(-1000, 1000, (5, threads)).astype(np.int32)
    source, out = Buffer(values), Buffer(np.zeros(5, np.int32))
    program.run("sum", 5, threads, source, out)
    assert np.array_equal(out.array, values.sum(1))


def test_tiled_matrix_product() -> None:
    program = cuda("""extern "C" __global__ void mm(const float* a, const float* b, float* c, int n) {
        __shared__ float A[16][16], B[16][16]; int x = threadIdx.x, y = threadIdx.y, r = blockIdx.y * 16 + y, q = blockIdx.x * 16 + x;
        float s = 0; for (int t = 0; t < n; t += 16) { A[y][x] = a[r * n + t + x]; B[y][x] = b[(t + y) * n + q]; __syncthreads();
        for (int k = 0; k < 16; k++) s += A[y][k] * B[k][x]; __syncthreads(); } c[r * n + q] = s; }""")
    rng = np.random.default_rng(3)
    a, b = rng.random((64, 64), np.float32), rng.random((64, 64), np.float32)
    c = Buffer(np.zeros((64, 64), np.float32))
    program.run("mm", (4, 4), (16, 16), Buffer(a), Buffer(b), c, np.int32(64))
    np.testing.assert_allclose(c.array, a @ b, rtol=1e-5)


def test_divergent_loops_and_early_return() -> None:
    program = cuda("""extern "C" __global__ void collatz(int* out, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; long long v = i + 1; int steps = 0;
        while (v != 1) { if (v & 1) { v = 3 * v + 1; if (v > 1000000000000LL) break; } else v /= 2; if (++steps == 500) { steps = -1; break; } }
        out[i] = steps; }""")
    n = 3000
    out = Buffer(np.zeros(n, np.int32))
    program.run("collatz", (n + 255) // 256, 256, out, np.int32(n))

    def collatz(v: int) -> int:
        steps = 0
        while v != 1:
            v = 3 * v + 1 if v & 1 else v // 2
            steps += 1
        return steps

    assert list(out.array) == [collatz(i + 1) for i in range(n)]


def test_switch_and_nested_conditions() -> None:
    program = cuda("""extern "C" __global__ void f(const int* in, int* out) { int i = threadIdx.x, v = in[i], r = 0;
        switch (v) { case 0: r = 7; break; case 1: r = v * 3; case 2: r += 10; break; case 3: for (int k = 0; k < v + i; k++) r += k ^ i; break;
        case 4: r = i % 7; break; case 5: r = -1; break; case 6: if (i & 1) r = 100; else r = i / 3; break; default: r = v << 2; } out[i] = r; }""")
    values = np.arange(200, dtype=np.int32) % 9
    out = Buffer(np.zeros(200, np.int32))
    program.run("f", 1, 200, Buffer(values), out)
    wanted = []
    for i, v in enumerate(map(int, values)):
        wanted.append(
            {
                0: 7,
                1: 13,
                2: 10,
                3: sum(k ^ i for k in range(v + i)),
                4: i % 7,
                5: -1,
                6: 100 if i & 1 else i // 3,
            }.get(v, v << 2)
        )
    assert list(out.array) == wanted


@pytest.mark.parametrize("options", [(), ("--use_fast_math",), ("-G",), ("-lineinfo",)])
def test_mathematics_library(options: tuple[str, ...]) -> None:
    program = cuda(
        """extern "C" __global__ void f(const float* x, float* o, const double* y, double* p, int n) { int i = threadIdx.x;
        float v = x[i]; o[i] = expf(v); o[i + n] = logf(v + 5); o[i + 2 * n] = sinf(v * 100); o[i + 3 * n] = powf(v + 5, 1.7f);
        o[i + 4 * n] = tanhf(v); o[i + 5 * n] = erff(v); o[i + 6 * n] = cbrtf(v); o[i + 7 * n] = rsqrtf(v + 5); o[i + 8 * n] = atan2f(v, 0.3f);
        double w = y[i]; p[i] = exp(w); p[i + n] = log(w + 5); p[i + 2 * n] = sin(w * 100); p[i + 3 * n] = pow(w + 5, 1.7); p[i + 4 * n] = cos(w * 1e6);
        p[i + 5 * n] = sqrt(w + 5) / (w + 7); p[i + 6 * n] = fmod(w * 100, 3.0); }""",
        options=options,
    )
    n = 128
    x = np.linspace(-3, 3, n)
    single, double = x.astype(np.float32), x
    o, p = Buffer(np.zeros((9, n), np.float32)), Buffer(np.zeros((7, n)))
    program.run("f", 1, n, Buffer(single), o, Buffer(double), p, np.int32(n))
    s = single.astype(np.float64)
    fast = "--use_fast_math" in options
    wanted = [
        np.exp(s),
        np.log(s + 5),
        np.sin((single * np.float32(100)).astype(np.float64)),
        (s + 5) ** 1.7,
        np.tanh(s),
        [math.erf(v) for v in s],
        np.cbrt(s),
        1 / np.sqrt(s + 5),
        np.arctan2(s, 0.3),
    ]
    for row, value in zip(o.array, wanted, strict=True):
        np.testing.assert_allclose(row, value, rtol=2e-5 if fast else 2e-6, atol=1e-4 if fast else 2e-6)
    wanted = [
        np.exp(x),
        np.log(x + 5),
        np.sin(x * 100),
        (x + 5) ** 1.7,
        np.cos(x * 1e6),
        np.sqrt(x + 5) / (x + 7),
        np.fmod(x * 100, 3.0),
    ]
    for row, value in zip(p.array, wanted, strict=True):
        np.testing.assert_allclose(row, value, rtol=1e-14, atol=1e-14)


def test_half_precision_headers() -> None:
    program = cuda("""#include <cuda_fp16.h>
        #include <cuda_bf16.h>
        extern "C" __global__ void f(const half* x, half* o, __nv_bfloat16* b, int n) { int i = threadIdx.x; half v = x[i];
        o[i] = __hadd(v, __float2half(1.5f)); o[i + n] = __hmul(v, v); o[i + 2 * n] = hexp(v); o[i + 3 * n] = __hfma(v, v, v);
        half2 p = __halves2half2(v, __hneg(v)); p = __hmax2(p, __float2half2_rn(0.25f)); o[i + 4 * n] = __low2half(p); o[i + 5 * n] = __high2half(p);
        o[i + 6 * n] = __hgt(v, __float2half(0.f)) ? hsqrt(v) : __int2half_rn(__half2int_rz(v)); o[i + 7 * n] = hrcp(v);
        b[i] = __float2bfloat16(__half2float(v)) + __float2bfloat16(1.0f); }""")
    n = 64
    x = np.linspace(-4, 4, n).astype(np.float16)
    o, b = Buffer(np.zeros((8, n), np.float16)), Buffer(np.zeros(n, np.uint16))
    program.run("f", 1, n, Buffer(x), o, b, np.int32(n))
    assert np.array_equal(o.array[0], x + np.float16(1.5))
    assert np.array_equal(o.array[1], x * x)
    np.testing.assert_allclose(o.array[2], np.exp(x.astype(np.float64)), rtol=2e-3)
    assert np.array_equal(o.array[3], (x.astype(np.float64) ** 2 + x).astype(np.float16))
    assert np.array_equal(o.array[4], np.maximum(x, np.float16(0.25)))
    assert np.array_equal(o.array[5], np.maximum(-x, np.float16(0.25)))
    wide = (b.array.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(wide, x.astype(np.float32) + 1, atol=2.0**-5)


def test_warp_shuffles_votes_and_matches() -> None:
    program = cuda("""extern "C" __global__ void f(const int* in, int* o) { int t = threadIdx.x, n = blockDim.x, v = in[t]; unsigned m = 0xffffffffu;
        o[t] = __shfl_sync(m, v, 3); o[n + t] = __shfl_up_sync(m, v, 2); o[2 * n + t] = __shfl_down_sync(m, v, 5); o[3 * n + t] = __shfl_xor_sync(m, v, 9);
        o[4 * n + t] = __shfl_sync(m, v, 1, 8); o[5 * n + t] = __shfl_up_sync(m, v, 3, 16); o[6 * n + t] = __ballot_sync(m, v > 50);
        o[7 * n + t] = __any_sync(m, v == 77) + 2 * __all_sync(m, v < 1000); o[8 * n + t] = __match_any_sync(m, v % 5);
        int p; o[9 * n + t] = __match_all_sync(m, v / 1000, &p) + p; o[10 * n + t] = __activemask();
        double d = __shfl_xor_sync(m, (double)v, 1); o[11 * n + t] = (int)d; }""")
    n = 64
    v = np.random.default_rng(4).integers(0, 100, n).astype(np.int32)
    out = Buffer(np.zeros((12, n), np.int32))
    program.run("f", 1, n, Buffer(v), out)
    lane, warp = np.arange(n) % 32, np.arange(n) // 32 * 32

    def at(index: Any) -> Any:
        return v[warp + index]

    assert np.array_equal(out.array[0], at(3))
    assert np.array_equal(out.array[1], np.where(lane >= 2, at((lane - 2) % 32), v))
    assert np.array_equal(out.array[2], np.where(lane + 5 < 32, at((lane + 5) % 32), v))
    assert np.array_equal(out.array[3], at(lane ^ 9))
    assert np.array_equal(out.array[4], at(lane // 8 * 8 + 1))
    assert np.array_equal(out.array[5], np.where(lane % 16 >= 3, at((lane - 3) % 32), v))
    for w in range(2):
        part = v[32 * w : 32 * w + 32]
        ballot = sum(int(x > 50) << i for i, x in enumerate(part))
        assert np.all(out.array[6, 32 * w : 32 * w + 32].view(np.uint32) == ballot)
        assert np.all(out.array[7, 32 * w : 32 * w + 32] == int(77 in part) + 2)
        same = [sum(int(y % 5 == x % 5) << i for i, y in enumerate(part)) for x in part]
        assert list(out.array[8, 32 * w : 32 * w + 32].view(np.uint32)) == same
    assert np.all(out.array[9] == 0)  # all ones, plus one
    assert np.all(out.array[10].view(np.uint32) == 0xFFFFFFFF)
    assert np.array_equal(out.array[11], at(lane ^ 1))


def test_warp_primitives_in_divergent_code() -> None:
    program = cuda(
        """extern "C" __global__ void f(int* o) { int t = threadIdx.x, lane = t & 31, r;
        if (lane < 16) { r = __reduce_add(0); } else r = 0; o[t] = r; }
        """.replace(
            "__reduce_add(0)",
            "__shfl_xor_sync(0x0000ffffu, lane, 1) + __popc(__ballot_sync(0x0000ffffu, lane & 1))",
        )
    )
    out = Buffer(np.zeros(64, np.int32))
    program.run("f", 1, 64, out)
    lane = np.arange(64) % 32
    assert np.array_equal(out.array, np.where(lane < 16, (lane ^ 1) + 8, 0))


def test_both_sides_of_a_branch_meet_in_one_shuffle() -> None:
    text = """.version 8.0
    .target sm_75
    .address_size 64
    .visible .entry k(.param .u64 p) { .reg .pred %q; .reg .b32 %t, %v; .reg .b64 %a, %o;
    mov.u32 %t, %tid.x; ld.param.u64 %a, [p]; mul.wide.u32 %o, %t, 4; add.u64 %a, %a, %o;
    setp.lt.u32 %q, %t, 16; @%q bra LOW;
    mul.lo.u32 %v, %t, 100; shfl.sync.bfly.b32 %v, %v, 16, 31, -1; bra DONE;
    LOW: add.u32 %v, %t, 7; shfl.sync.bfly.b32 %v, %v, 16, 31, -1;
    DONE: st.global.u32 [%a], %v; ret; }"""
    out = Buffer(np.zeros(32, np.int32))
    Program(text).run("k", 1, 32, out)
    assert list(out.array) == [(t + 16) * 100 if t < 16 else t - 16 + 7 for t in range(32)]


def test_spin_lock_between_threads_of_a_warp_and_between_blocks() -> None:
    program = cuda("""extern "C" __global__ void f(int* lock, volatile int* counter) {
        bool done = false; while (!done) { if (atomicCAS(lock, 0, 1) == 0) { counter[0] = counter[0] + 1; __threadfence(); atomicExch(lock, 0); done = true; } } }
        extern "C" __global__ void g(int* lock, volatile int* counter) {
        while (atomicCAS(lock, 0, 1) != 0) { } counter[0] = counter[0] + 1; __threadfence(); atomicExch(lock, 0); }""")
    for kernel in "fg":
        lock, counter = Buffer(np.zeros(1, np.int32)), Buffer(np.zeros(1, np.int32))
        program.run(kernel, 4, 96, lock, counter)
        assert counter.array[0] == 4 * 96


def test_producer_and_consumer_threads_of_one_warp() -> None:
    program = cuda("""extern "C" __global__ void f(volatile int* flag, int* out) {
        if (threadIdx.x == 0) { while (flag[0] == 0) { } out[0] = flag[0]; } else if (threadIdx.x == 300) { flag[0] = 42; } }""")
    flag, out = Buffer(np.zeros(1, np.int32)), Buffer(np.zeros(1, np.int32))
    program.run("f", 1, 512, flag, out)
    assert out.array[0] == 42


def test_grid_wide_barrier_by_spinning() -> None:
    program = cuda("""extern "C" __global__ void f(volatile int* a, int* arrived, int* out) {
        int b = blockIdx.x; if (threadIdx.x == 0) { a[b] = b + 1; __threadfence(); atomicAdd(arrived, 1); while (atomicAdd(arrived, 0) < gridDim.x) { } }
        __syncthreads(); if (threadIdx.x == 0) { int s = 0; for (int i = 0; i < gridDim.x; i++) s += a[i]; out[b] = s; } }""")
    n = 12
    a, arrived, out = (Buffer(np.zeros(n, np.int32)) for _ in range(3))
    program.run("f", n, 64, a, arrived, out)
    assert np.all(out.array == n * (n + 1) // 2)


def test_atomics_between_blocks() -> None:
    program = cuda("""extern "C" __global__ void f(int* i, unsigned* u, float* f, double* d, unsigned long long* l) {
        int t = blockIdx.x * blockDim.x + threadIdx.x; atomicAdd(i, t); atomicMax(i + 1, t); atomicMin(i + 2, -t); atomicOr(i + 3, 1 << (t & 31)); atomicXor(i + 4, t);
        atomicInc(u, 99); atomicDec(u + 1, 9); atomicAdd(f, 1.0f); atomicAdd(d, 0.5); atomicAdd(l, (unsigned long long)t << 20);
        __shared__ int s; if (threadIdx.x == 0) s = 0; __syncthreads(); atomicAdd(&s, 2); __syncthreads(); if (threadIdx.x == 0) atomicAdd(i + 5, s); }""")
    n = 20 * 128
    i, u = Buffer(np.zeros(6, np.int32)), Buffer(np.zeros(2, np.uint32))
    f, d, wide = Buffer(np.zeros(1, np.float32)), Buffer(np.zeros(1)), Buffer(np.zeros(1, np.uint64))
    program.run("f", 20, 128, i, u, f, d, wide)
    t = np.arange(n)
    assert list(i.array) == [t.sum(), n - 1, -(n - 1), -1, np.bitwise_xor.reduce(t), 2 * n]
    assert u.array[0] == n % 100
    assert f.array[0] == n and d.array[0] == n / 2 and wide.array[0] == int(t.sum()) << 20


def test_histogram_in_shared_memory() -> None:
    program = cuda("""extern "C" __global__ void h(const unsigned char* in, unsigned* out, int n) { extern __shared__ unsigned s[];
        for (int b = threadIdx.x; b < 256; b += blockDim.x) s[b] = 0; __syncthreads();
        for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) atomicAdd(&s[in[i]], 1u); __syncthreads();
        for (int b = threadIdx.x; b < 256; b += blockDim.x) atomicAdd(&out[b], s[b]); }""")
    values = np.random.default_rng(5).integers(0, 256, 20001).astype(np.uint8)
    out = Buffer(np.zeros(256, np.uint32))
    program.run("h", 7, 192, Buffer(values), out, np.int32(len(values)), shared=1024)
    assert np.array_equal(out.array, np.bincount(values, minlength=256))


def test_recursion_function_pointers_and_virtual_calls() -> None:
    program = cuda("""__device__ __noinline__ int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
        __device__ int square(int x) { return x * x; } __device__ int negate(int x) { return -x; }
        typedef int (*F)(int); __device__ F table[3] = {fib, square, negate};
        struct Shape { virtual __device__ int area() const = 0; }; struct A : Shape { int x; __device__ A(int v) : x(v) {} __device__ int area() const override { return x; } };
        struct B : Shape { int x; __device__ B(int v) : x(v) {} __device__ int area() const override { return x * 10; } };
        extern "C" __global__ void f(int* o, int n) { int t = threadIdx.x; o[t] = table[t % 3](t % 12); A a(t); B b(t); const Shape* s = (t & 1) ? (Shape*)&a : (Shape*)&b; o[n + t] = s->area(); }""")
    n = 70
    out = Buffer(np.zeros((2, n), np.int32))
    program.run("f", 1, n, out, np.int32(n))
    fib = [0, 1]
    while len(fib) < 12:
        fib.append(fib[-1] + fib[-2])
    assert list(out.array[0]) == [[fib[t % 12], (t % 12) ** 2, -(t % 12)][t % 3] for t in range(n)]
    assert list(out.array[1]) == [t if t & 1 else t * 10 for t in range(n)]


def test_parameters_by_value_local_arrays_and_constants() -> None:
    program = cuda("""struct S { int a[6]; double b; char c; }; __constant__ float table[5] = {1, 2, 3, 4, 5}; __constant__ int filled[4]; __device__ int device_value = 17;
        __device__ const char* words[2] = {"zero", "one"};
        extern "C" __global__ void f(S s, float* o, int k) { int t = threadIdx.x; int local[8]; for (int i = 0; i < 8; i++) local[(i + k) % 8] = i * t;
        o[t] = s.a[(t + k) % 6] + s.b + s.c + table[t % 5] + local[(t + k) % 8] + filled[t & 3] + device_value + words[t & 1][1]; }
        extern "C" __global__ void g(const __grid_constant__ S s, float* o, int k) { o[threadIdx.x] = s.a[(threadIdx.x + k) % 6] + s.b; }""")
    s = np.arange(10, 16, dtype=np.int32).tobytes() + np.float64(0.5).tobytes() + b"\x03" + bytes(7)
    program.variable("filled", np.int32)[:] = [1000, 2000, 3000, 4000]
    out = Buffer(np.zeros(48, np.float32))
    program.run("f", 1, 48, s, out, np.int32(3))
    wanted = []
    for t in range(48):
        local = [0] * 8
        for i in range(8):
            local[(i + 3) % 8] = i * t
        wanted.append(
            10
            + (t + 3) % 6
            + 0.5
            + 3
            + t % 5
            + 1
            + local[(t + 3) % 8]
            + 1000 * ((t & 3) + 1)
            + 17
            + ord("en"[t & 1])
        )
    assert list(out.array) == wanted
    program.run("g", 1, 48, s, out, np.int32(1))
    assert list(out.array) == [10 + (t + 1) % 6 + 0.5 for t in range(48)]


def test_vector_loads_and_stores() -> None:
    program = cuda("""extern "C" __global__ void f(const float4* a, float4* o, const short2* b, short2* p, const double2* c, double2* q, const uchar4* e, uchar4* r) {
        int t = threadIdx.x; float4 v = a[t]; o[t] = make_float4(v.w, v.z, v.y, v.x); short2 s = b[63 - t]; p[t] = make_short2(s.y, s.x);
        double2 d = c[t ^ 1]; q[t] = make_double2(d.y, d.x); uchar4 u = e[t]; r[(t * 7) & 63] = make_uchar4(u.w, u.x, u.y, u.z); }""")
    rng = np.random.default_rng(6)
    a, b, c = (
        rng.random((64, 4), np.float32),
        rng.integers(-9, 9, (64, 2)).astype(np.int16),
        rng.random((64, 2)),
    )
    e = rng.integers(0, 255, (64, 4)).astype(np.uint8)
    o, p, q, r = (Buffer(np.zeros_like(v)) for v in (a, b, c, e))
    program.run("f", 1, 64, Buffer(a), o, Buffer(b), p, Buffer(c), q, Buffer(e), r)
    t = np.arange(64)
    assert np.array_equal(o.array, a[:, ::-1])
    assert np.array_equal(p.array, b[::-1, ::-1])
    assert np.array_equal(q.array, c[t ^ 1][:, ::-1])
    assert np.array_equal(r.array[(t * 7) & 63], e[:, [3, 0, 1, 2]])


def test_barrier_reductions_and_named_barriers() -> None:
    program = cuda("""extern "C" __global__ void f(int* o) { int t = threadIdx.x; int c = __syncthreads_count(t % 3 == 0), a = __syncthreads_and(t < 200), r = __syncthreads_or(t == 150);
        __shared__ int s[64]; if (t < 64) { s[t] = t; asm volatile("bar.sync 1, 64;" ::: "memory"); c += s[63 - t]; } o[t] = c * 4 + a * 2 + r; }""")
    out = Buffer(np.zeros(192, np.int32))
    program.run("f", 1, 192, out)
    assert list(out.array) == [(64 + (63 - t if t < 64 else 0)) * 4 + 2 + 1 for t in range(192)]


def test_threads_that_returned_do_not_hold_up_a_barrier() -> None:
    program = cuda(
        """extern "C" __global__ void f(int* o) { int t = threadIdx.x; if (t >= 100) return; __shared__ int s[128]; s[t] = t; __syncthreads(); o[t] = s[99 - t]; }"""
    )
    out = Buffer(np.zeros(100, np.int32))
    program.run("f", 1, 300, out)
    assert list(out.array) == list(range(99, -1, -1))


def test_barriers_reached_on_different_paths() -> None:
    program = cuda("""extern "C" __global__ void f(int* o) { int t = threadIdx.x; __shared__ int s[64]; s[t] = t;
        if (t & 1) { __syncthreads(); o[t] = s[t ^ 1] + 1; } else { __syncthreads(); o[t] = s[t ^ 1] * 2; } }""")
    out = Buffer(np.zeros(64, np.int32))
    program.run("f", 1, 64, out)
    assert list(out.array) == [(t ^ 1) + 1 if t & 1 else (t ^ 1) * 2 for t in range(64)]


def test_printf_formats() -> None:
    program = cuda(r"""extern "C" __global__ void f() { printf("%d %5d|%-5d|%05d %u %x %#X %o %c %s %%\n", -1, 42, 42, 42, 3000000000u, 255, 255, 8, 'z', "text");
        printf("%f %.3f %10.2e %g %lld %llu %ld %hd %hhd\n", 1.5f, 3.14159, 12345.678, 0.0001, -5000000000LL, 18446744073709551615ULL, -7L, 70000, 300);
        printf("%p %s %*d\n", (void*)0x1234, (const char*)0, 4, 9); printf("plain\n"); }""")
    printed = program.run("f", 1, 1).printed
    assert printed == (
        "-1    42|42   |00042 3000000000 ff 0XFF 10 z text %\n"
        "1.500000 3.142   1.23e+04 0.0001 -5000000000 18446744073709551615 -7 4464 44\n"
        "0x1234 (null)    9\nplain\n"
    )


def test_printf_from_many_threads_keeps_lines_whole() -> None:
    program = cuda(
        """extern "C" __global__ void f() { printf("block %d thread %d\\n", blockIdx.x, threadIdx.x); }"""
    )
    lines = program.run("f", 5, 40).printed.splitlines()
    assert sorted(lines) == sorted(f"block {b} thread {t}" for b in range(5) for t in range(40))


def test_device_heap() -> None:
    program = cuda("""extern "C" __global__ void f(int* o) { int t = threadIdx.x; int* p = (int*)malloc(16 * (t + 1)); for (int i = 0; i < 4 * (t + 1); i++) p[i] = t + i;
        int s = 0; for (int i = 0; i < 4 * (t + 1); i++) s += p[i]; o[t] = s; free(p); int* huge = (int*)malloc(1ull << 40); if (huge) o[t] = -1; }""")
    out = Buffer(np.zeros(64, np.int32))
    for _ in range(3):
        program.run("f", 2, 64, out)
    assert list(out.array) == [sum(t + i for i in range(4 * (t + 1))) for t in range(64)]


def test_special_registers_and_grids_of_three_dimensions() -> None:
    program = cuda("""extern "C" __global__ void f(int* o) { int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z); int n = blockDim.x * blockDim.y * blockDim.z; unsigned lane, warp, lt; 
        asm("mov.u32 %0, %%laneid;" : "=r"(lane)); asm("mov.u32 %0, %%warpid;" : "=r"(warp)); asm("mov.u32 %0, %%lanemask_lt;" : "=r"(lt));
        long long c0 = clock64(); o[b * n + t] = (lane == t % 32) + 2 * (warp == t / 32) + 4 * (lt == (1u << lane) - 1) + 8 * (clock64() >= c0) + 16 * b; }""")
    out = Buffer(np.zeros((12, 90), np.int32))
    program.run("f", (3, 2, 2), (5, 6, 3), out)
    assert np.array_equal(out.array, np.broadcast_to(np.arange(12)[:, None] * 16 + 15, (12, 90)))


def test_several_texts_are_linked() -> None:
    first = nvrtc(
        """extern __device__ int shared_value; extern __device__ int twice(int); extern "C" __global__ void f(int* o) { o[threadIdx.x] = twice(threadIdx.x) + shared_value; }""",
        options=("-rdc=true",),
    )
    second = nvrtc(
        """__device__ int shared_value = 1000; __device__ int twice(int x) { return 2 * x; }""",
        options=("-rdc=true",),
    )
    out = Buffer(np.zeros(32, np.int32))
    Program(first, second).run("f", 1, 32, out)
    assert list(out.array) == [2 * t + 1000 for t in range(32)]


@pytest.mark.parametrize("arch", ["compute_75", "compute_80", "compute_90", "compute_100"])
def test_ptx_of_other_architectures(arch: str) -> None:
    program = cuda(
        """extern "C" __global__ void f(const unsigned* in, unsigned* out) { unsigned v = in[threadIdx.x]; out[threadIdx.x] = __reduce_add_sync(~0u, v) + __funnelshift_l(v, v, 3) % 7u; }"""
        if arch != "compute_75"
        else """extern "C" __global__ void f(const unsigned* in, unsigned* out) { unsigned v = in[threadIdx.x], s = v; for (int d = 16; d; d /= 2) s += __shfl_xor_sync(~0u, s, d); out[threadIdx.x] = s + __funnelshift_l(v, v, 3) % 7u; }""",
        arch=arch,
    )
    v = np.random.default_rng(7).integers(0, 1 << 32, 32, dtype=np.uint64).astype(np.uint32)
    out = Buffer(np.zeros(32, np.uint32))
    program.run("f", 1, 32, Buffer(v), out)
    wide = v.astype(np.uint64)
    turned = ((wide << 3) | (wide >> 29)) & 0xFFFFFFFF
    assert np.array_equal(out.array, ((wide.sum() + turned % 7) & 0xFFFFFFFF).astype(np.uint32))


def test_integer_division_of_all_widths() -> None:
    program = cuda("""extern "C" __global__ void f(const long long* a, const long long* b, long long* o, int n) { int t = threadIdx.x; long long x = a[t], y = b[t];
        o[t] = x / y; o[n + t] = x % y; o[2 * n + t] = (unsigned long long)x / (unsigned long long)y; o[3 * n + t] = (int)x / ((int)y | 1); o[4 * n + t] = (unsigned)x % ((unsigned)y | 1); }""")
    rng = np.random.default_rng(8)
    n = 256
    a, b = rng.integers(-(1 << 62), 1 << 62, n), rng.integers(1, 1 << 40, n)
    out = Buffer(np.zeros((5, n), np.int64))
    program.run("f", 1, n, Buffer(a), Buffer(b), out, np.int32(n))
    x, y = [int(v) for v in a], [int(v) for v in b]

    def sign32(v: int) -> int:
        return (v & 0xFFFFFFFF) - ((v & 0x80000000) << 1)

    quotient = [abs(p) // q * (1 if p >= 0 else -1) for p, q in zip(x, y, strict=True)]
    assert list(out.array[0]) == quotient
    assert list(out.array[1]) == [p - d * q for p, q, d in zip(x, y, quotient, strict=True)]
    assert [int(v) for v in out.array[2].view(np.uint64)] == [
        (p & (1 << 64) - 1) // q for p, q in zip(x, y, strict=True)
    ]
    small = [(sign32(p), sign32(q) | 1) for p, q in zip(x, y, strict=True)]
    assert list(out.array[3]) == [abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1) for p, q in small]
    assert list(out.array[4]) == [
        (p & 0xFFFFFFFF) % ((q & 0xFFFFFFFF) | 1) for p, q in zip(x, y, strict=True)
    ]


def test_launches_from_several_threads_at_once() -> None:
    program = cuda(
        """extern "C" __global__ void f(int* o, int k) { int i = blockIdx.x * blockDim.x + threadIdx.x, s = 0; for (int j = 0; j < 200; j++) s += (i ^ j) * k; o[i] = s; }"""
    )
    outs = [Buffer(np.zeros(4096, np.int32)) for _ in range(6)]
    threads = [
        threading.Thread(target=program.run, args=("f", 16, 256, out, np.int32(k)))
        for k, out in enumerate(outs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    base = (np.arange(4096)[:, None] ^ np.arange(200)).sum(1)
    for k, out in enumerate(outs):
        assert np.array_equal(out.array, base * k)
