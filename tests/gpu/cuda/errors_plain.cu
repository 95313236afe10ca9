// Errors that pass: the last error, looking at it and taking it, and work that goes on afterwards.
#include <thread>

#include "check.cuh"

__global__ void fine(int* x) {
  x[threadIdx.x] = threadIdx.x;
}

int main() {
  int* x = device_array<int>(1024);
  fine<<<1, 2048>>>(x);
  EXPECT(cudaPeekAtLastError() == cudaErrorInvalidValue);
  EXPECT(cudaPeekAtLastError() == cudaErrorInvalidValue);
  std::thread([] { EXPECT(cudaPeekAtLastError() == cudaSuccess); }).join();
  EXPECT(cudaGetLastError() == cudaErrorInvalidValue);
  EXPECT(cudaGetLastError() == cudaSuccess);
  pass("the last error is each thread's own, and taken once");

  CHECK_ERROR(cudaErrorInvalidValue, cudaMemcpy(x, nullptr, 16, cudaMemcpyHostToDevice));
  CHECK(cudaDeviceSynchronize());  // a success does not take it
  EXPECT(cudaGetLastError() == cudaErrorInvalidValue);
  void* much = nullptr;
  CHECK_ERROR(cudaErrorMemoryAllocation, cudaMalloc(&much, std::size_t{1} << 46));
  EXPECT(much == nullptr);
  EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
  int local = 0;
  CHECK_ERROR(cudaErrorInvalidValue, cudaFree(&local));
  EXPECT(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr));
  int* twice = device_array<int>(4);
  CHECK(cudaFree(twice));
  CHECK_ERROR(cudaErrorInvalidValue, cudaFree(twice));
  EXPECT(cudaGetLastError() == cudaErrorInvalidValue);
  pass("wrong pointers and too much memory");

  fine<<<1, 1024>>>(x);
  EXPECT(from_device(x, 1024)[1023] == 1023);
  pass("work goes on");

  for (cudaError_t error :
       {cudaSuccess, cudaErrorInvalidValue, cudaErrorMemoryAllocation, cudaErrorNotSupported,
        cudaErrorNoDevice, cudaErrorIllegalAddress, cudaErrorLaunchFailure}) {
    std::printf("%d %s: %s\n", error, cudaGetErrorName(error), cudaGetErrorString(error));
  }
  CHECK(cudaFree(x));
}
