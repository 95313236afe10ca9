"""Unmodified CUDA programs of other makers under `tfusion run`: CuPy, Numba, cuda-core and nvcc, on the software GPU.

The software GPU executes PTX, so all here is compiled to PTX: Numba and nvcc make it anyway, CuPy has to be asked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_server.client import ControlClient

pytestmark = pytest.mark.timeout(300)

# CuPy's accelerators are compiled beforehand, without PTX, and CuPy does not look whether they could be started: on a
# GPU that cannot run them their results are garbage.

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(software_daemon: ControlClient, tmp_path: Path) -> Run:
    """Runs a program under a slice of 256 MiB and fails the test unless it exits 0."""

    def run_under_slice(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        tfusion = [sys.executable, "-m", "gpu_server.cli", "run", "--server", str(software_daemon.socket)]
        done = subprocess.run(
            [*tfusion, "--vram", "256MiB", "--", *map(str, command)],
            env={
                **os.environ,
                "HOME": str(tmp_path),
                "CUPY_CACHE_DIR": str(tmp_path / "cupy"),
                **environment,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done

    return run_under_slice


@pytest.fixture
def python(run: Run, tmp_path: Path) -> Run:
    """Runs a Python program given as text."""

    def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "program.py"
        file.write_text(program)
        return run(sys.executable, file, **environment)

    return run_python


def test_cupy_elementwise_reduction_and_raw_kernel(python: Run) -> None:
    pytest.importorskip("cupy")
    python(
        """
import cupy as cp
import numpy as np

rng = np.random.default_rng(0)
a, b = rng.standard_normal(10_000, np.float32), rng.standard_normal(10_000, np.float32)
x, y = cp.asarray(a), cp.asarray(b)
np.testing.assert_allclose(cp.asnumpy(2 * x + y), 2 * a + b, rtol=1e-6)
np.testing.assert_allclose(cp.asnumpy(cp.exp(x) / (1 + y * y)), np.exp(a) / (1 + b * b), rtol=1e-5)
np.testing.assert_allclose(float(x.sum()), a.sum(), rtol=1e-3, atol=1e-2)
assert int(cp.argmax(x)) == int(a.argmax())
np.testing.assert_array_equal(cp.asnumpy(x.reshape(100, 100).T.copy()), a.reshape(100, 100).T)

@cp.fuse()
def blend(p, q):
    return p * 0.25 + q * 0.75

np.testing.assert_allclose(cp.asnumpy(blend(x, y)), a * 0.25 + b * 0.75, rtol=1e-5)

raw = cp.RawKernel(r'''
extern "C" __global__ void twice(const float* in, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = 2.0f * in[i];
}
''', "twice")
out = cp.zeros_like(x)
raw((40,), (256,), (x, out, np.int32(10_000)))
np.testing.assert_array_equal(cp.asnumpy(out), 2 * a)
assert cp.cuda.runtime.getDeviceCount() == 1
""",
    )


def test_cupy_textures_and_surfaces(python: Run) -> None:
    pytest.importorskip("cupy")
    python(
        """
import cupy as cp
import numpy as np
from cupy.cuda import runtime, texture

kernels = cp.RawModule(code=r'''
extern "C" __global__ void sample(cudaTextureObject_t t, float* out, int w, int h) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < w && y < h) out[y * w + x] = tex2D<float>(t, x + 0.5f, y + 0.5f);
}
extern "C" __global__ void twice(cudaSurfaceObject_t s, int w, int h) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < w && y < h) surf2Dwrite(2 * surf2Dread<float>(s, x * 4, y), s, x * 4, y);
}
''')
w, h, shape = 70, 33, ((5, 3), (16, 16))
image = np.random.default_rng(0).random((h, w), np.float32)
single = texture.ChannelFormatDescriptor(32, 0, 0, 0, runtime.cudaChannelFormatKindFloat)
clamp = texture.TextureDescriptor((runtime.cudaAddressModeClamp,) * 2)
array = texture.CUDAarray(single, w, h, flags=runtime.cudaArraySurfaceLoadStore)
resource = texture.ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=array)
sampler, surface = texture.TextureObject(resource, clamp), texture.SurfaceObject(resource)
out, host = cp.zeros((h, w), cp.float32), np.zeros_like(image)
array.copy_from(image)
kernels.get_function("sample")(*shape, (sampler, out, w, h))
np.testing.assert_array_equal(out.get(), image)
kernels.get_function("twice")(*shape, (surface, w, h))
array.copy_to(host)
np.testing.assert_array_equal(host, 2 * image)
array.copy_from(cp.asarray(image) + 1)
kernels.get_function("sample")(*shape, (sampler, out, w, h))
np.testing.assert_array_equal(out.get(), image + 1)

volume = np.random.default_rng(1).random((5, h, w), np.float32)
solid = texture.CUDAarray(single, w, h, 5)
solid.copy_from(volume)
back = cp.zeros_like(volume)
solid.copy_to(back)
np.testing.assert_array_equal(back.get(), volume)
""",
    )


def test_cupy_sees_the_slices_memory_and_is_told_when_it_is_full(python: Run) -> None:
    pytest.importorskip("cupy")
    python(
        """
import cupy as cp

free, total = cp.cuda.runtime.memGetInfo()
assert total == 256 * 2**20, total
assert free <= total
try:
    cp.zeros(300 * 2**20, cp.uint8)
except cp.cuda.memory.OutOfMemoryError:
    pass
else:
    raise SystemExit("300 MiB were allocated in a slice of 256 MiB")
# What does fit still works afterwards.
assert int(cp.ones(1000, cp.int32).sum()) == 1000
""",
    )


def test_numba_kernel_shared_memory_and_atomics(python: Run) -> None:
    pytest.importorskip("numba_cuda")
    python(
        """
import numpy as np
from numba import cuda, float32

@cuda.jit
def saxpy(a, x, y):
    i = cuda.grid(1)
    if i < y.size:
        y[i] += a * x[i]

@cuda.jit
def block_sums(x, sums):
    partial = cuda.shared.array(128, float32)
    i = cuda.grid(1)
    partial[cuda.threadIdx.x] = x[i] if i < x.size else 0.0
    cuda.syncthreads()
    half = 64
    while half > 0:
        if cuda.threadIdx.x < half:
            partial[cuda.threadIdx.x] += partial[cuda.threadIdx.x + half]
        cuda.syncthreads()
        half //= 2
    if cuda.threadIdx.x == 0:
        sums[cuda.blockIdx.x] = partial[0]

@cuda.jit
def histogram(values, counts):
    i = cuda.grid(1)
    if i < values.size:
        cuda.atomic.add(counts, values[i], 1)

rng = np.random.default_rng(1)
x, y = rng.random(5000, np.float32), rng.random(5000, np.float32)
result = y.copy()
saxpy[40, 128](np.float32(2), x, result)
np.testing.assert_allclose(result, 2 * x + y, rtol=1e-6)

sums = np.zeros(40, np.float32)
block_sums[40, 128](x, sums)
np.testing.assert_allclose(sums.sum(), x.sum(), rtol=1e-4)

values = rng.integers(0, 16, 5000).astype(np.int32)
counts = np.zeros(16, np.int32)
histogram[40, 128](values, counts)
np.testing.assert_array_equal(counts, np.bincount(values, minlength=16))

on_device = cuda.to_device(x)
np.testing.assert_array_equal(on_device.copy_to_host(), x)
cuda.synchronize()
"""
    )


def test_numba_reports_a_kernel_that_needs_too_much_memory(python: Run) -> None:
    pytest.importorskip("numba_cuda")
    python(
        """
import numpy as np
from numba import cuda
from numba.cuda.cudadrv.driver import CudaAPIError

try:
    cuda.device_array(300 * 2**20, np.uint8)
except CudaAPIError as error:
    assert "OUT_OF_MEMORY" in str(error), error
else:
    raise SystemExit("300 MiB were allocated in a slice of 256 MiB")
"""
    )


def test_cuda_core_streams_and_events(python: Run) -> None:
    done = python(
        """
import ctypes

import numpy as np
from cuda.bindings import driver
from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch

device = Device()
device.set_current()
source = r'''
extern "C" __global__ void tag(int* out, int n) { if (threadIdx.x < n) out[threadIdx.x] = 100 + threadIdx.x; }
'''
options = ProgramOptions(std="c++17", arch=f"sm_{device.arch}")
kernel = Program(source, code_type="c++", options=options).compile("ptx").get_kernel("tag")
first, second = device.create_stream(), device.create_stream()
buffer = device.allocate(32, stream=second)
event = first.record()
second.wait(event)
launch(second, LaunchConfig(grid=1, block=4), kernel, buffer, np.int32(3))
second.sync()
device.sync()
values = (ctypes.c_int * 3)()
assert driver.cuMemcpyDtoH(ctypes.addressof(values), int(buffer.handle), 12)[0] == 0
print("done", list(values), flush=True)
"""
    )
    assert done.stdout.splitlines()[-1] == "done [100, 101, 102]"


NVCC_PROGRAM = r"""
#include <cstdio>
#include <vector>

#define CHECK(call)                                                              \
  do {                                                                           \
    cudaError_t error = (call);                                                  \
    if (error != cudaSuccess) {                                                  \
      std::printf("%s: %s\n", #call, cudaGetErrorString(error));                 \
      return 1;                                                                  \
    }                                                                            \
  } while (false)

__constant__ float factor;

__global__ void scale(const float* in, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = factor * in[i];
}

template <typename T>
__global__ void total(const T* in, T* sum, int n) {
  __shared__ T partial[128];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  partial[threadIdx.x] = i < n ? in[i] : T(0);
  for (int half = 64; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
  }
  if (threadIdx.x == 0) atomicAdd(sum, partial[0]);
}

int main() {
  const int n = 10000;
  std::vector<float> host(n);
  for (int i = 0; i < n; i++) host[i] = float(i % 7);
  float *in, *out, *sum;
  CHECK(cudaMalloc(&in, n * sizeof(float)));
  CHECK(cudaMalloc(&out, n * sizeof(float)));
  CHECK(cudaMalloc(&sum, sizeof(float)));
  CHECK(cudaMemset(sum, 0, sizeof(float)));
  CHECK(cudaMemcpy(in, host.data(), n * sizeof(float), cudaMemcpyHostToDevice));
  float three = 3.0f;
  CHECK(cudaMemcpyToSymbol(factor, &three, sizeof three));
  scale<<<(n + 127) / 128, 128>>>(in, out, n);
  CHECK(cudaGetLastError());
  total<float><<<(n + 127) / 128, 128>>>(out, sum, n);
  CHECK(cudaGetLastError());
  float result = 0;
  CHECK(cudaMemcpy(&result, sum, sizeof result, cudaMemcpyDeviceToHost));
  float expected = 0;
  for (float value : host) expected += 3.0f * value;
  std::printf("%.1f %.1f\n", result, expected);
  CHECK(cudaFree(in));
  CHECK(cudaFree(out));
  CHECK(cudaFree(sum));
  return result == expected ? 0 : 2;
}
"""


@pytest.mark.nvcc
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on this machine")
@pytest.mark.parametrize("linkage", ["static", "shared"])
def test_a_program_compiled_by_nvcc(run: Run, tmp_path: Path, linkage: str) -> None:
    """The CUDA runtime linked into the program, and as a library beside it."""
    source, program = tmp_path / "program.cu", tmp_path / "program"
    source.write_text(NVCC_PROGRAM)
    subprocess.run(
        ["nvcc", "-std=c++17", "-cudart", linkage, "-gencode", "arch=compute_75,code=compute_75"]
        + ["-o", str(program), str(source)],
        check=True,
        timeout=240,
    )
    libraries = ":".join(str(path) for path in Path("/usr/local").glob("cuda*/lib64"))
    result, expected = run(program, LD_LIBRARY_PATH=libraries).stdout.split()
    assert result == expected


@pytest.mark.nvcc
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on this machine")
def test_the_same_program_without_a_slice_finds_no_gpu_here(tmp_path: Path) -> None:
    """So the tests above would not pass by some GPU that happens to be in this machine."""
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has an NVIDIA GPU")
    source, program = tmp_path / "program.cu", tmp_path / "program"
    source.write_text(NVCC_PROGRAM)
    subprocess.run(
        ["nvcc", "-std=c++17", "-arch=compute_75", "-o", str(program), str(source)], check=True, timeout=240
    )
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cudaMalloc" in done.stdout
