// The device: finding it, its identity, its memory. There is one, index 0.
// CUDA_VISIBLE_DEVICES says nothing to NVML.
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "library.hpp"
#include "slice.hpp"

using namespace tfusion;
using namespace tfusion::nvml;

namespace {

struct PciAddress {
  unsigned domain;
  unsigned bus;
  unsigned device;
};

// "domain:bus:device.function" in hexadecimal; domain and function may be left out, and the function of a GPU
// is 0.
bool parse_pci_address(const char* text, PciAddress* out) {
  const char* const end = text + std::strlen(text);
  unsigned fields[3];
  int n = 0;
  const char* at = text;
  for (;;) {
    const auto [stop, error] = std::from_chars(at, end, fields[n], 16);
    if (error != std::errc{}) return false;
    ++n;
    at = stop;
    if (n == 3 || *at != ':') break;
    ++at;
  }
  if (n < 2 || (*at != '\0' && std::strcmp(at, ".0") != 0)) return false;
  *out = n == 3 ? PciAddress{fields[0], fields[1], fields[2]} : PciAddress{0, fields[0], fields[1]};
  return true;
}

const protocol::SliceFacts* pci_facts() {
  const protocol::SliceFacts* facts = gpu_facts();
  return facts != nullptr && facts->pci_known != 0 ? facts : nullptr;
}

// An answer that is a single number and the same for every slice.
Result give_constant(Device device, unsigned* out, unsigned value) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (out == nullptr) return kInvalidArgument;
  *out = value;
  return kSuccess;
}

Result give_device(Device* out) {
  if (out == nullptr) return kInvalidArgument;
  *out = the_device();
  return kSuccess;
}

}  // namespace

TFUSION_NVML Result nvmlDeviceGetCount_v2(unsigned* count) {
  if (const Result r = enter(); r != kSuccess) return r;
  if (count == nullptr) return kInvalidArgument;
  *count = 1;
  return kSuccess;
}

TFUSION_NVML Result nvmlDeviceGetCount(unsigned* count) {
  return nvmlDeviceGetCount_v2(count);
}

TFUSION_NVML Result nvmlDeviceGetHandleByIndex_v2(unsigned index, Device* device) {
  if (const Result r = enter(); r != kSuccess) return r;
  return index == 0 ? give_device(device) : kInvalidArgument;
}

TFUSION_NVML Result nvmlDeviceGetHandleByIndex(unsigned index, Device* device) {
  return nvmlDeviceGetHandleByIndex_v2(index, device);
}

TFUSION_NVML Result nvmlDeviceGetHandleByUUID(const char* uuid, Device* device) {
  if (const Result r = enter(); r != kSuccess) return r;
  if (uuid == nullptr) return kInvalidArgument;
  const protocol::SliceUuidText mine = protocol::slice_uuid_text(nvml::slice_uuid());
  return std::strcmp(uuid, mine.data()) == 0 ? give_device(device) : kNotFound;
}

TFUSION_NVML Result nvmlDeviceGetHandleByUUIDV(const Uuid* uuid, Device* device) {
  if (const Result r = enter(); r != kSuccess) return r;
  if (uuid == nullptr) return kInvalidArgument;
  if (uuid->version != version_of<Uuid>(1)) return kArgumentVersionMismatch;
  const protocol::SliceUuid mine = nvml::slice_uuid();
  bool same = false;
  if (uuid->type == kUuidText) {
    const protocol::SliceUuidText text = protocol::slice_uuid_text(mine);
    static_assert(sizeof uuid->value.text == sizeof text);
    same = std::strncmp(uuid->value.text, text.data(), text.size()) == 0;
  } else if (uuid->type == kUuidBinary) {
    same = std::memcmp(uuid->value.bytes, mine.data(), mine.size()) == 0;
  } else {
    return kInvalidArgument;
  }
  return same ? give_device(device) : kNotFound;
}

TFUSION_NVML Result nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, Device* device) {
  if (const Result r = enter(); r != kSuccess) return r;
  PciAddress asked;
  if (bus_id == nullptr || !parse_pci_address(bus_id, &asked)) return kInvalidArgument;
  const protocol::SliceFacts* mine = pci_facts();
  if (mine == nullptr || asked.domain != mine->pci_domain || asked.bus != mine->pci_bus ||
      asked.device != mine->pci_device) {
    return kNotFound;
  }
  return give_device(device);
}

TFUSION_NVML Result nvmlDeviceGetHandleByPciBusId(const char* bus_id, Device* device) {
  return nvmlDeviceGetHandleByPciBusId_v2(bus_id, device);
}

TFUSION_NVML Result nvmlDeviceGetIndex(Device device, unsigned* index) {
  return give_constant(device, index, 0);
}

TFUSION_NVML Result nvmlDeviceGetMinorNumber(Device device, unsigned* minor_number) {
  return give_constant(device, minor_number, 0);
}

TFUSION_NVML Result nvmlDeviceGetUUID(Device device, char* uuid, unsigned length) {
  if (const Result r = enter(device); r != kSuccess) return r;
  return give_text(protocol::slice_uuid_text(nvml::slice_uuid()).data(), uuid, length);
}

TFUSION_NVML Result nvmlDeviceGetName(Device device, char* name, unsigned length) {
  if (const Result r = enter(device); r != kSuccess) return r;
  const char* known = gpu_name();
  return known == nullptr ? kNotSupported : give_text(known, name, length);
}

TFUSION_NVML Result nvmlDeviceGetPciInfo_v3(Device device, PciInfo* pci) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (pci == nullptr) return kInvalidArgument;
  const protocol::SliceFacts* facts = pci_facts();
  if (facts == nullptr) return kNotSupported;
  *pci = {};
  pci->domain = facts->pci_domain;
  pci->bus = facts->pci_bus;
  pci->device = facts->pci_device;
  pci->pci_device_id = facts->pci_device_id;
  pci->pci_subsystem_id = facts->pci_subsystem_id;
  const auto write = [&](auto& text, int digits) {
    std::snprintf(text, sizeof text, "%0*X:%02X:%02X.0", digits, pci->domain, pci->bus, pci->device);
  };
  write(pci->bus_id_legacy, 4);
  write(pci->bus_id, 8);
  return kSuccess;
}

TFUSION_NVML Result nvmlDeviceGetPciInfo_v2(Device device, PciInfoV2* pci) {
  PciInfo info;
  if (const Result r = nvmlDeviceGetPciInfo_v3(device, pci == nullptr ? nullptr : &info); r != kSuccess)
    return r;
  *pci = {};
  std::memcpy(pci->bus_id, info.bus_id_legacy, sizeof pci->bus_id);
  pci->domain = info.domain;
  pci->bus = info.bus;
  pci->device = info.device;
  pci->pci_device_id = info.pci_device_id;
  pci->pci_subsystem_id = info.pci_subsystem_id;
  return kSuccess;
}

TFUSION_NVML Result nvmlDeviceGetPciInfo(Device device, PciInfoV1* pci) {
  PciInfoV2 info;
  if (const Result r = nvmlDeviceGetPciInfo_v2(device, pci == nullptr ? nullptr : &info); r != kSuccess)
    return r;
  static_assert(offsetof(PciInfoV2, pci_subsystem_id) == sizeof *pci);
  std::memcpy(pci, &info, sizeof *pci);
  return kSuccess;
}

TFUSION_NVML Result nvmlDeviceGetMemoryInfo(Device device, Memory* memory) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (memory == nullptr) return kInvalidArgument;
  std::uint64_t total = 0;
  std::uint64_t used = 0;
  if (const Result r = slice_memory(&total, &used); r != kSuccess) return r;
  *memory = {.total = total, .free = total - used, .used = used};
  return kSuccess;
}

TFUSION_NVML Result nvmlDeviceGetMemoryInfo_v2(Device device, MemoryV2* memory) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (memory == nullptr) return kInvalidArgument;
  if (memory->version != version_of<MemoryV2>(2)) return kFunctionNotFound;  // what driver 580 answers
  Memory plain;
  if (const Result r = nvmlDeviceGetMemoryInfo(device, &plain); r != kSuccess) return r;
  // What the driver keeps for itself is outside the slice's limit: nothing of it is reserved.
  memory->total = plain.total;
  memory->reserved = 0;
  memory->free = plain.free;
  memory->used = plain.used;
  return kSuccess;
}

TFUSION_NVML Result nvmlDeviceGetCudaComputeCapability(Device device, int* major, int* minor) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (major == nullptr || minor == nullptr) return kInvalidArgument;
  const protocol::SliceFacts* facts = gpu_facts();
  if (facts == nullptr || facts->compute_capability == 0) return kNotSupported;
  *major = facts->compute_capability / 10;
  *minor = facts->compute_capability % 10;
  return kSuccess;
}
