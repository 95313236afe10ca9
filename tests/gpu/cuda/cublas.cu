// cuBLAS: products in several types and layouts, on a stream, batched, with scalars on host and device.
// libraries: cublas
#include <cublas_v2.h>
#include <cuda_fp16.h>

#include <cmath>

#include "check.cuh"

#define BLAS(call)                                                   \
  do {                                                               \
    const cublasStatus_t blas_ = (call);                             \
    if (blas_ != CUBLAS_STATUS_SUCCESS) {                            \
      std::printf("FAIL line %d: %s: %d\n", __LINE__, #call, blas_); \
      std::exit(1);                                                  \
    }                                                                \
  } while (false)

int main() {
  const int n = 200;
  std::vector<float> a(n * n), b(n * n);
  for (int i = 0; i < n * n; i++) {
    a[i] = static_cast<float>(i % 11) - 5;
    b[i] = static_cast<float>(i % 13) - 6;
  }
  float *x = on_device(a), *y = on_device(b), *z = device_array<float>(n * n);
  cublasHandle_t handle;
  BLAS(cublasCreate(&handle));
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  BLAS(cublasSetStream(handle, stream));
  BLAS(cublasSetMathMode(handle, CUBLAS_PEDANTIC_MATH));
  const float one = 1, zero = 0;
  BLAS(cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_T, n, n, n, &one, x, n, y, n, &zero, z, n));
  CHECK(cudaStreamSynchronize(stream));
  std::vector<float> c = from_device(z, n * n);
  for (int column = 0; column < n; column++) {
    for (int row = 0; row < n; row++) {
      float sum = 0;
      for (int k = 0; k < n; k++) sum += a[k * n + row] * b[k * n + column];
      EXPECT(c[column * n + row] == sum);  // integers: exact in any order
    }
  }
  print_sum("fp32", c);
  pass("fp32 product");

  std::vector<half> h(n * n), g(n * n);
  for (int i = 0; i < n * n; i++) {
    h[i] = __float2half(std::sin(static_cast<float>(i)));
    g[i] = __float2half(std::cos(static_cast<float>(i)));
  }
  half *p = on_device(h), *q = on_device(g), *r = device_array<half>(n * n);
  BLAS(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH));
  BLAS(cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &one, p, CUDA_R_16F, n, q, CUDA_R_16F, n,
                    &zero, r, CUDA_R_16F, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  CHECK(cudaStreamSynchronize(stream));
  print_sum("fp16", from_device(r, n * n));
  pass("fp16 product");

  float dot = 0, norm = 0;
  BLAS(cublasSdot(handle, n * n, x, 1, y, 1, &dot));
  BLAS(cublasSnrm2(handle, n * n, x, 1, &norm));
  std::printf("dot %a norm %a\n", dot, norm);
  float* on = on_device(std::vector<float>{3.0f, 0.0f});
  BLAS(cublasSetPointerMode(handle, CUBLAS_POINTER_MODE_DEVICE));
  BLAS(cublasSscal(handle, n, on, x, 1));
  BLAS(cublasSasum(handle, n, x, 1, on + 1));
  CHECK(cudaStreamSynchronize(stream));
  float expected = 0;
  for (int i = 0; i < n; i++) expected += 3 * std::abs(a[i]);
  EXPECT(from_device(on, 2)[1] == expected);
  BLAS(cublasSetPointerMode(handle, CUBLAS_POINTER_MODE_HOST));
  pass("scalars on the host and on the device");

  BLAS(cublasSgemmStridedBatched(handle, CUBLAS_OP_N, CUBLAS_OP_N, 20, 20, 20, &one, y, 20, 400, y, 20, 400,
                                 &zero, z, 20, 400, 100));
  CHECK(cudaStreamSynchronize(stream));
  c = from_device(z, 40'000);
  float sum = 0;
  for (int k = 0; k < 20; k++) sum += b[99 * 400 + k * 20] * b[99 * 400 + k];
  EXPECT(c[99 * 400] == sum);
  print_sum("batched", c);
  pass("a hundred small products");
  BLAS(cublasDestroy(handle));
  CHECK(cudaStreamDestroy(stream));
}
