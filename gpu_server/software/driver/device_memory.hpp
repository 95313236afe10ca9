// Getting and giving back device memory that the driver itself places: for cuMemAlloc, the stream-ordered
// pool and modules' variables. Every piece ends in a page that nothing may touch, so running over its end is
// found.
#pragma once

#include <cstddef>
#include <cstdint>

#include "memory_map.hpp"

namespace tfusion::software::driver {

class Context;

// Zeroed memory at a page boundary, allowed to kernels unless it is a graph's. Throws
// Failure(CUDA_ERROR_OUT_OF_MEMORY).
std::uint64_t allocate_device_memory(const Context& context, std::size_t bytes, RegionKind kind);

// cuMemFree: takes the allocation that begins here out of the map and releases it. Throws
// CUDA_ERROR_INVALID_VALUE.
void free_device_memory(std::uint64_t address);

// Gives back what allocate_device_memory placed, after all work submitted before. Precondition: taken out of
// the MemoryMap, no lock held. On the queue thread it happens at once.
void release_device_memory(const Region& region);

}  // namespace tfusion::software::driver
