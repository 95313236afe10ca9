// What is known of this process's slice: from its environment (kernel_hook.launch_environment); once the
// process has a session, from the hook's libcuda.so.1, which need not ask anybody; else from the daemon
// (observer.hpp).
//
// Nothing here makes a session: NVML is asked by processes that never use the GPU, and before a fork. Facts
// that stay the same are kept once they were told.
#pragma once

#include <cstdint>

#include "abi.hpp"
#include "protocol/slice_facts.hpp"
#include "protocol/slice_uuid.hpp"

namespace tfusion::nvml {

// Whether TFUSION_SLICE names one.
bool under_slice();

protocol::SliceUuid slice_uuid();

// nullptr: not known.
const char* gpu_name();

struct VersionText {
  char text[64];
};
// False: not known.
bool driver_version(VersionText* out);

// Of the GPU; nullptr where neither session nor daemon can say.
const protocol::SliceFacts* gpu_facts();

// Bytes: the slice's limit, and what its processes use. An error of observe()'s if that cannot be found out.
Result slice_memory(std::uint64_t* total, std::uint64_t* used);

// As cuDriverGetVersion says, which needs no session. False: no hook is loaded.
bool cuda_version(int* version);

}  // namespace tfusion::nvml
