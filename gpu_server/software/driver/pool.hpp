// Stream-ordered allocation, from the one memory pool that the device has.
#pragma once

#include "cuda_api.hpp"

namespace tfusion::software::driver {

CUmemoryPool default_memory_pool();

}  // namespace tfusion::software::driver
