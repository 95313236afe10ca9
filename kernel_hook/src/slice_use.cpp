// What this process's session knows of its slice, for libnvidia-ml.so.1 (kernel_hook/nvml); see
// slice_facts.hpp.
//
// Only while the process is ready: a forked child has no mapping of the session's memory (MADV_DONTFORK).
#include <cuda.h>

#include <algorithm>
#include <cstring>

#include "process.hpp"
#include "protocol/slice_facts.hpp"

namespace {

using namespace tfusion::hook;  // NOLINT(google-build-using-namespace): the functions below are in no
                                // namespace

bool ready() {
  return process_state.load(std::memory_order_acquire) == ProcessState::ready;
}

// The attribute, or `unknown` where the GPU's driver has no such attribute.
int attribute(CUdevice_attribute which, int unknown) {
  const tfusion::protocol::DeviceFacts& facts = shared.control().facts;
  return facts.attribute_known[which] ? facts.attributes[which] : unknown;
}

}  // namespace

extern "C" int cuTFusionSliceUse(std::uint64_t* used, std::uint64_t* total) {
  if (used == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!ready()) return CUDA_ERROR_NOT_INITIALIZED;
  const tfusion::protocol::Control& control = shared.control();
  *total = control.facts.total_bytes;
  *used = std::min(control.status.slice_used_bytes.load(std::memory_order_relaxed), *total);
  return CUDA_SUCCESS;
}

extern "C" int cuTFusionSliceFacts(tfusion::protocol::SliceFacts* facts, std::size_t bytes) {
  if (facts == nullptr || bytes != sizeof *facts) return CUDA_ERROR_INVALID_VALUE;
  if (!ready()) return CUDA_ERROR_NOT_INITIALIZED;
  const tfusion::protocol::DeviceFacts& device = shared.control().facts;
  *facts = {};
  std::memcpy(facts->name, device.name, std::min(sizeof facts->name, sizeof device.name) - 1);
  facts->total_bytes = device.total_bytes;
  facts->cuda_version = std::min(device.driver_version, CUDA_VERSION);
  facts->compute_capability = 10 * attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0) +
                              attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0);
  const int domain = attribute(CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, -1);
  const int bus = attribute(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, -1);
  const int slot = attribute(CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, -1);
  if (domain >= 0 && bus >= 0 && slot >= 0) {
    facts->pci_known = 1;
    facts->pci_domain = static_cast<std::uint32_t>(domain);
    facts->pci_bus = static_cast<std::uint32_t>(bus);
    facts->pci_device = static_cast<std::uint32_t>(slot);
  }
  facts->pci_device_id = static_cast<std::uint32_t>(attribute(CU_DEVICE_ATTRIBUTE_GPU_PCI_DEVICE_ID, 0));
  facts->pci_subsystem_id =
      static_cast<std::uint32_t>(attribute(CU_DEVICE_ATTRIBUTE_GPU_PCI_SUBSYSTEM_ID, 0));
  return CUDA_SUCCESS;
}

extern "C" int cuTFusionProgress(std::uint64_t* written, std::uint64_t* replayed) {
  if (written == nullptr || replayed == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!ready()) return CUDA_ERROR_NOT_INITIALIZED;
  const tfusion::protocol::Control& control = shared.control();
  *written = control.head.load();
  *replayed = std::min(control.tail.load(std::memory_order_acquire), *written);
  return CUDA_SUCCESS;
}
