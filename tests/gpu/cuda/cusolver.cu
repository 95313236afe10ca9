// cuSOLVER: a system solved by LU, a Cholesky factor, eigenvalues, with their workspaces.
// libraries: cusolver cublas cusparse
#include <cusolverDn.h>

#include <cmath>

#include "check.cuh"

#define SOLVE(call)                                                   \
  do {                                                                \
    const cusolverStatus_t solve_ = (call);                           \
    if (solve_ != CUSOLVER_STATUS_SUCCESS) {                          \
      std::printf("FAIL line %d: %s: %d\n", __LINE__, #call, solve_); \
      std::exit(1);                                                   \
    }                                                                 \
  } while (false)

int main() {
  const int n = 120;
  // Symmetric and, by its heavy diagonal, positive definite.
  std::vector<double> a(n * n), truth(n), right(n, 0);
  for (int row = 0; row < n; row++) {
    truth[row] = std::sin(static_cast<double>(row));
    for (int column = 0; column < n; column++) {
      a[column * n + row] = 1.0 / (1 + std::abs(row - column)) + (row == column ? 10 : 0);
    }
  }
  for (int row = 0; row < n; row++) {
    for (int column = 0; column < n; column++) right[row] += a[column * n + row] * truth[column];
  }
  cusolverDnHandle_t handle;
  SOLVE(cusolverDnCreate(&handle));
  double *matrix = on_device(a), *vector = on_device(right);
  int *pivots = device_array<int>(n), *info = device_array<int>(1), size = 0;

  SOLVE(cusolverDnDgetrf_bufferSize(handle, n, n, matrix, n, &size));
  double* work = device_array<double>(size);
  SOLVE(cusolverDnDgetrf(handle, n, n, matrix, n, work, pivots, info));
  SOLVE(cusolverDnDgetrs(handle, CUBLAS_OP_N, n, 1, matrix, n, pivots, vector, n, info));
  CHECK(cudaDeviceSynchronize());
  EXPECT(from_device(info, 1)[0] == 0);
  std::vector<double> solution = from_device(vector, n);
  for (int i = 0; i < n; i++) EXPECT(std::abs(solution[i] - truth[i]) < 1e-10);
  print_sum("solution", solution);
  CHECK(cudaFree(work));
  pass("a system solved");

  CHECK(cudaMemcpy(matrix, a.data(), n * n * sizeof(double), cudaMemcpyHostToDevice));
  SOLVE(cusolverDnDpotrf_bufferSize(handle, CUBLAS_FILL_MODE_LOWER, n, matrix, n, &size));
  work = device_array<double>(size);
  SOLVE(cusolverDnDpotrf(handle, CUBLAS_FILL_MODE_LOWER, n, matrix, n, work, size, info));
  CHECK(cudaDeviceSynchronize());
  EXPECT(from_device(info, 1)[0] == 0);
  const std::vector<double> factor = from_device(matrix, n * n);
  EXPECT(std::abs(factor[0] * factor[0] - a[0]) < 1e-12);
  print_sum("factor", factor);
  CHECK(cudaFree(work));
  pass("a Cholesky factor");

  CHECK(cudaMemcpy(matrix, a.data(), n * n * sizeof(double), cudaMemcpyHostToDevice));
  double* values = device_array<double>(n);
  SOLVE(cusolverDnDsyevd_bufferSize(handle, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_LOWER, n, matrix, n,
                                    values, &size));
  work = device_array<double>(size);
  SOLVE(cusolverDnDsyevd(handle, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_LOWER, n, matrix, n, values, work,
                         size, info));
  CHECK(cudaDeviceSynchronize());
  EXPECT(from_device(info, 1)[0] == 0);
  const std::vector<double> eigenvalues = from_device(values, n);
  double trace = 0;
  for (double value : eigenvalues) trace += value;
  EXPECT(std::abs(trace - 11.0 * n) < 1e-8);
  print_sum("eigenvalues", eigenvalues);
  pass("eigenvalues");
  CHECK(cudaFree(work));
  SOLVE(cusolverDnDestroy(handle));
}
