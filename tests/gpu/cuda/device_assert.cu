// A failed assertion in a kernel: its text on stderr, and an error that stays.
#include <cassert>

#include "check.cuh"

__global__ void positive(const int* x) {
  assert(x[threadIdx.x] > 0);
}

int main() {
  int* good = on_device(std::vector<int>{1, 2});
  int* bad = on_device(std::vector<int>{1, 0});
  positive<<<1, 2>>>(good);
  CHECK(cudaDeviceSynchronize());
  pass("assertions that hold");
  std::fflush(stdout);
  positive<<<1, 2>>>(bad);
  CHECK_ERROR(cudaErrorAssert, cudaDeviceSynchronize());
  CHECK_ERROR(cudaErrorAssert, cudaMemset(good, 0, 4));
  CHECK_ERROR(cudaErrorAssert, cudaDeviceSynchronize());
  pass("one that does not hold ends the context");
}
