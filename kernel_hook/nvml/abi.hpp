// NVML's binary interface, as far as it is answered here: result codes and the structures that callers pass.
//
// No NVIDIA header is part of this project. Sizes, offsets and numbers are facts of the published interface;
// the tests compare them with those of NVIDIA's own Python binding (nvidia-ml-py).
#pragma once

#include <cstdint>

#define TFUSION_NVML extern "C" __attribute__((visibility("default")))

namespace tfusion::nvml {

enum Result : unsigned {
  kSuccess = 0,
  kUninitialized = 1,
  kInvalidArgument = 2,
  kNotSupported = 3,
  kNotFound = 6,
  kInsufficientSize = 7,
  kDriverNotLoaded = 9,
  kLibraryNotFound = 12,
  kFunctionNotFound = 13,
  kArgumentVersionMismatch = 25,
};

struct DeviceObject;
using Device = const DeviceObject*;  // nvmlDevice_t

// The version field of a versioned structure: its size and its version.
template <typename T>
constexpr unsigned version_of(unsigned version) {
  return static_cast<unsigned>(sizeof(T)) | version << 24;
}

struct Memory {  // nvmlMemory_t; bytes
  std::uint64_t total;
  std::uint64_t free;
  std::uint64_t used;
};

struct MemoryV2 {  // nvmlMemory_v2_t; bytes
  unsigned version;
  std::uint64_t total;
  std::uint64_t reserved;
  std::uint64_t free;
  std::uint64_t used;
};

struct PciInfoV1 {  // what the unversioned function fills: its callers may have no room for more
  char bus_id[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pci_device_id;
};

struct PciInfoV2 {  // nvmlPciInfo_v2_t
  char bus_id[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pci_device_id;
  unsigned pci_subsystem_id;
  unsigned reserved[4];
};

struct PciInfo {  // nvmlPciInfo_t
  char bus_id_legacy[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pci_device_id;
  unsigned pci_subsystem_id;
  char bus_id[32];
};

enum UuidType : unsigned { kUuidText = 1, kUuidBinary = 2 };

struct Uuid {  // nvmlUUID_t
  unsigned version;
  unsigned type;  // UuidType
  union {
    char text[41];
    unsigned char bytes[16];
  } value;
};

enum ComputeMode : unsigned { kComputeModeDefault = 0 };

}  // namespace tfusion::nvml
