"""The few driver functions that the smallest programs need, through ctypes: no library but `libcuda.so.1` is loaded."""

from __future__ import annotations

import ctypes
from typing import Any

from gpu.registry import Unavailable


class DriverError(Exception):
    """A driver call gave an error."""


class Driver:
    """`libcuda.so.1` with the primary context of the first device current."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise Unavailable(str(error)) from None
        self("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self("cuDeviceGet", ctypes.byref(device), 0)
        self("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self("cuCtxSetCurrent", context)

    def __call__(self, name: str, *arguments: Any) -> None:
        """Calls it; DriverError unless it succeeds."""
        error = getattr(self.library, name)(*arguments)
        if error:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(error, ctypes.byref(text))
            raise DriverError(f"{name}: {(text.value or b'?').decode()} ({error})")

    def allocate(self, count: int) -> ctypes.c_uint64:
        """Device memory of that many bytes."""
        address = ctypes.c_uint64()
        self("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(count))
        return address

    def free(self, address: ctypes.c_uint64) -> None:
        """Of allocate()."""
        self("cuMemFree_v2", address)

    def free_pinned(self, address: ctypes.c_void_p) -> None:
        """Of pinned()."""
        self("cuMemFreeHost", address)

    def pinned(self, count: int) -> ctypes.c_void_p:
        """Pinned host memory of that many bytes."""
        address = ctypes.c_void_p()
        self("cuMemAllocHost_v2", ctypes.byref(address), ctypes.c_size_t(count))
        return address
