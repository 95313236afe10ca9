// Cooperative launches: blocks of one grid wait for each other.
#include <cooperative_groups.h>

#include <cmath>

#include "check.cuh"

namespace cg = cooperative_groups;

// Each step needs all blocks' results of the step before.
__global__ void diffuse(float* a, float* b, int n, int steps) {
  cg::grid_group grid = cg::this_grid();
  for (int step = 0; step < steps; step++) {
    for (int i = grid.thread_rank(); i < n; i += grid.size()) {
      b[i] = 0.25f * a[(i + n - 1) % n] + 0.5f * a[i] + 0.25f * a[(i + 1) % n];
    }
    grid.sync();
    float* swap = a;
    a = b;
    b = swap;
  }
}

__global__ void tiles(int* out) {
  cg::thread_block block = cg::this_thread_block();
  auto tile = cg::tiled_partition<8>(block);
  int value = block.thread_rank();
  for (int offset = tile.size() / 2; offset > 0; offset /= 2) value += tile.shfl_down(value, offset);
  if (tile.thread_rank() == 0) out[blockIdx.x * (blockDim.x / 8) + tile.meta_group_rank()] = value;
}

int main() {
  int device = 0, cooperative = 0, processors = 0, blocks = 0;
  CHECK(cudaGetDevice(&device));
  CHECK(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device));
  CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  EXPECT(cooperative == 1);
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, diffuse, 256, 0));
  EXPECT(blocks > 0);

  int n = 100'000, steps = 50;
  std::vector<float> host(n);
  for (int i = 0; i < n; i++) host[i] = static_cast<float>(i % 17);
  float *a = on_device(host), *b = device_array<float>(n);
  void* arguments[] = {&a, &b, &n, &steps};
  const int grid = processors < 32 ? processors : 32;
  CHECK(cudaLaunchCooperativeKernel(reinterpret_cast<void*>(diffuse), grid, 256, arguments, 0, 0));
  const std::vector<float> result = from_device(a, n);
  std::vector<float> other(n);
  for (int step = 0; step < steps; step++) {
    for (int i = 0; i < n; i++)
      other[i] = 0.25f * host[(i + n - 1) % n] + 0.5f * host[i] + 0.25f * host[(i + 1) % n];
    host.swap(other);
  }
  for (int i = 0; i < n; i++) EXPECT(std::abs(result[i] - host[i]) < 1e-4f);
  print_sum("diffused", result);
  pass("a grid that waits for itself");

  const long long too_many = static_cast<long long>(processors) * blocks + 1;
  CHECK_ERROR(cudaErrorCooperativeLaunchTooLarge,
              cudaLaunchCooperativeKernel(reinterpret_cast<void*>(diffuse), static_cast<unsigned>(too_many),
                                          256, arguments, 0, 0));
  EXPECT(cudaGetLastError() == cudaErrorCooperativeLaunchTooLarge);
  CHECK(cudaDeviceSynchronize());
  pass("a grid that does not fit is refused");

  int* sums = device_array<int>(64);
  tiles<<<4, 128>>>(sums);
  std::vector<int> tile_sums = from_device(sums, 64);
  for (int i = 0; i < 64; i++) EXPECT(tile_sums[i] == 8 * (i % 16 * 8) + 28);
  pass("tiles of a block");
  CHECK(cudaFree(a));
  CHECK(cudaFree(b));
  CHECK(cudaFree(sums));
}
