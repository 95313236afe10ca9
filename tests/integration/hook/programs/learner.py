"""What the programs share: checked driver calls, PTX from CUDA C++, a few kernels."""

from __future__ import annotations

import ctypes
from typing import Any

from cuda.bindings import driver as cu
from cuda.bindings import nvrtc

SUCCESS = cu.CUresult.CUDA_SUCCESS


def ok(result: tuple[Any, ...]) -> Any:
    """The values of a call that must succeed."""
    assert int(result[0]) == 0, result
    return result[1] if len(result) == 2 else result[1:]


def fails(result: tuple[Any, ...], code: str) -> None:
    """A call that must fail with just that error."""
    assert result[0].name == f"CUDA_ERROR_{code}", result


def start() -> Any:
    """cuInit and the primary context, current."""
    ok(cu.cuInit(0))
    context = ok(cu.cuDevicePrimaryCtxRetain(0))
    ok(cu.cuCtxSetCurrent(context))
    return context


def _compiled(source: str, architecture: bytes) -> Any:
    program = ok(nvrtc.nvrtcCreateProgram(source.encode(), b"program.cu", 0, [], []))
    result = nvrtc.nvrtcCompileProgram(program, 1, [b"--gpu-architecture=" + architecture])
    if int(result[0]) != 0:
        log = b" " * ok(nvrtc.nvrtcGetProgramLogSize(program))
        nvrtc.nvrtcGetProgramLog(program, log)
        raise AssertionError(log.decode())
    return program


def compile_ptx(source: str) -> bytes:
    """PTX for compute capability 7.5, NUL-terminated."""
    program = _compiled(source, b"compute_75")
    ptx = b" " * ok(nvrtc.nvrtcGetPTXSize(program))
    ok(nvrtc.nvrtcGetPTX(program, ptx))
    return ptx


def compile_cubin(source: str) -> bytes:
    """Machine code of a real GPU of compute capability 7.5."""
    program = _compiled(source, b"sm_75")
    cubin = b" " * ok(nvrtc.nvrtcGetCUBINSize(program))
    ok(nvrtc.nvrtcGetCUBIN(program, cubin))
    return cubin


KERNELS = r"""
__device__ int counter = 5;
__constant__ float factors[4] = {1, 2, 3, 4};
extern "C" __global__ void add(unsigned* p, unsigned value, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) p[i] += value;
}
extern "C" __global__ void count() { atomicAdd(&counter, 1); }
struct Wide { int a; double b; char c[300]; };
extern "C" __global__ void wide(char first, Wide w, short last, double* out) {
  out[0] = first; out[1] = w.a; out[2] = w.b; out[3] = w.c[299]; out[4] = last;
}
extern "C" __global__ void wild(unsigned* p) { p[1ll << 40] = 1; }
extern "C" __global__ void spin(unsigned* flag) { while (*(volatile unsigned*)flag == 0) {} }
extern "C" __global__ void shared_sum(unsigned* p, int n) {
  extern __shared__ unsigned s[];
  s[threadIdx.x] = threadIdx.x < n ? p[threadIdx.x] : 0;
  __syncthreads();
  for (int k = blockDim.x / 2; k > 0; k /= 2) {
    if (threadIdx.x < k) s[threadIdx.x] += s[threadIdx.x + k];
    __syncthreads();
  }
  if (threadIdx.x == 0) p[0] = s[0];
}
"""


def arguments(*values: Any) -> tuple[Any, Any]:
    """kernelParams from ctypes values; keep both alive until the launch returned."""
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
    return pointers, values


def launch(
    function: Any, grid: int, block: int, *values: Any, stream: Any = 0, shared: int = 0
) -> tuple[Any, ...]:
    """cuLaunchKernel's own answer."""
    pointers, alive = arguments(*values)
    result = cu.cuLaunchKernel(
        function, grid, 1, 1, block, 1, 1, shared, stream, ctypes.addressof(pointers), 0
    )
    del alive
    return result


def u64(value: Any) -> Any:
    """A device pointer as a kernel argument."""
    return ctypes.c_uint64(int(value))


def u32(value: int) -> Any:
    """An unsigned as a kernel argument."""
    return ctypes.c_uint32(value)
