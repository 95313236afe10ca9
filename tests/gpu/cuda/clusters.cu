// Thread block clusters and distributed shared memory, compute capability 9.0 and later.
#include <cooperative_groups.h>

#include "check.cuh"

namespace cg = cooperative_groups;

// Every block of a cluster counts its share of the bins; blocks write into each other's shared memory.
__global__ void histogram(const int* values, int n, int* bins, int bins_per_block) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ int mine[];
  cg::cluster_group cluster = cg::this_cluster();
  for (int i = threadIdx.x; i < bins_per_block; i += blockDim.x) mine[i] = 0;
  cluster.sync();
  const int blocks = cluster.num_blocks();
  const int first = (blockIdx.x / blocks) * n;
  for (int i = cluster.thread_rank(); i < n; i += cluster.num_threads()) {
    const int bin = values[first + i];
    atomicAdd(cluster.map_shared_rank(mine, bin / bins_per_block) + bin % bins_per_block, 1);
  }
  cluster.sync();
  int* out = bins + blockIdx.x * bins_per_block;
  for (int i = threadIdx.x; i < bins_per_block; i += blockDim.x) out[i] = mine[i];
#endif
}

__global__ void __cluster_dims__(4, 1, 1) ranks(int* out) {
#if __CUDA_ARCH__ >= 900
  cg::cluster_group cluster = cg::this_cluster();
  if (threadIdx.x == 0) out[blockIdx.x] = 100 * cluster.num_blocks() + cluster.block_rank();
#endif
}

int main() {
  int device = 0, major = 0;
  CHECK(cudaGetDevice(&device));
  CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (major < 9) {
    std::printf("SKIP clusters need compute capability 9.0\n");
    return 0;
  }
  const int blocks = 4, clusters = 6, per_block = 64, n = 10'000;
  std::vector<int> host(clusters * n), expected(clusters * blocks * per_block, 0);
  for (int i = 0; i < clusters * n; i++) {
    host[i] = static_cast<int>((i * 2654435761u) >> 24);
    expected[i / n * blocks * per_block + host[i]]++;
  }
  int* values = on_device(host);
  int* bins = device_array<int>(expected.size());
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks * clusters);
  config.blockDim = dim3(128);
  config.dynamicSmemBytes = per_block * sizeof(int);
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {blocks, 1, 1};
  config.attrs = &attribute;
  config.numAttrs = 1;
  int fit = 0, largest = 0;
  CHECK(cudaOccupancyMaxActiveClusters(&fit, histogram, &config));
  EXPECT(fit > 0);
  CHECK(cudaOccupancyMaxPotentialClusterSize(&largest, histogram, &config));
  std::printf("largest cluster %d\n", largest);
  CHECK(cudaLaunchKernelEx(&config, histogram, static_cast<const int*>(values), n, bins, per_block));
  EXPECT(from_device(bins, expected.size()) == expected);
  pass("blocks write into each other's shared memory");

  int* out = device_array<int>(8);
  ranks<<<8, 32>>>(out);
  const std::vector<int> seen = from_device(out, 8);
  for (int i = 0; i < 8; i++) EXPECT(seen[i] == 400 + i % 4);
  pass("a cluster size that the kernel has of itself");

  attribute.val.clusterDim = {64, 1, 1};
  config.gridDim = dim3(64);
  EXPECT(cudaLaunchKernelEx(&config, histogram, static_cast<const int*>(values), n, bins, per_block) !=
         cudaSuccess);
  (void)cudaGetLastError();
  CHECK(cudaDeviceSynchronize());
  pass("a cluster that is too large is refused");
  CHECK(cudaFree(values));
  CHECK(cudaFree(bins));
  CHECK(cudaFree(out));
}
