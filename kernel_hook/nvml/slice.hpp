// What is known of this process's slice: from its environment (kernel_hook.launch_environment), and, once the
// process has a session, from the hook's libcuda.so.1.
//
// Nothing here makes a session or waits: NVML is asked by processes that never use the GPU, and before a
// fork. What the session told once is kept, because a forked child cannot ask again.
#pragma once

#include <cstdint>

#include "protocol/slice_facts.hpp"
#include "protocol/slice_uuid.hpp"

namespace tfusion::nvml {

// Whether TFUSION_SLICE names one.
bool under_slice();

protocol::SliceUuid slice_uuid();

// nullptr: not known.
const char* gpu_name();
const char* driver_version();

// Of the GPU, from the session; nullptr before there is one.
const protocol::SliceFacts* session_facts();

// Bytes: the slice's limit, and what its processes use (0 while this process has no session). False: not
// known.
bool slice_memory(std::uint64_t* total, std::uint64_t* used);

// As cuDriverGetVersion says, which needs no session. False: no hook is loaded.
bool cuda_version(int* version);

}  // namespace tfusion::nvml
