// An illegal address: every later call says so, whatever it is, until the process ends.
#include "check.cuh"

__global__ void wild(int* x) {
  x[1ll << 42] = 1;
}

__global__ void fine(int* x) {
  x[0] = 1;
}

int main() {
  int* x = device_array<int>(1);
  fine<<<1, 1>>>(x);
  CHECK(cudaDeviceSynchronize());
  wild<<<1, 1>>>(x);
  CHECK(cudaPeekAtLastError());  // the launch itself was right
  CHECK_ERROR(cudaErrorIllegalAddress, cudaDeviceSynchronize());
  pass("an illegal address is told when one waits");
  EXPECT(cudaGetLastError() == cudaErrorIllegalAddress);
  fine<<<1, 1>>>(x);
  EXPECT(cudaGetLastError() == cudaErrorIllegalAddress);
  int* y = nullptr;
  CHECK_ERROR(cudaErrorIllegalAddress, cudaMalloc(&y, 16));
  int value = 0;
  CHECK_ERROR(cudaErrorIllegalAddress, cudaMemcpy(&value, x, 4, cudaMemcpyDeviceToHost));
  cudaStream_t stream;
  CHECK_ERROR(cudaErrorIllegalAddress, cudaStreamCreate(&stream));
  CHECK_ERROR(cudaErrorIllegalAddress, cudaDeviceSynchronize());
  EXPECT(cudaGetLastError() == cudaErrorIllegalAddress);
  pass("and stays");
  std::printf("%s: %s\n", cudaGetErrorName(cudaErrorIllegalAddress),
              cudaGetErrorString(cudaErrorIllegalAddress));
}
