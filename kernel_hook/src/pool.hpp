// Memory pools, as the rest of the hook sees them; see pool.cpp.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace tfusion::hook {

// Device memory for cuMemAlloc and its kin. What pools keep without using it is given up before memory is
// out.
CUresult allocate_device(std::uint64_t bytes, std::uint64_t* address);

// Calls ask() and, if memory is out, once more after every pool has given up what it keeps without using it.
template <typename Ask>
CUresult with_unused_pool_memory(Ask&& ask);

// Gives up what pools keep without using it; waits for the context's work. False if that cannot have helped.
bool release_unused_pool_memory();

// The block is about to be freed outside of its pool's order, if it is of one. CUDA_ERROR_INVALID_VALUE if it
// was freed in a stream before: it is the pool's then, not the program's.
CUresult leave_pool(std::uint64_t address);

// The pool that the block at `address` was allocated from; nullptr for none.
CUmemoryPool pool_of_block(std::uint64_t address);

// All work that was published before `mark` is over: in one stream (as it travels), or everywhere.
void pools_after_stream(std::uint64_t stream, std::uint64_t mark);
void pools_after_all(std::uint64_t mark);

// The context was reset.
void forget_pools();

template <typename Ask>
CUresult with_unused_pool_memory(Ask&& ask) {
  const CUresult result = ask();
  if (result != CUDA_ERROR_OUT_OF_MEMORY || !release_unused_pool_memory()) return result;
  return ask();
}

}  // namespace tfusion::hook
