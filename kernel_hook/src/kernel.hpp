// What is known of a kernel; see kernel.cpp.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "objects.hpp"

namespace tfusion::hook {

// Asks the worker the first time. The description lives as long as the kernel.
CUresult describe_kernel(std::uint64_t handle, const KernelDescription** out);

// The parameters that `kernelParams` of a launch points to, into a block of parameter_bytes.
inline void gather_parameters(const KernelDescription& kernel, void** parameters, std::byte* block) {
  for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
    const ParameterInfo& info = kernel.parameters[i];
    std::memcpy(block + info.offset, parameters[i], info.bytes);
  }
}

// The block of parameters that `extra` of a launch describes:
// {CU_LAUNCH_PARAM_BUFFER_POINTER, p, CU_LAUNCH_PARAM_BUFFER_SIZE, &n, CU_LAUNCH_PARAM_END}.
CUresult packed_parameters(void** extra, const void** data, std::size_t* bytes);

}  // namespace tfusion::hook
