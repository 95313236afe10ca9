"""The kernels of the clients, as PTX, which both an NVIDIA driver and the software GPU compile.

`fill` writes word number i of a pattern that depends on i and a seed, `check` counts the words that are not so: a piece
of memory that comes back to the wrong place, or not at all, is seen. `spin` takes a time that depends on `iterations`
only, and not on the clock: a kernel that another process interrupts does not do less for it.
"""

from __future__ import annotations

# Word i of the pattern is (i * 0x9E3779B1) xor seed; the factor is odd, so no two words of 16 GiB are alike.
_EACH_WORD = """
    .reg .pred %more, %wrong;
    .reg .b32 %r<8>;
    .reg .b64 %d<6>;
    ld.param.u64 %d0, [p];
    ld.param.u64 %d1, [n];
    ld.param.u32 %r0, [seed];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mov.u32 %r4, %nctaid.x;
    mad.lo.u32 %r1, %r1, %r2, %r3;
    mul.lo.u32 %r4, %r4, %r2;
    cvt.u64.u32 %d2, %r1;
    cvt.u64.u32 %d3, %r4;
"""

PTX = (
    """
.version 7.0
.target sm_70
.address_size 64

.visible .entry fill(.param .u64 p, .param .u64 n, .param .u32 seed)
{
"""
    + _EACH_WORD
    + """
next:
    setp.ge.u64 %more, %d2, %d1;
    @%more ret;
    cvt.u32.u64 %r5, %d2;
    mul.lo.u32 %r5, %r5, 0x9E3779B1;
    xor.b32 %r5, %r5, %r0;
    shl.b64 %d4, %d2, 2;
    add.u64 %d4, %d0, %d4;
    st.global.u32 [%d4], %r5;
    add.u64 %d2, %d2, %d3;
    bra next;
}

.visible .entry check(.param .u64 p, .param .u64 n, .param .u32 seed, .param .u64 wrong_words)
{
"""
    + _EACH_WORD
    + """
    mov.u32 %r7, 0;
next:
    setp.ge.u64 %more, %d2, %d1;
    @%more bra done;
    cvt.u32.u64 %r5, %d2;
    mul.lo.u32 %r5, %r5, 0x9E3779B1;
    xor.b32 %r5, %r5, %r0;
    shl.b64 %d4, %d2, 2;
    add.u64 %d4, %d0, %d4;
    ld.global.u32 %r6, [%d4];
    setp.ne.u32 %wrong, %r5, %r6;
    @%wrong add.u32 %r7, %r7, 1;
    add.u64 %d2, %d2, %d3;
    bra next;
done:
    setp.eq.u32 %wrong, %r7, 0;
    @%wrong ret;
    ld.param.u64 %d5, [wrong_words];
    red.global.add.u32 [%d5], %r7;
    ret;
}

.visible .entry spin(.param .u32 iterations, .param .u64 never)
{
    .reg .pred %p;
    .reg .b32 %r<4>;
    .reg .b64 %d0;
    ld.param.u32 %r0, [iterations];
    mov.u32 %r1, %tid.x;
next:
    mad.lo.u32 %r1, %r1, 1664525, 1013904223;
    sub.u32 %r0, %r0, 1;
    setp.ne.u32 %p, %r0, 0;
    @%p bra next;
    // Never the case for the threads that there are, but the compiler does not know: the loop stays.
    setp.ne.u32 %p, %r1, 0x7FFFFFFF;
    @%p ret;
    ld.param.u64 %d0, [never];
    st.global.u32 [%d0], %r1;
    ret;
}

.visible .entry endless()
{
again:
    bra again;
}
"""
).encode()
