// Prints the sizes and offsets of the structures that NVML's callers pass, as JSON, under NVIDIA's names.
#include <cstddef>
#include <cstdio>

#include "abi.hpp"

using namespace tfusion::nvml;

#define STRUCT(theirs, ours, version, ...)                                                            \
  std::printf("%s\"%s\": {\"size\": %zu, \"version\": %u, \"fields\": {", first ? "{" : ", ", theirs, \
              sizeof(ours), (version) == 0 ? 0 : version_of<ours>(version));                          \
  first = true;                                                                                       \
  __VA_ARGS__;                                                                                        \
  first = false;                                                                                      \
  std::printf("}}")
#define FIELD(type, theirs, ours)                                                      \
  std::printf("%s\"%s\": [%zu, %zu]", first ? "" : ", ", theirs, offsetof(type, ours), \
              sizeof(static_cast<type*>(nullptr)->ours)),                              \
      first = false

int main() {
  bool first = true;
  STRUCT("c_nvmlMemory_t", Memory, 0, FIELD(Memory, "total", total), FIELD(Memory, "free", free),
         FIELD(Memory, "used", used));
  STRUCT("c_nvmlMemory_v2_t", MemoryV2, 2, FIELD(MemoryV2, "version", version),
         FIELD(MemoryV2, "total", total), FIELD(MemoryV2, "reserved", reserved),
         FIELD(MemoryV2, "free", free), FIELD(MemoryV2, "used", used));
  STRUCT("nvmlPciInfo_v2_t", PciInfoV2, 0, FIELD(PciInfoV2, "busId", bus_id),
         FIELD(PciInfoV2, "domain", domain), FIELD(PciInfoV2, "bus", bus), FIELD(PciInfoV2, "device", device),
         FIELD(PciInfoV2, "pciDeviceId", pci_device_id),
         FIELD(PciInfoV2, "pciSubSystemId", pci_subsystem_id));
  STRUCT("nvmlPciInfo_t", PciInfo, 0, FIELD(PciInfo, "busIdLegacy", bus_id_legacy),
         FIELD(PciInfo, "domain", domain), FIELD(PciInfo, "bus", bus), FIELD(PciInfo, "device", device),
         FIELD(PciInfo, "pciDeviceId", pci_device_id), FIELD(PciInfo, "pciSubSystemId", pci_subsystem_id),
         FIELD(PciInfo, "busId", bus_id));
  STRUCT("c_nvmlUUID_t", Uuid, 1, FIELD(Uuid, "version", version), FIELD(Uuid, "type", type),
         FIELD(Uuid, "value", value));
  std::printf("}\n");
}
