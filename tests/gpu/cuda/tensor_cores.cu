// Matrix products of tensor cores, and copies to shared memory that kernels wait for.
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <mma.h>

#include "check.cuh"

using namespace nvcuda;

__global__ void product(const half* a, const half* b, float* c, int n) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  for (int k = 0; k < n; k += 16) {
    wmma::load_matrix_sync(left, a + blockIdx.y * 16 * n + k, n);
    wmma::load_matrix_sync(right, b + k * n + blockIdx.x * 16, n);
    wmma::mma_sync(sum, left, right, sum);
  }
  wmma::store_matrix_sync(c + blockIdx.y * 16 * n + blockIdx.x * 16, sum, n, wmma::mem_row_major);
}

__global__ void through_pipeline(const int4* in, int4* out, int rounds) {
  __shared__ int4 tile[2][128];
  __pipeline_memcpy_async(&tile[0][threadIdx.x], &in[threadIdx.x], sizeof(int4));
  __pipeline_commit();
  for (int i = 0; i < rounds; i++) {
    if (i + 1 < rounds) {
      __pipeline_memcpy_async(&tile[(i + 1) % 2][threadIdx.x], &in[(i + 1) * 128 + threadIdx.x],
                              sizeof(int4));
    }
    __pipeline_commit();
    __pipeline_wait_prior(1);
    __syncthreads();
    int4 value = tile[i % 2][127 - threadIdx.x];
    value.x += i;
    out[i * 128 + threadIdx.x] = value;
    __syncthreads();
  }
}

int main() {
  const int n = 128;
  std::vector<half> a(n * n), b(n * n);
  for (int i = 0; i < n * n; i++) {
    a[i] = __float2half(static_cast<float>(i % 7 - 3));
    b[i] = __float2half(static_cast<float>(i % 5 - 2));
  }
  half *left = on_device(a), *right = on_device(b);
  float* c = device_array<float>(n * n);
  product<<<dim3(n / 16, n / 16), 32>>>(left, right, c, n);
  const std::vector<float> result = from_device(c, n * n);
  for (int row = 0; row < n; row++) {
    for (int column = 0; column < n; column++) {
      float sum = 0;
      for (int k = 0; k < n; k++) sum += ((row * n + k) % 7 - 3) * ((k * n + column) % 5 - 2);
      EXPECT(result[row * n + column] == sum);
    }
  }
  print_sum("product", result);
  pass("tensor cores");

  const int rounds = 20;
  std::vector<int4> in(rounds * 128);
  for (int i = 0; i < rounds * 128; i++) in[i] = {i, 2 * i, 3 * i, 4 * i};
  int4 *from = on_device(in), *to = device_array<int4>(rounds * 128);
  through_pipeline<<<1, 128>>>(from, to, rounds);
  const std::vector<int4> out = from_device(to, rounds * 128);
  for (int i = 0; i < rounds; i++) {
    for (int t = 0; t < 128; t++) {
      const int source = i * 128 + 127 - t;
      EXPECT(out[i * 128 + t].x == source + i && out[i * 128 + t].w == 4 * source);
    }
  }
  pass("asynchronous copies to shared memory");
  CHECK(cudaFree(c));
}
