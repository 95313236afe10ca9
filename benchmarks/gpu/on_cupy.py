"""CuPy: a mix of its libraries, and a kernel written in CUDA C++."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpu.registry import Unavailable, Work, need, workload


def start() -> Any:
    """cupy, with a device to work on."""
    need("cupy")
    import cupy

    try:
        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise Unavailable(f"CuPy finds no GPU: {error}") from None
    return cupy


def wait() -> None:
    """For all of the device's work."""
    import cupy

    cupy.cuda.Device().synchronize()


@workload("cupy_mix", "CuPy: product, sort, solve, FFT, reduction")
def cupy_mix() -> Work:
    """cuBLAS, cuSOLVER, cuFFT, and kernels that CuPy compiles."""
    cp = start()
    a = cp.random.RandomState(20).rand(800, 800)
    made: list[Any] = []

    def step() -> None:
        product = a @ a
        ordered = cp.sort(a, axis=0)
        solved = cp.linalg.solve(a, a[0])
        spectrum = cp.fft.fft(a)
        waves = cp.exp(-a) * cp.sin(a)
        made[:] = [product, ordered, solved, spectrum, waves]
        float(product.sum())

    def results() -> Iterable[bytes]:
        return (cp.asnumpy(x).tobytes() for x in made)

    return Work(step, wait, results)


@workload("cupy_raw", "CuPy RawKernel: n-body step")
def cupy_raw() -> Work:
    """Two raw kernels a step, on arrays that stay."""
    cp = start()
    bodies = 4096
    pull = cp.RawKernel(
        r"""
        extern "C" __global__ void pull(const float4* place, float4* speed, int n, float dt) {
          __shared__ float4 tile[256];
          int i = blockIdx.x * blockDim.x + threadIdx.x;
          float4 me = i < n ? place[i] : make_float4(0, 0, 0, 0);
          float x = 0, y = 0, z = 0;
          for (int first = 0; first < n; first += 256) {
            int j = first + threadIdx.x;
            tile[threadIdx.x] = j < n ? place[j] : make_float4(0, 0, 0, 0);
            __syncthreads();
            for (int k = 0; k < 256; k++) {
              float dx = tile[k].x - me.x, dy = tile[k].y - me.y, dz = tile[k].z - me.z;
              float inverse = rsqrtf(dx * dx + dy * dy + dz * dz + 1e-3f);
              float force = tile[k].w * inverse * inverse * inverse;
              x += dx * force; y += dy * force; z += dz * force;
            }
            __syncthreads();
          }
          if (i < n) {
            speed[i].x += x * dt; speed[i].y += y * dt; speed[i].z += z * dt;
          }
        }""",
        "pull",
    )
    move = cp.RawKernel(
        r"""
        extern "C" __global__ void move(float4* place, const float4* speed, int n, float dt) {
          int i = blockIdx.x * blockDim.x + threadIdx.x;
          if (i >= n) return;
          place[i].x += speed[i].x * dt; place[i].y += speed[i].y * dt; place[i].z += speed[i].z * dt;
        }""",
        "move",
    )
    import numpy as np

    place = cp.asarray(np.random.default_rng(20).random((bodies, 4), np.float32))
    speed = cp.zeros((bodies, 4), cp.float32)
    count, dt = np.int32(bodies), np.float32(1e-4)

    def step() -> None:
        pull((bodies // 256,), (256,), (place, speed, count, dt))
        move((bodies // 256,), (256,), (place, speed, count, dt))

    return Work(step, wait, lambda: (cp.asnumpy(x).tobytes() for x in (place, speed)))
