"""The software GPU's driver for tests: its functions through ctypes, and the structures of cuda.h they need.

The cuda-python bindings would open the system's libcuda; these tests open the library that was built.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SUCCESS = 0
INVALID_VALUE = 1
OUT_OF_MEMORY = 2
NOT_INITIALIZED = 3
INVALID_DEVICE = 101
INVALID_IMAGE = 200
INVALID_CONTEXT = 201
NO_BINARY_FOR_GPU = 209
UNSUPPORTED_LIMIT = 215
INVALID_PTX = 218
UNSUPPORTED_PTX_VERSION = 222
FILE_NOT_FOUND = 301
INVALID_HANDLE = 400
NOT_FOUND = 500
NOT_READY = 600
ILLEGAL_ADDRESS = 700
LAUNCH_OUT_OF_RESOURCES = 701
CONTEXT_IS_DESTROYED = 709
ASSERT = 710
HOST_MEMORY_ALREADY_REGISTERED = 712
HOST_MEMORY_NOT_REGISTERED = 713
MISALIGNED_ADDRESS = 716
LAUNCH_FAILED = 719
COOPERATIVE_LAUNCH_TOO_LARGE = 720
NOT_PERMITTED = 800
NOT_SUPPORTED = 801
INVALID_CLUSTER_SIZE = 912

GRANULARITY = 2 << 20


def host_function(body: Callable[[Any], None]) -> Any:
    """Make a CUhostFn of a Python function."""
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(body)


def stream_callback(body: Callable[[int, int, int], None]) -> Any:
    """Make a CUstreamCallback of a Python function."""
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(body)


def print_function(body: Callable[[Any, int, int], None]) -> Any:
    """Make what tfusionSoftwareSetPrint takes of a Python function."""
    return ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t, ctypes.c_void_p)(body)


# store: writes a value to an address. spin: never ends. fill: one word per thread. Variables and a printing kernel
# have texts of their own in the tests that use them.
PTX = b"""
.version 7.5
.target sm_75
.address_size 64

.visible .global .align 4 .u32 counter = 7;

.visible .entry store(.param .u64 where, .param .u32 what)
{
    .reg .b64 %rd<3>;
    .reg .b32 %r<2>;
    ld.param.u64 %rd1, [where];
    cvta.to.global.u64 %rd2, %rd1;
    ld.param.u32 %r1, [what];
    st.global.u32 [%rd2], %r1;
    ret;
}

.visible .entry spin()
{
$again:
    bra $again;
}
"""

FILL_PTX = b"""
.version 7.5
.target sm_75
.address_size 64
.visible .entry fill(.param .u64 where, .param .u32 add, .param .u32 count)
{
    .reg .pred %p<2>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [where];
    ld.param.u32 %r1, [add];
    ld.param.u32 %r2, [count];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.u32 %r6, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r6, %r2;
    @%p1 bra $done;
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.u32 %rd3, %r6, 4;
    add.s64 %rd4, %rd2, %rd3;
    add.u32 %r7, %r6, %r1;
    st.global.u32 [%rd4], %r7;
$done:
    ret;
}
"""


class CudaError(Exception):
    """A driver function returned something else than CUDA_SUCCESS; `code` is the CUresult."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(f"{function} returned {code}")
        self.code = code


class Location(ctypes.Structure):
    """CUmemLocation."""

    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class AllocationProperties(ctypes.Structure):
    """CUmemAllocationProp."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("handle_types", ctypes.c_int),
        ("location", Location),
        ("win32", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    ]


class AccessDescription(ctypes.Structure):
    """CUmemAccessDesc."""

    _fields_ = [("location", Location), ("flags", ctypes.c_int)]


class Memcpy2D(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = [
        ("src_x", ctypes.c_size_t),
        ("src_y", ctypes.c_size_t),
        ("src_type", ctypes.c_int),
        ("src_host", ctypes.c_void_p),
        ("src_device", ctypes.c_uint64),
        ("src_array", ctypes.c_void_p),
        ("src_pitch", ctypes.c_size_t),
        ("dst_x", ctypes.c_size_t),
        ("dst_y", ctypes.c_size_t),
        ("dst_type", ctypes.c_int),
        ("dst_host", ctypes.c_void_p),
        ("dst_device", ctypes.c_uint64),
        ("dst_array", ctypes.c_void_p),
        ("dst_pitch", ctypes.c_size_t),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
    ]


class Memcpy3D(ctypes.Structure):
    """CUDA_MEMCPY3D."""

    _fields_ = [
        ("src_x", ctypes.c_size_t),
        ("src_y", ctypes.c_size_t),
        ("src_z", ctypes.c_size_t),
        ("src_lod", ctypes.c_size_t),
        ("src_type", ctypes.c_int),
        ("src_host", ctypes.c_void_p),
        ("src_device", ctypes.c_uint64),
        ("src_array", ctypes.c_void_p),
        ("reserved0", ctypes.c_void_p),
        ("src_pitch", ctypes.c_size_t),
        ("src_height", ctypes.c_size_t),
        ("dst_x", ctypes.c_size_t),
        ("dst_y", ctypes.c_size_t),
        ("dst_z", ctypes.c_size_t),
        ("dst_lod", ctypes.c_size_t),
        ("dst_type", ctypes.c_int),
        ("dst_host", ctypes.c_void_p),
        ("dst_device", ctypes.c_uint64),
        ("dst_array", ctypes.c_void_p),
        ("reserved1", ctypes.c_void_p),
        ("dst_pitch", ctypes.c_size_t),
        ("dst_height", ctypes.c_size_t),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("depth", ctypes.c_size_t),
    ]


class LaunchAttribute(ctypes.Structure):
    """CUlaunchAttribute: an id, four bytes of padding, and a 64-byte union."""

    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_char * 4), ("value", ctypes.c_uint32 * 16)]


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(LaunchAttribute)),
        ("attribute_count", ctypes.c_uint),
    ]


DEVICE_MEMORY = AllocationProperties(type=1, location=Location(1, 0))


class Driver:
    """The functions of one libcuda.so.1, called by their exported names."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))

    def result(self, function: str, *arguments: Any) -> int:
        """Call a function and return its CUresult. Integers go as 64 bits."""
        converted = [
            ctypes.c_uint64(each & (1 << 64) - 1) if isinstance(each, int) else each for each in arguments
        ]
        return int(self.library[function](*converted))

    def __call__(self, function: str, *arguments: Any) -> None:
        """Call a function; raise CudaError unless it succeeds."""
        code = self.result(function, *arguments)
        if code != SUCCESS:
            raise CudaError(function, code)

    def get(self, function: str, *arguments: Any, kind: type[Any] = ctypes.c_uint64) -> Any:
        """Call a function whose first parameter is where its one result goes; return that."""
        value = kind()
        self(function, ctypes.byref(value), *arguments)
        return value.value

    # What most tests need.

    def allocate(self, count: int) -> int:
        """Allocate device memory of so many bytes."""
        return int(self.get("cuMemAlloc_v2", count))

    def upload(self, where: int, content: bytes) -> None:
        """Copy bytes to the device."""
        self("cuMemcpyHtoD_v2", where, content, len(content))

    def download(self, where: int, count: int) -> bytes:
        """Copy bytes from the device, after all work of the legacy stream."""
        buffer = ctypes.create_string_buffer(count)
        self("cuMemcpyDtoH_v2", buffer, where, count)
        return buffer.raw

    def load(self, image: bytes | ctypes.Array[ctypes.c_char]) -> int:
        """Load a module."""
        return int(self.get("cuModuleLoadData", image))

    def function(self, module: int, name: str) -> int:
        """Find a kernel in a module."""
        return int(self.get("cuModuleGetFunction", module, name.encode()))

    def launch(
        self,
        function: int,
        *parameters: Any,
        grid: tuple[int, int, int] = (1, 1, 1),
        block: tuple[int, int, int] = (1, 1, 1),
        shared: int = 0,
        stream: int = 0,
    ) -> None:
        """Launch a kernel with parameters given as ctypes values."""
        self("cuLaunchKernel", function, *grid, *block, shared, stream, parameter_array(*parameters), None)

    def memory_info(self) -> tuple[int, int]:
        """Return (free, total) in bytes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def map_memory(self, where: int, size: int) -> None:
        """Map fresh physical memory at a reserved address and allow access; the mapping owns it."""
        handle = self.get("cuMemCreate", size, ctypes.byref(DEVICE_MEMORY), 0)
        self("cuMemMap", where, size, 0, handle, 0)
        self("cuMemRelease", handle)
        self.set_access(where, size)

    def set_access(self, where: int, size: int, flags: int = 3) -> None:
        """Set the device's access to a mapped range; 3 is read and write, 0 none."""
        self("cuMemSetAccess", where, size, ctypes.byref(AccessDescription(Location(1, 0), flags)), 1)

    @contextmanager
    def gate(self, stream: int = 0) -> Iterator[Callable[[], None]]:
        """Hold the queue with a host function until the returned function is called, or the block ends."""
        entered, opened = threading.Event(), threading.Event()

        @host_function
        def hold(_: Any) -> None:
            entered.set()
            opened.wait()

        self("cuLaunchHostFunc", stream, hold, None)
        try:
            assert entered.wait(60), "the queue never reached the host function"
            yield opened.set
        finally:
            opened.set()
            self.result("cuCtxSynchronize")


def parameter_array(*parameters: Any) -> Any:
    """Build what cuLaunchKernel takes as kernelParams; it keeps the parameters alive."""
    if not parameters:
        return None
    array = (ctypes.c_void_p * len(parameters))(*[ctypes.addressof(each) for each in parameters])
    array.kept_alive = parameters  # type: ignore[attr-defined]
    return array
