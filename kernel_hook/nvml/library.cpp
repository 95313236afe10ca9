// Start, end, and what NVML says of itself and of the driver.
#include "library.hpp"

#include <atomic>
#include <cstdio>
#include <cstring>

#include "slice.hpp"

namespace tfusion::nvml {

struct DeviceObject {
  char unused;
};

namespace {

constinit const DeviceObject device_object{};
constinit std::atomic<unsigned> users{0};  // nvmlInit calls without their nvmlShutdown

// The generation of the interface whose functions nvml.api lists.
constexpr char kInterface[] = "13";

}  // namespace

Device the_device() {
  return &device_object;
}

Result enter() {
  return users.load(std::memory_order_relaxed) == 0 ? kUninitialized : kSuccess;
}

Result enter(Device device) {
  if (const Result r = enter(); r != kSuccess) return r;
  return device == &device_object ? kSuccess : kInvalidArgument;
}

Result refuse() {
  const Result r = enter();
  return r == kSuccess ? kNotSupported : r;
}

Result give_text(const char* text, char* buffer, unsigned bytes) {
  if (buffer == nullptr) return kInvalidArgument;
  const std::size_t needed = std::strlen(text) + 1;
  if (needed > bytes) return kInsufficientSize;
  std::memcpy(buffer, text, needed);
  return kSuccess;
}

}  // namespace tfusion::nvml

using namespace tfusion::nvml;

TFUSION_NVML Result nvmlInitWithFlags(unsigned) {
  if (!under_slice()) return kDriverNotLoaded;
  users.fetch_add(1, std::memory_order_relaxed);
  return kSuccess;
}

TFUSION_NVML Result nvmlInit_v2() {
  return nvmlInitWithFlags(0);
}
TFUSION_NVML Result nvmlInit() {
  return nvmlInitWithFlags(0);
}

TFUSION_NVML Result nvmlShutdown() {
  unsigned before = users.load(std::memory_order_relaxed);
  do {
    if (before == 0) return kUninitialized;
  } while (!users.compare_exchange_weak(before, before - 1, std::memory_order_relaxed));
  return kSuccess;
}

TFUSION_NVML Result nvmlSystemGetDriverVersion(char* version, unsigned length) {
  if (const Result r = enter(); r != kSuccess) return r;
  VersionText driver;
  return driver_version(&driver) ? give_text(driver.text, version, length) : kNotSupported;
}

TFUSION_NVML Result nvmlSystemGetNVMLVersion(char* version, unsigned length) {
  // As NVIDIA's: the interface's generation, and the version of the driver that it belongs to. Needs no
  // nvmlInit.
  VersionText driver;
  char text[80];
  const bool known = driver_version(&driver);
  std::snprintf(text, sizeof text, known ? "%s.%s" : "%s", kInterface, driver.text);
  return give_text(text, version, length);
}

TFUSION_NVML Result nvmlSystemGetCudaDriverVersion_v2(int* version) {
  if (const Result r = enter(); r != kSuccess) return r;
  if (version == nullptr) return kInvalidArgument;
  return cuda_version(version) ? kSuccess : kLibraryNotFound;
}

TFUSION_NVML Result nvmlSystemGetCudaDriverVersion(int* version) {
  return nvmlSystemGetCudaDriverVersion_v2(version);
}

// Units are the chassis of S-class systems; a slice has none.
TFUSION_NVML Result nvmlUnitGetCount(unsigned* count) {
  if (const Result r = enter(); r != kSuccess) return r;
  if (count == nullptr) return kInvalidArgument;
  *count = 0;
  return kSuccess;
}
