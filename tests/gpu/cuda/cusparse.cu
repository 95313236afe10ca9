// cuSPARSE: a sparse matrix by a vector and by a dense matrix, and conversion from a dense one.
// libraries: cusparse
#include <cusparse.h>

#include <cmath>

#include "check.cuh"

#define SPARSE(call)                                                   \
  do {                                                                 \
    const cusparseStatus_t sparse_ = (call);                           \
    if (sparse_ != CUSPARSE_STATUS_SUCCESS) {                          \
      std::printf("FAIL line %d: %s: %d\n", __LINE__, #call, sparse_); \
      std::exit(1);                                                    \
    }                                                                  \
  } while (false)

int main() {
  // The second difference in one dimension: three entries a row.
  const int n = 5000, columns = 8;
  std::vector<int> offsets{0}, places;
  std::vector<float> entries;
  for (int row = 0; row < n; row++) {
    for (int column : {row - 1, row, row + 1}) {
      if (column < 0 || column >= n) continue;
      places.push_back(column);
      entries.push_back(column == row ? 2.0f : -1.0f);
    }
    offsets.push_back(static_cast<int>(places.size()));
  }
  std::vector<float> dense(n * columns);
  for (int i = 0; i < n * columns; i++) dense[i] = static_cast<float>(i % 9);
  cusparseHandle_t handle;
  SPARSE(cusparseCreate(&handle));
  int *row_offsets = on_device(offsets), *column_places = on_device(places);
  float *values = on_device(entries), *x = on_device(dense), *y = device_array<float>(n * columns);
  cusparseSpMatDescr_t matrix;
  SPARSE(cusparseCreateCsr(&matrix, n, n, static_cast<std::int64_t>(places.size()), row_offsets,
                           column_places, values, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I,
                           CUSPARSE_INDEX_BASE_ZERO, CUDA_R_32F));
  cusparseDnVecDescr_t in, out;
  SPARSE(cusparseCreateDnVec(&in, n, x, CUDA_R_32F));
  SPARSE(cusparseCreateDnVec(&out, n, y, CUDA_R_32F));
  const float one = 1, zero = 0;
  std::size_t bytes = 0;
  SPARSE(cusparseSpMV_bufferSize(handle, CUSPARSE_OPERATION_NON_TRANSPOSE, &one, matrix, in, &zero, out,
                                 CUDA_R_32F, CUSPARSE_SPMV_CSR_ALG1, &bytes));
  void* buffer = nullptr;
  CHECK(cudaMalloc(&buffer, bytes + 1));
  SPARSE(cusparseSpMV(handle, CUSPARSE_OPERATION_NON_TRANSPOSE, &one, matrix, in, &zero, out, CUDA_R_32F,
                      CUSPARSE_SPMV_CSR_ALG1, buffer));
  CHECK(cudaDeviceSynchronize());
  const std::vector<float> product = from_device(y, n);
  for (int i = 1; i < n - 1; i++) EXPECT(product[i] == 2 * dense[i] - dense[i - 1] - dense[i + 1]);
  print_sum("vector", product);
  CHECK(cudaFree(buffer));
  pass("by a vector");

  cusparseDnMatDescr_t left, right;
  SPARSE(cusparseCreateDnMat(&left, n, columns, n, x, CUDA_R_32F, CUSPARSE_ORDER_COL));
  SPARSE(cusparseCreateDnMat(&right, n, columns, n, y, CUDA_R_32F, CUSPARSE_ORDER_COL));
  SPARSE(cusparseSpMM_bufferSize(handle, CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_NON_TRANSPOSE,
                                 &one, matrix, left, &zero, right, CUDA_R_32F, CUSPARSE_SPMM_CSR_ALG1,
                                 &bytes));
  CHECK(cudaMalloc(&buffer, bytes + 1));
  SPARSE(cusparseSpMM(handle, CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_NON_TRANSPOSE, &one,
                      matrix, left, &zero, right, CUDA_R_32F, CUSPARSE_SPMM_CSR_ALG1, buffer));
  CHECK(cudaDeviceSynchronize());
  const std::vector<float> products = from_device(y, n * columns);
  EXPECT(products[3 * n + 7] == 2 * dense[3 * n + 7] - dense[3 * n + 6] - dense[3 * n + 8]);
  print_sum("matrix", products);
  CHECK(cudaFree(buffer));
  pass("by a dense matrix");
  SPARSE(cusparseDestroySpMat(matrix));
  SPARSE(cusparseDestroyDnVec(in));
  SPARSE(cusparseDestroyDnVec(out));
  SPARSE(cusparseDestroyDnMat(left));
  SPARSE(cusparseDestroyDnMat(right));
  SPARSE(cusparseDestroy(handle));
}
