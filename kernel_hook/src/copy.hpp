// What the copies of copy.cpp and copy_3d.cpp share.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace tfusion::hook {

// Whether the worker can copy from and to this address by itself: device memory, pinned memory, a module's
// variable.
bool worker_can_reach(std::uint64_t address);

// Waits until everything that the stream holds now is done.
CUresult wait_for(std::uint64_t stream);

// A cuMemcpy2D with an array at an end. `synchronous`: the data is at its place when the call returns, as far
// as the host can tell.
CUresult copy_2d_of_arrays(const CUDA_MEMCPY2D& copy, CUstream stream, bool synchronous);

}  // namespace tfusion::hook
