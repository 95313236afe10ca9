// Occupancy, attributes of functions, and limits that launches must keep.
#include "check.cuh"

__global__ void small(int* out) {
  out[threadIdx.x] = threadIdx.x;
}

__global__ void __launch_bounds__(128, 2) bounded(int* out) {
  __shared__ int local[1024];
  local[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = local[127 - threadIdx.x];
}

__global__ void large(int* out, int words) {
  extern __shared__ int local[];
  for (int i = threadIdx.x; i < words; i += blockDim.x) local[i] = i;
  __syncthreads();
  if (threadIdx.x == 0) out[0] = local[words - 1];
}

int main() {
  int device = 0, value = 0;
  CHECK(cudaGetDevice(&device));
  for (cudaDeviceAttr attribute :
       {cudaDevAttrMaxThreadsPerBlock, cudaDevAttrMaxBlockDimX, cudaDevAttrMaxGridDimX,
        cudaDevAttrMaxGridDimY, cudaDevAttrWarpSize, cudaDevAttrMaxSharedMemoryPerBlock,
        cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrMaxRegistersPerBlock,
        cudaDevAttrMultiProcessorCount, cudaDevAttrMaxThreadsPerMultiProcessor,
        cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor, cudaDevAttrTotalConstantMemory,
        cudaDevAttrL2CacheSize, cudaDevAttrUnifiedAddressing, cudaDevAttrConcurrentKernels}) {
    CHECK(cudaDeviceGetAttribute(&value, attribute, device));
    std::printf("attribute %d: %d\n", attribute, value);
  }
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, device));
  EXPECT(properties.warpSize == 32 && properties.major * 10 + properties.minor > 0);
  pass("the device's limits");

  cudaFuncAttributes attributes;
  CHECK(cudaFuncGetAttributes(&attributes, bounded));
  EXPECT(attributes.sharedSizeBytes == 4096 && attributes.maxThreadsPerBlock == 128);
  std::printf("registers %d, constants %zu, local %zu\n", attributes.numRegs, attributes.constSizeBytes,
              attributes.localSizeBytes);
  pass("attributes of a function");

  int blocks = 0, grid = 0, block = 0;
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, bounded, 128, 0));
  std::printf("blocks of 128: %d\n", blocks);
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, small, 1024, 20'000));
  std::printf("blocks of 1024 with 20 kB: %d\n", blocks);
  CHECK(cudaOccupancyMaxPotentialBlockSize(&grid, &block, small, 0, 0));
  std::printf("best block %d, grid %d\n", block, grid);
  std::size_t shared = 0;
  CHECK(cudaOccupancyAvailableDynamicSMemPerBlock(&shared, small, 2, 256));
  std::printf("shared memory for two blocks of 256: %zu\n", shared);
  pass("occupancy");

  int* out = device_array<int>(1024);
  int most = 0;
  CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  CHECK_ERROR(cudaErrorInvalidValue,
              (large<<<1, 32, static_cast<std::size_t>(most)>>>(out, most / 4), cudaGetLastError()));
  CHECK(cudaFuncSetAttribute(large, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
  CHECK(cudaFuncGetAttributes(&attributes, large));
  EXPECT(attributes.maxDynamicSharedSizeBytes == most);
  large<<<1, 32, static_cast<std::size_t>(most)>>>(out, most / 4);
  EXPECT(from_device(out, 1)[0] == most / 4 - 1);
  CHECK_ERROR(cudaErrorInvalidValue,
              cudaFuncSetAttribute(large, cudaFuncAttributeMaxDynamicSharedMemorySize, most + 1));
  (void)cudaGetLastError();
  pass("more shared memory, once allowed");

  bounded<<<1, 128>>>(out);
  EXPECT(from_device(out, 128)[0] == 127);
  bounded<<<1, 256>>>(out);
  std::printf("too many threads for the bounds: %s\n", cudaGetErrorName(cudaGetLastError()));
  bounded<<<1, 128>>>(out);
  CHECK(cudaDeviceSynchronize());
  pass("launch bounds");
  CHECK(cudaFree(out));
}
