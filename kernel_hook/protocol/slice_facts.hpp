// What the hook's libnvidia-ml.so.1 and the notebook's %%vgpu_time (gpu_server/observer.py) ask the hook's
// libcuda.so.1 in the same process, by dlsym: what the session knows of the slice and its GPU. The functions
// answer from memory, never connect to a worker and never wait.
//
// They are no functions of NVIDIA's driver, so that finding them also tells the hook from a real
// libcuda.so.1.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tfusion::protocol {

// Facts that stay the same for as long as the session lasts.
struct SliceFacts {
  char name[256];                   // of the GPU, as cuDeviceGetName gives it
  std::uint64_t total_bytes;        // the slice's limit
  std::int32_t cuda_version;        // as cuDriverGetVersion: 1000 * major + 10 * minor
  std::int32_t compute_capability;  // 10 * major + minor; 0: unknown
  std::uint32_t pci_known;          // 1: the next three hold
  std::uint32_t pci_domain;
  std::uint32_t pci_bus;
  std::uint32_t pci_device;
  std::uint32_t pci_device_id;     // device id << 16 | vendor id; 0: unknown
  std::uint32_t pci_subsystem_id;  // the same of the subsystem; 0: unknown
};
static_assert(sizeof(SliceFacts) == 296);

}  // namespace tfusion::protocol

extern "C" {

// Bytes that all processes of the slice use, and the slice's limit. 0 (CUDA_SUCCESS), or
// CUDA_ERROR_NOT_INITIALIZED while this process has no session; CUDA_ERROR_INVALID_VALUE for a null pointer.
__attribute__((visibility("default"))) int cuTFusionSliceUse(std::uint64_t* used, std::uint64_t* total);

// Fills `facts`; `bytes` is sizeof(SliceFacts) as the caller knows it. Errors as above;
// CUDA_ERROR_INVALID_VALUE also if the two libraries disagree about the size.
__attribute__((visibility("default"))) int cuTFusionSliceFacts(tfusion::protocol::SliceFacts* facts,
                                                               std::size_t bytes);

// Bytes of commands that this process has written so far, and how many of them the worker has replayed; what
// it began on the GPU may go on. 0, or errors as of cuTFusionSliceUse.
__attribute__((visibility("default"))) int cuTFusionProgress(std::uint64_t* written, std::uint64_t* replayed);
}
