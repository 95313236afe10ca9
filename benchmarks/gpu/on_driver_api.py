"""The driver API itself: small asynchronous calls through cuda-python, and copies of 1 GiB of each kind."""

from __future__ import annotations

import ctypes
import mmap
import os

from gpu.driver_calls import Driver
from gpu.registry import Unavailable, Work, need, workload

# A rehearsal on the software GPU has less memory.
COPIED = int(os.environ.get("TFUSION_BENCH_COPY_BYTES", 1 << 30))


@workload("memset", "cuda-python: asynchronous memset of 1 MiB")
def memset() -> Work:
    """The cheapest call there is, so nothing but the way of a call is seen."""
    need("cuda.bindings.driver")
    from cuda.bindings import driver

    def check(result: tuple[object, ...]) -> object:
        if result[0] != driver.CUresult.CUDA_SUCCESS:
            raise Unavailable(f"cuda-python: {result[0]}")
        return result[1] if len(result) > 1 else None

    check(driver.cuInit(0))
    device = check(driver.cuDeviceGet(0))
    check(driver.cuCtxSetCurrent(check(driver.cuDevicePrimaryCtxRetain(device))))
    address = check(driver.cuMemAlloc(1 << 20))

    def results() -> list[bytes]:
        copy = bytearray(1 << 20)
        check(driver.cuMemcpyDtoH(copy, address, len(copy)))
        return [bytes(copy)]

    return Work(
        lambda: driver.cuMemsetD8Async(address, 7, 1 << 20, 0),
        lambda: check(driver.cuCtxSynchronize()),
        results,
        lambda: check(driver.cuMemFree(address)),
    )


def copies(pinned: bool, up: bool) -> Work:
    """A synchronous copy of COPIED bytes a step. The pages of the host's memory have been touched before."""
    cuda = Driver()
    device = cuda.allocate(COPIED)
    pattern = bytes(range(1, 129)) * 32
    room = ctypes.c_char * COPIED
    if pinned:
        address = cuda.pinned(COPIED)
        host = room.from_address(address.value or 0)
    else:
        host = room.from_buffer(mmap.mmap(-1, COPIED))
        address = ctypes.c_void_p(ctypes.addressof(host))
    for first in range(0, COPIED, len(pattern)):
        ctypes.memmove(ctypes.addressof(host) + first, pattern, len(pattern))
    size = ctypes.c_size_t(COPIED)
    cuda("cuMemcpyHtoD_v2", device, address, size)

    def step() -> None:
        if up:
            cuda("cuMemcpyHtoD_v2", device, address, size)
        else:
            cuda("cuMemcpyDtoH_v2", address, device, size)

    def results() -> list[bytes]:
        back = ctypes.create_string_buffer(1 << 20)
        last = ctypes.c_uint64(device.value + COPIED - len(back))
        cuda("cuMemcpyDtoH_v2", back, last, ctypes.c_size_t(len(back)))
        return [back.raw, ctypes.string_at(host, 1 << 20)]  # which also keeps the host's memory

    def close() -> None:
        cuda.free(device)
        if pinned:
            cuda.free_pinned(address)

    return Work(step, lambda: cuda("cuCtxSynchronize"), results, close)


@workload("copy_up_pageable", "copy of 1 GiB up, pageable", bytes_per_step=COPIED)
def copy_up_pageable() -> Work:
    """Host to device."""
    return copies(pinned=False, up=True)


@workload("copy_up_pinned", "copy of 1 GiB up, pinned", bytes_per_step=COPIED)
def copy_up_pinned() -> Work:
    """Host to device."""
    return copies(pinned=True, up=True)


@workload("copy_down_pageable", "copy of 1 GiB down, pageable", bytes_per_step=COPIED)
def copy_down_pageable() -> Work:
    """Device to host."""
    return copies(pinned=False, up=False)


@workload("copy_down_pinned", "copy of 1 GiB down, pinned", bytes_per_step=COPIED)
def copy_down_pinned() -> Work:
    """Device to host."""
    return copies(pinned=True, up=False)
