// The occupancy functions, by the allocation rules of compute capability 7.5.
#include "occupancy.hpp"

#include <algorithm>

#include "device.hpp"
#include "entry.hpp"
#include "function.hpp"

namespace tfusion::software::driver {

namespace {

constexpr std::size_t kSharedGranule = 256;  // bytes per block
constexpr unsigned kRegisterGranule = 256;   // registers per warp
constexpr unsigned kWarpsPerScheduler = 4;   // a block's warps are given out in fours

std::size_t round_up(std::size_t value, std::size_t granule) {
  return (value + granule - 1) / granule * granule;
}

std::size_t shared_bytes(const Function& function, std::size_t dynamic_bytes) {
  return round_up(function.info.static_shared_bytes + dynamic_bytes, kSharedGranule);
}

// The block size with the most resident threads, the largest of equals, and the grid that fills the GPU with
// it.
CUresult potential_block_size(int* grid, int* block, CUfunction handle, CUoccupancyB2DSize shared_of_block,
                              std::size_t dynamic_bytes, int limit) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(grid != nullptr && block != nullptr && limit >= 0);
    const auto function = function_of(context, handle).function;
    unsigned most = std::min(function->info.max_threads_per_block, kMaxThreadsPerBlock);
    if (limit != 0) most = std::min(most, static_cast<unsigned>(limit));
    unsigned best_threads = 0;
    unsigned best_blocks = 0;
    for (unsigned threads = most; threads != 0;) {
      const std::size_t dynamic =
          shared_of_block != nullptr ? shared_of_block(static_cast<int>(threads)) : dynamic_bytes;
      const unsigned blocks = max_active_blocks(*function, threads, dynamic);
      if (blocks * threads > best_blocks * best_threads) {
        best_blocks = blocks;
        best_threads = threads;
      }
      if (best_blocks * best_threads == kMaxThreadsPerMultiprocessor) break;
      // Whole warps below the limit.
      threads =
          threads % kWarpSize != 0 ? threads - threads % kWarpSize : threads - std::min(threads, kWarpSize);
    }
    *block = static_cast<int>(best_threads);
    *grid = static_cast<int>(best_blocks * multiprocessor_count());
  });
}

CUresult active_blocks(int* blocks, CUfunction handle, int block_size, std::size_t dynamic_bytes) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(blocks != nullptr && block_size > 0);
    *blocks = static_cast<int>(max_active_blocks(*function_of(context, handle).function,
                                                 static_cast<unsigned>(block_size), dynamic_bytes));
  });
}

}  // namespace

unsigned max_active_blocks(const Function& function, unsigned threads, std::size_t dynamic_shared_bytes) {
  const ptx::KernelInfo& info = function.info;
  if (threads > kMaxThreadsPerBlock || threads > info.max_threads_per_block) return 0;
  if (dynamic_shared_bytes > static_cast<std::size_t>(function.settings->max_dynamic_shared_bytes.load()))
    return 0;
  const unsigned warps = (threads + kWarpSize - 1) / kWarpSize;
  unsigned blocks = std::min(kMaxBlocksPerMultiprocessor, kMaxThreadsPerMultiprocessor / (warps * kWarpSize));
  if (const std::size_t shared = shared_bytes(function, dynamic_shared_bytes); shared != 0) {
    blocks = std::min(blocks, static_cast<unsigned>(kSharedPerMultiprocessor / shared));
  }
  if (info.registers != 0) {
    const std::size_t per_warp = round_up(std::size_t{info.registers} * kWarpSize, kRegisterGranule);
    const std::size_t per_block = per_warp * round_up(warps, kWarpsPerScheduler);
    blocks = std::min(blocks, static_cast<unsigned>(kRegistersPerMultiprocessor / per_block));
  }
  return blocks;
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* numBlocks, CUfunction func, int blockSize,
                                                     size_t dynamicSMemSize) {
  return active_blocks(numBlocks, func, blockSize, dynamicSMemSize);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* numBlocks, CUfunction func, int blockSize,
                                                              size_t dynamicSMemSize, unsigned int flags) {
  if ((flags & ~static_cast<unsigned>(CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)) != 0)
    return CUDA_ERROR_INVALID_VALUE;
  return active_blocks(numBlocks, func, blockSize, dynamicSMemSize);
}

CUresult cuOccupancyMaxPotentialBlockSize(int* minGridSize, int* blockSize, CUfunction func,
                                          CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                          size_t dynamicSMemSize, int blockSizeLimit) {
  return potential_block_size(minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize,
                              blockSizeLimit);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* minGridSize, int* blockSize, CUfunction func,
                                                   CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                   size_t dynamicSMemSize, int blockSizeLimit,
                                                   unsigned int flags) {
  if ((flags & ~static_cast<unsigned>(CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)) != 0)
    return CUDA_ERROR_INVALID_VALUE;
  return potential_block_size(minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize,
                              blockSizeLimit);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* dynamicSmemSize, CUfunction func, int numBlocks,
                                                 int blockSize) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(dynamicSmemSize != nullptr && numBlocks > 0 && blockSize > 0);
    const auto function = function_of(context, func).function;
    // Without shared memory that many blocks must fit.
    require(static_cast<unsigned>(numBlocks) <=
            max_active_blocks(*function, static_cast<unsigned>(blockSize), 0));
    const std::size_t each =
        kSharedPerMultiprocessor / static_cast<unsigned>(numBlocks) / kSharedGranule * kSharedGranule;
    const std::size_t room = std::min(each, kSharedPerBlockOptIn);
    const std::size_t fixed = function->info.static_shared_bytes;
    *dynamicSmemSize = room > fixed ? room - fixed : 0;
  });
}

CUresult cuOccupancyMaxActiveClusters(int* numClusters, CUfunction func, const CUlaunchConfig* config) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(numClusters != nullptr && config != nullptr);
    function_of(context, func);
    throw Failure(CUDA_ERROR_NOT_SUPPORTED);  // clusters came with compute capability 9.0
  });
}
