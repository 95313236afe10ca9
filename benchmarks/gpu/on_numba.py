"""Numba: an elementwise kernel on arrays that stay, one on host arrays, and a stencil."""

from __future__ import annotations

from typing import Any

from gpu.registry import Unavailable, Work, need, workload


def start() -> Any:
    """numba.cuda with a GPU; numba-cuda is a package of its own."""
    import numpy as np

    if not hasattr(
        np, "row_stack"
    ):  # some releases of Numba look for it still, and NumPy 2.5 has no more of it
        np.row_stack = np.vstack  # type: ignore[attr-defined]
    need("numba")
    need("numba.cuda")
    from numba import cuda

    if not cuda.is_available():
        raise Unavailable("Numba finds no GPU")
    return cuda


@workload("numba_add", "Numba: elementwise kernel")
def numba_add() -> Work:
    """A launch is a short Python call: its cost is most of the step."""
    cuda = start()
    import numpy as np

    @cuda.jit
    def add(a: Any, b: Any, c: Any) -> None:
        i = cuda.grid(1)
        if i < c.size:
            c[i] = a[i] + b[i]

    random = np.random.default_rng(20)
    count = 1 << 18
    a, b = (cuda.to_device(random.random(count, np.float32)) for _ in range(2))
    c = cuda.device_array(count, np.float32)
    return Work(
        lambda: add[count // 256, 256](a, b, c), cuda.synchronize, lambda: [c.copy_to_host().tobytes()]
    )


@workload("numba_host", "Numba: kernel on NumPy arrays, copied each call")
def numba_host() -> Work:
    """As beginners write it: Numba copies every array up and down again around the launch."""
    cuda = start()
    import numpy as np

    @cuda.jit
    def blend(a: Any, b: Any) -> None:
        i = cuda.grid(1)
        if i < b.size:
            b[i] = np.float32(0.5) * (a[i] + b[i])

    random = np.random.default_rng(20)
    count = 1 << 16
    a, b = (random.random(count, np.float32) for _ in range(2))
    return Work(lambda: blend[count // 256, 256](a, b), cuda.synchronize, lambda: [b.tobytes()])


@workload("numba_stencil", "Numba: heat equation, two stencil steps")
def numba_stencil() -> Work:
    """Two buffers in turn, 2-D blocks."""
    cuda = start()
    import numpy as np

    @cuda.jit
    def spread(old: Any, new: Any, rate: Any) -> None:
        row, column = cuda.grid(2)
        if 0 < row < old.shape[0] - 1 and 0 < column < old.shape[1] - 1:
            around = old[row - 1, column] + old[row + 1, column] + old[row, column - 1] + old[row, column + 1]
            new[row, column] = old[row, column] + rate * (around - 4 * old[row, column])

    side = 512
    plate = np.random.default_rng(20).random((side, side), np.float32)
    old, new = cuda.to_device(plate), cuda.to_device(plate)
    grid, block, rate = (side // 16, side // 16), (16, 16), np.float32(0.2)

    def step() -> None:
        spread[grid, block](old, new, rate)
        spread[grid, block](new, old, rate)

    return Work(step, cuda.synchronize, lambda: [old.copy_to_host().tobytes()])
