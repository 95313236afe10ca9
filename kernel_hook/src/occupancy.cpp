// Occupancy questions: asked of the worker once for each kernel and shape, then answered from memory, because
// libraries ask before every launch.
#include <algorithm>
#include <cstring>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "kernel.hpp"
#include "launch_attributes.hpp"
#include "objects.hpp"

namespace tfusion::hook {

namespace {

CUresult blocks_per_multiprocessor(int* blocks, std::uint64_t handle, int block_size,
                                   std::size_t shared_bytes, unsigned flags) {
  if (blocks == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  KernelObject* kernel = kernels().find(handle);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const auto key = std::tuple{block_size, std::uint64_t{shared_bytes}, flags};
  std::lock_guard lock(kernel->mutex);
  if (const auto known = kernel->occupancy.find(key); known != kernel->occupancy.end()) {
    *blocks = known->second;
    return CUDA_SUCCESS;
  }
  wire::OccupancyBlocks command{};
  command.kernel = handle;
  command.block_size = block_size;
  command.shared_bytes = shared_bytes;
  command.flags = flags;
  wire::OccupancyBlocksReply reply{};
  const CUresult result = call(command, &reply);
  if (result != CUDA_SUCCESS) return result;
  *blocks = reply.blocks;
  kernel->occupancy.emplace(key, reply.blocks);
  return CUDA_SUCCESS;
}

// The block size with most threads resident, tried from the largest in steps of a warp; ties go to the larger
// block.
CUresult best_block_size(int* min_grid, int* block_size, std::uint64_t handle,
                         CUoccupancyB2DSize shared_of_block, std::size_t shared_bytes, int limit,
                         unsigned flags) {
  if (min_grid == nullptr || block_size == nullptr || limit < 0) return CUDA_ERROR_INVALID_VALUE;
  const KernelDescription* description = nullptr;
  if (CUresult r = describe_kernel(handle, &description); r != CUDA_SUCCESS) return r;
  const protocol::DeviceFacts& facts = shared.control().facts;
  const int warp = facts.attributes[CU_DEVICE_ATTRIBUTE_WARP_SIZE];
  int most = std::min(facts.attributes[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK],
                      description->attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK]);
  if (limit > 0) most = std::min(most, limit);
  const int resident = facts.attributes[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR];
  int best_threads = 0, best_blocks = 0;
  *block_size = 0;
  for (int rounded = (most + warp - 1) / warp * warp; rounded > 0; rounded -= warp) {
    const int size = std::min(rounded, most);
    int blocks = 0;
    const std::size_t dynamic = shared_of_block != nullptr ? shared_of_block(size) : shared_bytes;
    if (CUresult r = blocks_per_multiprocessor(&blocks, handle, size, dynamic, flags); r != CUDA_SUCCESS)
      return r;
    if (blocks * size > best_threads) {
      best_threads = blocks * size;
      best_blocks = blocks;
      *block_size = size;
    }
    if (best_threads >= resident) break;
  }
  *min_grid = best_blocks * facts.attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT];
  return CUDA_SUCCESS;
}

CUresult clusters(int* out, CUfunction function, const CUlaunchConfig* config, bool potential) {
  if (out == nullptr || config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  if (kernels().find(number(function)) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  LaunchAttributes attributes;
  if (CUresult r = attributes.read(config->attrs, config->numAttrs); r != CUDA_SUCCESS) return r;
  wire::OccupancyClusters command{};
  command.kernel = number(function);
  command.grid[0] = config->gridDimX, command.grid[1] = config->gridDimY, command.grid[2] = config->gridDimZ;
  command.block[0] = config->blockDimX, command.block[1] = config->blockDimY,
  command.block[2] = config->blockDimZ;
  command.shared_bytes = config->sharedMemBytes;
  command.attribute_count = attributes.count;
  command.potential = potential;
  wire::OccupancyClustersReply reply{};
  const CUresult result = call(command, &reply, attributes.entries,
                               attributes.count * static_cast<std::uint32_t>(sizeof(CUlaunchAttribute)));
  if (result == CUDA_SUCCESS) *out = reply.clusters;
  return result;
}

}  // namespace

namespace api {

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* numBlocks, CUfunction func, int blockSize,
                                                     size_t dynamicSMemSize) {
  return blocks_per_multiprocessor(numBlocks, number(func), blockSize, dynamicSMemSize, CU_OCCUPANCY_DEFAULT);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* numBlocks, CUfunction func, int blockSize,
                                                              size_t dynamicSMemSize, unsigned int flags) {
  return blocks_per_multiprocessor(numBlocks, number(func), blockSize, dynamicSMemSize, flags);
}

CUresult cuOccupancyMaxPotentialBlockSize(int* minGridSize, int* blockSize, CUfunction func,
                                          CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                          size_t dynamicSMemSize, int blockSizeLimit) {
  return best_block_size(minGridSize, blockSize, number(func), blockSizeToDynamicSMemSize, dynamicSMemSize,
                         blockSizeLimit, CU_OCCUPANCY_DEFAULT);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* minGridSize, int* blockSize, CUfunction func,
                                                   CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                   size_t dynamicSMemSize, int blockSizeLimit,
                                                   unsigned int flags) {
  return best_block_size(minGridSize, blockSize, number(func), blockSizeToDynamicSMemSize, dynamicSMemSize,
                         blockSizeLimit, flags);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* dynamicSmemSize, CUfunction func, int numBlocks,
                                                 int blockSize) {
  if (dynamicSmemSize == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (kernels().find(number(func)) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  wire::OccupancyShared command{};
  command.kernel = number(func);
  command.blocks = numBlocks;
  command.block_size = blockSize;
  wire::OccupancySharedReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) *dynamicSmemSize = reply.bytes;
  return result;
}

CUresult cuOccupancyMaxPotentialClusterSize(int* clusterSize, CUfunction func, const CUlaunchConfig* config) {
  return clusters(clusterSize, func, config, true);
}

CUresult cuOccupancyMaxActiveClusters(int* numClusters, CUfunction func, const CUlaunchConfig* config) {
  return clusters(numClusters, func, config, false);
}

}  // namespace api
}  // namespace tfusion::hook
