// Attributes of cuLaunchKernelEx as they travel: only those that the worker knows how to pass on.
#pragma once

#include <cuda.h>

namespace tfusion::hook {

struct LaunchAttributes {
  static constexpr unsigned kMost = 32;
  CUlaunchAttribute entries[kMost];
  unsigned count = 0;

  // CUDA_ERROR_NOT_SUPPORTED for one that cannot travel.
  CUresult read(const CUlaunchAttribute* from, unsigned number_of_them);
};

// For launches without any, so that none has to clear a list of its own.
inline constexpr LaunchAttributes kNoLaunchAttributes{};

}  // namespace tfusion::hook
