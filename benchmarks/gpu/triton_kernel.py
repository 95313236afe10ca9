"""The Triton kernel of the workload `triton`. In a file of its own: Triton reads a kernel's source, and needs the
names in it at import.
"""

import triton
import triton.language as tl


@triton.jit
def softmax(source, target, columns, stride, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """One row per program; WIDTH is a power of two, at least `columns`."""
    row = tl.program_id(0)
    place = tl.arange(0, WIDTH)
    inside = place < columns
    x = tl.load(source + row * stride + place, mask=inside, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(target + row * stride + place, e / tl.sum(e, axis=0), mask=inside)
