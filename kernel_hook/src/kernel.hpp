// What is known of a kernel; see kernel.cpp.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "objects.hpp"

namespace tfusion::hook {

// Asks the worker the first time. The description lives as long as the kernel.
CUresult describe_kernel(std::uint64_t handle, const KernelDescription** out);

}  // namespace tfusion::hook
