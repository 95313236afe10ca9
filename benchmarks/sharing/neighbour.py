"""Bad neighbours, as parts of load.py: an endless kernel, wild addresses, sessions and allocations in a loop."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from sharing.driver import CudaError, Device


def endless(device: Device) -> dict[str, Any]:
    """Starts a kernel that never ends and waits for it; seconds until the error, and the error."""
    began = time.monotonic()
    try:
        device.launch("endless", (1, 1))
        device.synchronise()
    except CudaError as error:
        return {"began": began, "s": time.monotonic() - began, "error": str(error)}
    return {"began": began, "s": time.monotonic() - began, "error": ""}


def allocations(device: Device, size: int, until: float) -> dict[str, Any]:
    """Takes memory of `size` bytes, writes to it and gives it back, until that moment; how often, and refusals."""
    count, refused, error = 0, 0, ""
    while time.monotonic() < until:
        try:
            address = device.allocate(size)
        except CudaError as refusal:
            refused, error = refused + 1, str(refusal)
            continue
        device.cu("cuMemsetD8_v2", ctypes.c_uint64(address), ctypes.c_ubyte(1), ctypes.c_size_t(size))
        device.free(address)
        count += 1
    return {"count": count, "refused": refused, "error": error}


def processes(kind: str, small: bool, until: float) -> dict[str, Any]:
    """Opens sessions one after the other, each in a process of its own, until that moment.

    `kind`: "open", which only opens, or "illegal", which writes where nothing is. A fork costs less than a start of
    Python, so more sessions come to be; this process has none itself.
    """
    count, unexpected = 0, 0
    while time.monotonic() < until:
        child = os.fork()
        if child == 0:
            os._exit(_session(kind, small))
        _, status = os.waitpid(child, 0)
        count += 1
        unexpected += status != 0
    return {"count": count, "unexpected": unexpected}


def _session(kind: str, small: bool) -> int:
    """0 if everything was as it must be."""
    try:
        device = Device(small)
    except (CudaError, OSError):
        return 1
    if kind == "open":
        return 0
    try:
        device.launch(
            "fill", device.memory_grid, ctypes.c_uint64(0x10), ctypes.c_uint64(1024), ctypes.c_uint32(1)
        )
        device.synchronise()
    except CudaError:
        return 0
    return 2  # it was not noticed
