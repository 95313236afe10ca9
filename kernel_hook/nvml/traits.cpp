// What is so for every slice, or follows from the GPU's compute capability: no display, no second board, no
// MIG devices, the architecture. What belongs to the whole card (temperature, power, clocks, fans, errors) is
// not a slice's to know and stays refused in nvml.api.
#include "library.hpp"
#include "slice.hpp"

using namespace tfusion;
using namespace tfusion::nvml;

namespace {

Architecture architecture_of(int capability) {
  switch (capability / 10) {
    case 3:
      return kKepler;
    case 5:
      return kMaxwell;
    case 6:
      return kPascal;
    case 7:
      return capability >= 75 ? kTuring : kVolta;
    case 8:
      return capability == 89 ? kAda : kAmpere;
    case 9:
      return kHopper;
    case 10:
    case 11:
    case 12:
      return kBlackwell;
    default:
      return kArchitectureUnknown;
  }
}

Result give(Device device, unsigned* out, unsigned value) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (out == nullptr) return kInvalidArgument;
  *out = value;
  return kSuccess;
}

}  // namespace

TFUSION_NVML Result nvmlDeviceGetArchitecture(Device device, unsigned* architecture) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (architecture == nullptr) return kInvalidArgument;
  const protocol::SliceFacts* facts = gpu_facts();
  if (facts == nullptr || facts->compute_capability == 0) return kNotSupported;
  *architecture = architecture_of(facts->compute_capability);
  return kSuccess;
}

TFUSION_NVML Result nvmlDeviceGetBrand(Device device, unsigned* brand) {
  return give(device, brand, kBrandUnknown);
}

TFUSION_NVML Result nvmlDeviceGetComputeMode(Device device, unsigned* mode) {
  return give(device, mode, kComputeModeDefault);
}

TFUSION_NVML Result nvmlDeviceGetDisplayMode(Device device, unsigned* display) {
  return give(device, display, kFeatureDisabled);
}

TFUSION_NVML Result nvmlDeviceGetDisplayActive(Device device, unsigned* active) {
  return give(device, active, kFeatureDisabled);
}

TFUSION_NVML Result nvmlDeviceGetMultiGpuBoard(Device device, unsigned* multi) {
  return give(device, multi, 0);
}

TFUSION_NVML Result nvmlDeviceIsMigDeviceHandle(Device device, unsigned* is_mig) {
  return give(device, is_mig, 0);
}

TFUSION_NVML Result nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned* count) {
  return give(device, count, 0);
}

TFUSION_NVML Result nvmlDeviceOnSameBoard(Device one, Device other, int* same) {
  if (const Result r = enter(one); r != kSuccess) return r;
  if (const Result r = enter(other); r != kSuccess) return r;
  if (same == nullptr) return kInvalidArgument;
  *same = 1;  // there is one device
  return kSuccess;
}

// At whatever level: no other device is near.
TFUSION_NVML Result nvmlDeviceGetTopologyNearestGpus(Device device, unsigned, unsigned* count, Device*) {
  return give(device, count, 0);
}

TFUSION_NVML Result nvmlDeviceGetSupportedEventTypes(Device device, unsigned long long* types) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (types == nullptr) return kInvalidArgument;
  *types = 0;
  return kSuccess;
}

// Fields are asked many at once, and each has a result of its own. None of them is a slice's.
TFUSION_NVML Result nvmlDeviceGetFieldValues(Device device, int count, FieldValue* values) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (count < 1 || values == nullptr) return kInvalidArgument;
  for (int i = 0; i < count; ++i) {
    values[i].time_us = 0;
    values[i].latency_us = 0;
    values[i].result = kNotSupported;
    values[i].value = 0;
  }
  return kSuccess;
}
