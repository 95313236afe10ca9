// Page-locked host memory: allocated by the driver or registered by the caller. Its device address is its
// host address.
#pragma once

#include "memory_map.hpp"

namespace tfusion::software::driver {

// Ends kernels' access, and frees memory that the driver allocated, after all work submitted before.
// Precondition: taken out of the MemoryMap, no lock held.
void release_host_memory(const Region& region);

}  // namespace tfusion::software::driver
