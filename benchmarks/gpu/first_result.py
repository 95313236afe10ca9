"""A fresh process's way to its first CUDA result: `python -m gpu.first_result driver|torch`. Prints one JSON line.

`driver` knows nothing but libcuda: it loads the library, makes the context, allocates, fills and copies back. `torch`
begins after the import of torch. Memory is read before and after, so the difference is what CUDA brought.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time

from gpu import memory


def with_driver() -> int:
    """A byte that the GPU wrote."""
    from gpu.driver_calls import Driver

    cuda = Driver()
    address = cuda.allocate(4096)
    cuda("cuMemsetD8_v2", address, ctypes.c_ubyte(1), ctypes.c_size_t(4096))
    value = (ctypes.c_ubyte * 1)()
    cuda("cuMemcpyDtoH_v2", value, address, ctypes.c_size_t(1))
    return int(value[0])


def with_torch() -> int:
    """A one, from the GPU."""
    import torch

    return int(torch.ones(1).cuda().item())


def main() -> int:
    """Measures what the argument names."""
    from gpu import driver_calls  # noqa: F401  its import is not CUDA's cost

    what = {"driver": with_driver, "torch": with_torch}[sys.argv[1]]
    if sys.argv[1] == "torch":
        import torch  # noqa: F401
    before = memory.of_process(os.getpid())
    started = time.perf_counter()
    value = what()
    taken = time.perf_counter() - started
    after = memory.of_process(os.getpid())
    if value != 1:
        print(f"The first result is {value}, not 1", file=sys.stderr)
        return 1
    print(
        json.dumps({"pid": os.getpid(), "first_ms": taken * 1e3, "before": before, "after": after}),
        flush=True,
    )
    sys.stdin.read()  # stays until it is let go, so that its worker can be looked at
    return 0


if __name__ == "__main__":
    sys.exit(main())
