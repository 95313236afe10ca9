// Kernels that last: one until the host opens a gate, one for some clock ticks.
#pragma once

#include "check.cuh"

__global__ void wait_at(const volatile int* open) {
  while (*open == 0) {
  }
}

__global__ void spin(long long ticks) {
  const long long start = clock64();
  while (clock64() - start < ticks) {
  }
}

// What follows a closed gate in a stream is not done, however slow the host is.
class Gate {
 public:
  explicit Gate(cudaStream_t stream) {
    CHECK(cudaHostAlloc(const_cast<int**>(&open_), sizeof(int), cudaHostAllocMapped));
    *open_ = 0;
    int* on_device = nullptr;
    CHECK(cudaHostGetDevicePointer(&on_device, const_cast<int*>(open_), 0));
    wait_at<<<1, 1, 0, stream>>>(on_device);
    CHECK(cudaGetLastError());
  }
  void open() { *open_ = 1; }

 private:
  volatile int* open_ = nullptr;  // freeing it would wait for the device
};
