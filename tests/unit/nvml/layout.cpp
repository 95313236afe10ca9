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
  STRUCT("c_nvmlUtilization_t", Utilization, 0, FIELD(Utilization, "gpu", gpu),
         FIELD(Utilization, "memory", memory));
  STRUCT("c_nvmlProcessInfo_v2_t", ProcessInfo, 0, FIELD(ProcessInfo, "pid", pid),
         FIELD(ProcessInfo, "usedGpuMemory", used_bytes),
         FIELD(ProcessInfo, "gpuInstanceId", gpu_instance_id),
         FIELD(ProcessInfo, "computeInstanceId", compute_instance_id));
  STRUCT("c_nvmlProcessDetail_v1_t", ProcessDetail, 0, FIELD(ProcessDetail, "pid", pid),
         FIELD(ProcessDetail, "usedGpuMemory", used_bytes),
         FIELD(ProcessDetail, "gpuInstanceId", gpu_instance_id),
         FIELD(ProcessDetail, "computeInstanceId", compute_instance_id),
         FIELD(ProcessDetail, "usedGpuCcProtectedMemory", protected_bytes));
  STRUCT("c_nvmlProcessDetailList_v1_t", ProcessDetailList, 1, FIELD(ProcessDetailList, "version", version),
         FIELD(ProcessDetailList, "mode", mode), FIELD(ProcessDetailList, "numProcArrayEntries", count),
         FIELD(ProcessDetailList, "procArray", processes));
  STRUCT("c_nvmlProcessUtilizationSample_t", ProcessSample, 0, FIELD(ProcessSample, "pid", pid),
         FIELD(ProcessSample, "timeStamp", time_us), FIELD(ProcessSample, "smUtil", sm),
         FIELD(ProcessSample, "memUtil", memory), FIELD(ProcessSample, "encUtil", encoder),
         FIELD(ProcessSample, "decUtil", decoder));
  STRUCT("c_nvmlProcessUtilizationInfo_v1_t", ProcessSampleV1, 0,
         FIELD(ProcessSampleV1, "timeStamp", time_us), FIELD(ProcessSampleV1, "pid", pid),
         FIELD(ProcessSampleV1, "smUtil", sm), FIELD(ProcessSampleV1, "memUtil", memory),
         FIELD(ProcessSampleV1, "encUtil", encoder), FIELD(ProcessSampleV1, "decUtil", decoder),
         FIELD(ProcessSampleV1, "jpgUtil", jpeg), FIELD(ProcessSampleV1, "ofaUtil", optical_flow));
  STRUCT("c_nvmlProcessesUtilizationInfo_v1_t", ProcessSampleList, 1,
         FIELD(ProcessSampleList, "version", version), FIELD(ProcessSampleList, "processSamplesCount", count),
         FIELD(ProcessSampleList, "lastSeenTimeStamp", since_us),
         FIELD(ProcessSampleList, "procUtilArray", samples));
  STRUCT("c_nvmlFieldValue_t", FieldValue, 0, FIELD(FieldValue, "fieldId", field),
         FIELD(FieldValue, "scopeId", scope), FIELD(FieldValue, "timestamp", time_us),
         FIELD(FieldValue, "latencyUsec", latency_us), FIELD(FieldValue, "valueType", type),
         FIELD(FieldValue, "nvmlReturn", result), FIELD(FieldValue, "value", value));
  std::printf("}\n");
}
