// What is known of a kernel; see kernel.cpp.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "objects.hpp"

namespace tfusion::hook {

// Asks the worker the first time. The description lives as long as the kernel.
CUresult describe_kernel(std::uint64_t handle, const KernelDescription** out);

// The block of parameters that `extra` of a launch describes:
// {CU_LAUNCH_PARAM_BUFFER_POINTER, p, CU_LAUNCH_PARAM_BUFFER_SIZE, &n, CU_LAUNCH_PARAM_END}.
CUresult packed_parameters(void** extra, const void** data, std::size_t* bytes);

}  // namespace tfusion::hook
