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
  kTimeout = 10,
  kLibraryNotFound = 12,
  kFunctionNotFound = 13,
  kGpuIsLost = 15,
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
enum EnableState : unsigned { kFeatureDisabled = 0 };
enum Brand : unsigned { kBrandUnknown = 0 };

enum Architecture : unsigned {  // nvmlDeviceArchitecture_t
  kKepler = 2,
  kMaxwell = 3,
  kPascal = 4,
  kVolta = 5,
  kTuring = 6,
  kAmpere = 7,
  kAda = 8,
  kHopper = 9,
  kBlackwell = 10,
  kArchitectureUnknown = 0xffffffff,
};

struct Utilization {  // nvmlUtilization_t; percent
  unsigned gpu;
  unsigned memory;
};

struct ProcessInfoV1 {  // nvmlProcessInfo_v1_t
  unsigned pid;
  unsigned long long used_bytes;
};

struct ProcessInfo {  // nvmlProcessInfo_v2_t, and what every later version is
  unsigned pid;
  unsigned long long used_bytes;
  unsigned gpu_instance_id;
  unsigned compute_instance_id;
};
inline constexpr unsigned kNoInstance = 0xffffffff;  // of a GPU without MIG

struct ProcessDetail {  // nvmlProcessDetail_v1_t
  unsigned pid;
  unsigned long long used_bytes;
  unsigned gpu_instance_id;
  unsigned compute_instance_id;
  unsigned long long protected_bytes;
};

enum ProcessMode : unsigned { kProcessesCompute = 0, kProcessesGraphics = 1, kProcessesMps = 2 };

struct ProcessDetailList {  // nvmlProcessDetailList_v1_t
  unsigned version;
  unsigned mode;  // ProcessMode
  unsigned count;
  ProcessDetail* processes;
};

struct ProcessSample {  // nvmlProcessUtilizationSample_t; microseconds since 1970, percent
  unsigned pid;
  unsigned long long time_us;
  unsigned sm;
  unsigned memory;
  unsigned encoder;
  unsigned decoder;
};

struct ProcessSampleV1 {  // nvmlProcessUtilizationInfo_v1_t
  unsigned long long time_us;
  unsigned pid;
  unsigned sm;
  unsigned memory;
  unsigned encoder;
  unsigned decoder;
  unsigned jpeg;
  unsigned optical_flow;
};

struct ProcessSampleList {  // nvmlProcessesUtilizationInfo_v1_t
  unsigned version;
  unsigned count;
  unsigned long long since_us;
  ProcessSampleV1* samples;
};

struct FieldValue {  // nvmlFieldValue_t
  unsigned field;
  unsigned scope;
  long long time_us;
  long long latency_us;
  unsigned type;
  unsigned result;
  unsigned long long value;
};

}  // namespace tfusion::nvml
