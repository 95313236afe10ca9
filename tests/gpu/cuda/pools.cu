// Stream-ordered allocation: cudaMallocAsync, pools of one's own, their attributes, reuse in a stream.
#include "check.cuh"

__global__ void fill(int* x, int value, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = value;
}

int main() {
  int supported = 0, device = 0;
  CHECK(cudaGetDevice(&device));
  CHECK(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device));
  EXPECT(supported == 1);
  const int n = 1 << 18;
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));

  std::vector<int> host(n);
  for (int round = 0; round < 50; round++) {
    int* x;
    CHECK(cudaMallocAsync(&x, n * sizeof(int), stream));
    fill<<<n / 256, 256, 0, stream>>>(x, round, n);
    CHECK(cudaMemcpyAsync(host.data(), x, n * sizeof(int), cudaMemcpyDeviceToHost, stream));
    CHECK(cudaFreeAsync(x, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int value : host) EXPECT(value == round);
  }
  pass("allocations in stream order");

  cudaMemPool_t pool, own;
  CHECK(cudaDeviceGetDefaultMemPool(&pool, device));
  CHECK(cudaDeviceGetMemPool(&own, device));
  EXPECT(pool == own);
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location = {cudaMemLocationTypeDevice, device};
  CHECK(cudaMemPoolCreate(&own, &properties));
  std::uint64_t threshold = 64 << 20, value = 0;
  CHECK(cudaMemPoolSetAttribute(own, cudaMemPoolAttrReleaseThreshold, &threshold));
  CHECK(cudaMemPoolGetAttribute(own, cudaMemPoolAttrReleaseThreshold, &value));
  EXPECT(value == threshold);
  int* x;
  CHECK(cudaMallocFromPoolAsync(&x, 10 << 20, own, stream));
  CHECK(cudaStreamSynchronize(stream));
  CHECK(cudaMemPoolGetAttribute(own, cudaMemPoolAttrUsedMemCurrent, &value));
  EXPECT(value >= 10 << 20);
  fill<<<n / 256, 256, 0, stream>>>(x, 4, n);
  CHECK(cudaFreeAsync(x, stream));
  CHECK(cudaStreamSynchronize(stream));
  CHECK(cudaMemPoolGetAttribute(own, cudaMemPoolAttrUsedMemCurrent, &value));
  EXPECT(value == 0);
  CHECK(cudaMemPoolGetAttribute(own, cudaMemPoolAttrUsedMemHigh, &value));
  EXPECT(value >= 10 << 20);
  CHECK(cudaMemPoolGetAttribute(own, cudaMemPoolAttrReservedMemCurrent, &value));
  EXPECT(value >= 10 << 20);  // kept, below the threshold
  CHECK(cudaMemPoolTrimTo(own, 0));
  CHECK(cudaMemPoolGetAttribute(own, cudaMemPoolAttrReservedMemCurrent, &value));
  EXPECT(value == 0);
  pass("a pool of one's own, and its accounts");

  CHECK(cudaDeviceSetMemPool(device, own));
  CHECK(cudaMallocAsync(&x, 1 << 20, stream));
  CHECK(cudaStreamSynchronize(stream));
  CHECK(cudaMemPoolGetAttribute(own, cudaMemPoolAttrUsedMemCurrent, &value));
  EXPECT(value >= 1 << 20);
  CHECK(cudaDeviceSetMemPool(device, pool));
  cudaMemAccessFlags access;
  cudaMemLocation here{cudaMemLocationTypeDevice, device};
  CHECK(cudaMemPoolGetAccess(&access, own, &here));
  EXPECT(access == cudaMemAccessFlagsProtReadWrite);
  pass("the device's current pool");

  // Freed by the synchronous call, and the other way round.
  CHECK(cudaFree(x));
  CHECK(cudaMalloc(&x, 1 << 20));
  CHECK(cudaFreeAsync(x, stream));
  CHECK(cudaStreamSynchronize(stream));
  pass("both kinds of freeing");

  void* much = nullptr;
  CHECK_ERROR(cudaErrorMemoryAllocation, cudaMallocAsync(&much, std::size_t{1} << 45, stream));
  EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaMallocAsync(&x, 1 << 20, stream));
  fill<<<n / 256, 256, 0, stream>>>(x, 1, n);
  CHECK(cudaFreeAsync(x, stream));
  CHECK(cudaStreamSynchronize(stream));
  pass("too much is refused, and the rest goes on");

  CHECK(cudaMemPoolDestroy(own));
  CHECK(cudaStreamDestroy(stream));
}
