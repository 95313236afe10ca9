// Pinned host memory that kernels read and write in place, and pageable memory that is pinned afterwards.
#include "check.cuh"

__global__ void square(const int* in, int* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = in[i] * in[i];
}

__global__ void count_up(volatile int* counter, int times) {
  for (int i = 0; i < times; i++) *counter = *counter + 1;
  __threadfence_system();
}

int main() {
  const int n = 100'000;
  int *in, *out, *in_device, *out_device;
  CHECK(cudaHostAlloc(&in, n * sizeof(int), cudaHostAllocMapped));
  CHECK(cudaHostAlloc(&out, n * sizeof(int), cudaHostAllocMapped | cudaHostAllocPortable));
  CHECK(cudaHostGetDevicePointer(&in_device, in, 0));
  CHECK(cudaHostGetDevicePointer(&out_device, out, 0));
  for (int i = 0; i < n; i++) in[i] = i % 1000;
  square<<<(n + 255) / 256, 256>>>(in_device, out_device, n);
  CHECK(cudaDeviceSynchronize());
  for (int i = 0; i < n; i++) EXPECT(out[i] == (i % 1000) * (i % 1000));
  // Nothing but the kernel carries the change.
  in[5] = 30'000;
  square<<<(n + 255) / 256, 256>>>(in_device, out_device, n);
  CHECK(cudaDeviceSynchronize());
  EXPECT(out[5] == 900'000'000);
  pass("zero copy");

  volatile int* counter;
  int* counter_device;
  CHECK(cudaMallocHost(const_cast<int**>(&counter), sizeof(int)));
  CHECK(cudaHostGetDevicePointer(&counter_device, const_cast<int*>(counter), 0));
  *counter = 41;
  count_up<<<1, 1>>>(counter_device, 1);
  CHECK(cudaStreamSynchronize(0));
  EXPECT(*counter == 42);
  pass("a counter in host memory");

  unsigned flags = 0;
  CHECK(cudaHostGetFlags(&flags, out));
  EXPECT((flags & cudaHostAllocMapped) != 0);
  cudaPointerAttributes attributes;
  CHECK(cudaPointerGetAttributes(&attributes, in + 7));
  EXPECT(attributes.type == cudaMemoryTypeHost && attributes.hostPointer == in + 7);
  CHECK(cudaPointerGetAttributes(&attributes, &flags));
  EXPECT(attributes.type == cudaMemoryTypeUnregistered);
  pass("attributes");

  // Pinned memory is read when the copy runs, not when it is asked for.
  int* device = device_array<int>(n);
  int* back;
  CHECK(cudaMallocHost(&back, n * sizeof(int)));
  for (int i = 0; i < n; i++) in[i] = -i;
  CHECK(cudaMemcpyAsync(device, in, n * sizeof(int), cudaMemcpyHostToDevice, 0));
  CHECK(cudaMemcpyAsync(back, device, n * sizeof(int), cudaMemcpyDeviceToHost, 0));
  CHECK(cudaStreamSynchronize(0));
  for (int i = 0; i < n; i++) EXPECT(back[i] == -i);
  pass("asynchronous copies");

  void* pages = nullptr;
  EXPECT(posix_memalign(&pages, 4096, 1 << 20) == 0);
  std::memset(pages, 1, 1 << 20);
  // Copied only: kernels of a slice cannot reach memory that is registered.
  CHECK(cudaHostRegister(pages, 1 << 20, cudaHostRegisterDefault));
  CHECK(cudaMemcpyAsync(device, pages, 4000, cudaMemcpyHostToDevice, 0));
  square<<<4, 256>>>(device, device, 1000);
  CHECK(cudaMemcpyAsync(pages, device, 4000, cudaMemcpyDeviceToHost, 0));
  CHECK(cudaDeviceSynchronize());
  EXPECT(static_cast<int*>(pages)[999] == static_cast<int>(0x01010101u * 0x01010101u));
  EXPECT(static_cast<int*>(pages)[1000] == 0x01010101);
  CHECK_ERROR(cudaErrorHostMemoryAlreadyRegistered,
              cudaHostRegister(pages, 1 << 20, cudaHostRegisterDefault));
  CHECK(cudaHostUnregister(pages));
  CHECK_ERROR(cudaErrorHostMemoryNotRegistered, cudaHostUnregister(pages));
  pass("registered memory");

  std::free(pages);
  CHECK(cudaFree(device));
  for (int* pointer : {in, out, back, const_cast<int*>(counter)}) CHECK(cudaFreeHost(pointer));
}
