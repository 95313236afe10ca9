"""What goes wrong has a name: texts that do not compile, accesses that are not allowed, kernels without an end."""

from __future__ import annotations

import numpy as np
import pytest
from device import HEAD, Buffer, Program, PtxError, cuda


def kernel(body: str, parameters: str = ".param .u64 p") -> str:
    return f"{HEAD}.visible .entry k({parameters}) {{\n.reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f32 %f<9>;\n{body}\n}}\n"


@pytest.mark.parametrize(
    "instruction,names",
    [
        ("frobnicate.u32 %r1, %r2;", "frobnicate.u32"),
        ("wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r1}, [%rd1];", "wmma.load"),
        ("tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [t, {%f5,%f6}];", "tex.2d"),
        ("cp.async.ca.shared.global [%rd1], [%rd2], 4;", "cp.async"),
        ("add.q32 %r1, %r1, %r1;", "add.q32"),
        ("add.f32.u32 %r1, %r1, %r1;", "add.f32.u32"),
        ("shfl.up.b32 %r1, %r1, 1, 0;", "shfl.up.b32"),
    ],
)
def test_an_instruction_that_is_missing_is_named_with_its_line(instruction: str, names: str) -> None:
    with pytest.raises(PtxError) as error:
        Program(kernel(f"mov.u32 %r1, 0;\n{instruction}\nret;"))
    assert names in str(error.value)
    assert error.value.line == 7
    assert "line 7" in str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        "mov.u32 %r1, %nosuch;",
        "bra NOWHERE;",
        "add.u32 %r1, %r2;",
        "add.u64 %rd1, %r2, %rd1;",
        "add.u32 %p1, %r2, %r1;",
        "@%r1 bra X; X:",
        "X: X:",
        "mov.u32 %r1, undefined_name;",
        "call undefined_function;",
        "ld.param.u64 %rd1, [p+4];",
        "ld.param.u64 %rd1, [p+8];",
        "ld.param.u64 %rd1, [p+-8];",
        "st.param.u64 [p], %rd1;",
        ".local .b8 big[1000000];",
        ".shared .b8 big[100000];",
        ".reg .b32 %r1; .reg .b32 %r1;",
        "setp.lt.b32 %p1, %r1, %r2;",
        "cvt.s32.f32 %r1, %f1;",
        "mov.b64 {%r1, %r2, %r3}, %rd1;",
        "ld.global.v4.f32 {%f1, %f2}, [%rd1];",
        "brx.idx %r1, NOTABLE; NOTABLE:",
        "mov.u32 %r1, 99999999999999999999999;",
        "{ { {",
        'mov.u32 %r1, "text";',
        "ret",
    ],
)
def test_texts_that_mean_nothing_are_refused(body: str) -> None:
    with pytest.raises(PtxError):
        Program(kernel(body))


def test_what_is_not_ptx_is_refused() -> None:
    for text in ("", "hello", "\x7fELF", ".version", HEAD + ".visible .entry", HEAD + "/* no end"):
        with pytest.raises(PtxError):
            Program(text)


def test_names_defined_twice_across_texts() -> None:
    text = HEAD + ".visible .global .u32 x;\n"
    with pytest.raises(PtxError, match="x"):
        Program(text, text)
    Program(text, text.replace(".visible", ".weak"))


def test_out_of_bounds_read_names_address_thread_block_and_line() -> None:
    program = Program(
        kernel("""ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4096;
add.u64 %rd1, %rd1, %rd2;
ld.global.u32 %r2, [%rd1+4];
ret;""")
    )
    buffer = Buffer(np.zeros(16, np.int32))
    result = program.launch("k", 3, 4, buffer)
    assert result.outcome == "illegal_address"
    assert hex(buffer.address + 4096 + 4) in result.detail
    assert "thread (1,0,0)" in result.detail and "block (" in result.detail and "line 8" in result.detail
    assert "read of 4 bytes" in result.detail


@pytest.mark.parametrize(
    "address",
    [0, 8, 1 << 20, (1 << 47) - 8, 1 << 47, (1 << 47) + (1 << 30), 1 << 62, (1 << 64) - 8, (1 << 64) - 4096],
)
@pytest.mark.parametrize("space", ["", ".global"])
@pytest.mark.parametrize(
    "access",
    [
        "ld{s}.u64 %rd2, [%rd1];",
        "st{s}.u64 [%rd1], %rd1;",
        "atom{s}.add.u64 %rd2, [%rd1], 1;",
        "ld{s}.v2.u64 {{%rd2, %rd3}}, [%rd1];",
    ],
)
def test_wild_addresses_fault(access: str, space: str, address: int) -> None:
    program = Program(kernel(f"ld.param.u64 %rd1, [p]; {access.format(s=space)} ret;"))
    result = program.launch("k", 1, 33, np.uint64(address))
    # 16 bytes at a multiple of 8 are misaligned as well, and that is looked at first.
    wanted = "misaligned_address" if "v2" in access and address % 16 else "illegal_address"
    assert result.outcome == wanted, result


@pytest.mark.parametrize("offset", [-1, -4096, 1 << 16, 1 << 31, 1 << 62])
@pytest.mark.parametrize("space", ["shared", "local"])
def test_windows_are_bounded(space: str, offset: int) -> None:
    text = kernel(
        f".{space} .align 8 .b8 x[64]; ld.param.u64 %rd1, [p]; mov.u64 %rd2, x; add.u64 %rd2, %rd2, %rd1; st.{space}.u8 [%rd2], 1; ret;"
    )
    assert Program(text).launch("k", 1, 64, np.int64(offset)).outcome == "illegal_address"
    assert Program(text).launch("k", 1, 64, np.int64(63)).outcome == "success"
    generic = kernel(
        f".{space} .align 8 .b8 x[64]; ld.param.u64 %rd1, [p]; mov.u64 %rd2, x; cvta.{space}.u64 %rd2, %rd2; add.u64 %rd2, %rd2, %rd1; st.u8 [%rd2], 1; ret;"
    )
    assert Program(generic).launch("k", 1, 64, np.int64(offset)).outcome == "illegal_address"


def test_parameters_cannot_be_written_through_a_generic_pointer() -> None:
    text = kernel("mov.b64 %rd1, p; cvta.param.u64 %rd1, %rd1; st.u32 [%rd1], 1; ret;")
    assert Program(text).launch("k", 1, 1, np.uint64(0)).outcome == "illegal_address"


@pytest.mark.parametrize("width", [2, 4, 8])
def test_misaligned_accesses(width: int) -> None:
    program = Program(
        kernel(
            f"ld.param.u64 %rd1, [p]; ld.global.b{width * 8} %{'r2' if width == 4 else 'rd2' if width == 8 else 'h'}, [%rd1+1]; ret;".replace(
                "%h", "%r2"
            )
        )
    )
    result = program.launch("k", 1, 32, Buffer(np.zeros(8)))
    assert result.outcome == "misaligned_address"
    assert f"multiple of {width}" in result.detail


def test_use_after_free() -> None:
    program = Program(kernel("ld.param.u64 %rd1, [p]; ld.global.u32 %r1, [%rd1]; ret;"))
    buffer = Buffer(np.zeros(4))
    program.run("k", 1, 1, buffer)
    address = buffer.address
    buffer.free()
    assert program.launch("k", 1, 1, np.uint64(address)).outcome == "illegal_address"


def test_trap_and_assertion() -> None:
    program = cuda("""extern "C" __device__ void __assertfail(const char*, const char*, unsigned, const char*, size_t);
        extern "C" __global__ void f(int k) { if (threadIdx.x == k) __trap(); }
        extern "C" __global__ void g(int k) { if (threadIdx.x == 5 && blockIdx.x == k) __assertfail("x > 0", "lab.cu", 12, "void g(int)", 1); }""")
    assert program.launch("f", 1, 32, np.int32(40)).outcome == "success"
    result = program.launch("f", 1, 32, np.int32(7))
    assert result.outcome == "trap" and "thread (7,0,0)" in result.detail
    result = program.launch("g", 4, 32, np.int32(2))
    assert result.outcome == "assertion"
    assert (
        result.printed
        == "lab.cu:12: void g(int): block: [2,0,0], thread: [5,0,0] Assertion `x > 0` failed.\n"
    )


@pytest.mark.parametrize(
    "body",
    [
        "L: bra L;",
        "mov.u32 %r1, %tid.x; and.b32 %r1, %r1, 1; setp.eq.u32 %p1, %r1, 0; L: @%p1 bra L; M: bra M;",
        "L: ld.volatile.global.u32 %r1, [%rd1]; setp.eq.u32 %p1, %r1, 0; @%p1 bra L; ret;",
        "L: bar.sync 0; bra L;",
        "call rec, (%rd1); ret;",
    ],
)
def test_endless_kernels_obey_the_stop_flag(body: str) -> None:
    function = ".func rec(.param .u64 q) { .reg .b64 %a; L: ld.param.u64 %a, [q]; bra L; }\n"
    text = kernel("ld.param.u64 %rd1, [p];" + body).replace(".visible .entry", function + ".visible .entry")
    result = Program(text).launch("k", 3, 300, Buffer(np.zeros(4)), stop_after_ms=30)
    assert result.outcome == "cancelled"
    # The promise is 100 ms; the bound is wider, as the machine may be busy.
    assert result.stop_delay_s < 5


def test_unbounded_recursion_ends_in_an_error() -> None:
    program = cuda(
        '__device__ __noinline__ int f(int n, int* p) { int a[20]; a[n % 20] = p[0]; return f(n + 1, p) + a[(n + 3) % 20]; } extern "C" __global__ void k(int* p) { p[0] = f(0, p); }'
    )
    result = program.launch("k", 1, 256, Buffer(np.zeros(4)))
    assert result.outcome == "illegal_address" and "stack overflow" in result.detail


def test_calls_through_bad_pointers() -> None:
    body = "ld.param.u64 %rd1, [p]; proto: .callprototype _ (); call %rd1, proto; ret;"
    for address in (0, 1234, (1 << 47) + (3 << 40) + 8, (1 << 47) + (3 << 40) + 16 * 1000, (1 << 64) - 16):
        assert Program(kernel(body)).launch("k", 1, 4, np.uint64(address)).outcome == "illegal_instruction"
    # A kernel is no function that could be called.
    assert (
        Program(kernel(body)).launch("k", 1, 4, np.uint64((1 << 47) + (3 << 40))).outcome
        == "illegal_instruction"
    )


def test_indexed_branch_past_its_table() -> None:
    body = "ld.param.u64 %rd1, [p]; cvt.u32.u64 %r1, %rd1; ts: .branchtargets A, B; brx.idx %r1, ts; A: ret; B: ret;"
    assert Program(kernel(body)).launch("k", 1, 4, np.uint64(1)).outcome == "success"
    assert Program(kernel(body)).launch("k", 1, 4, np.uint64(2)).outcome == "illegal_instruction"


def test_threads_that_wait_for_each_other_for_ever_are_reported() -> None:
    program = cuda("""extern "C" __global__ void f() { if (threadIdx.x < 16) { asm volatile("bar.sync 1;"); } else asm volatile("bar.sync 2;"); }
        extern "C" __global__ void g() { if (threadIdx.x < 16) __syncwarp(); else __syncthreads(); }""")
    for name in "fg":
        result = program.launch(name, 1, 32)
        assert result.outcome == "trap" and "wait for each other" in result.detail


def test_blocks_that_are_too_large_are_refused() -> None:
    program = Program(kernel("ret;"))
    assert program.launch("k", 1, (32, 64), np.uint64(0)).outcome == "illegal_instruction"
    assert program.launch("k", 1, 1024, np.uint64(0)).outcome == "success"


def test_an_error_in_one_block_ends_the_launch() -> None:
    program = Program(kernel("mov.u32 %r1, %ctaid.x; setp.ne.u32 %p1, %r1, 3; L: @%p1 bra L; trap;"))
    result = program.launch("k", 4, 32, np.uint64(0), stop_after_ms=60_000)
    assert result.outcome == "trap"
