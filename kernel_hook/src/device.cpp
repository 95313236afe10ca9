// The device: what it is, from the facts that came with the session. Nothing here asks the worker.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "api.hpp"
#include "process.hpp"
#include "visible_devices.hpp"

namespace tfusion::hook::api {

namespace {

const protocol::DeviceFacts& facts() {
  return shared.control().facts;
}

CUresult check(const void* out, CUdevice device) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return device == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

int attribute(CUdevice_attribute which) {
  return facts().attributes[which];
}

}  // namespace

CUresult cuInit(unsigned int Flags) {
  if (Flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return initialise();
}

CUresult cuDriverGetVersion(int* driverVersion) {
  if (driverVersion == nullptr) return CUDA_ERROR_INVALID_VALUE;
  // Asked before cuInit by many programs: then it is the version whose functions this hook knows.
  const int known = CUDA_VERSION;
  *driverVersion = known;
  if (process_state.load() == ProcessState::ready && facts().driver_version < known)
    *driverVersion = facts().driver_version;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (CUresult r = check(device, ordinal); r != CUDA_SUCCESS) return r;
  *device = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = 1;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int len, CUdevice dev) {
  if (CUresult r = check(name, dev); r != CUDA_SUCCESS) return r;
  if (len <= 0) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(name, static_cast<std::size_t>(len), "%.255s", facts().name);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice dev) {
  return api::cuDeviceGetUuid_v2(uuid, dev);
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice dev) {
  if (CUresult r = check(uuid, dev); r != CUDA_SUCCESS) return r;
  std::memcpy(uuid->bytes, device_uuid(), sizeof uuid->bytes);
  return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice dev) {
  if (CUresult r = check(bytes, dev); r != CUDA_SUCCESS) return r;
  *bytes = facts().total_bytes;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* pi, CUdevice_attribute attrib, CUdevice dev) {
  if (CUresult r = check(pi, dev); r != CUDA_SUCCESS) return r;
  if (attrib < 1 || static_cast<unsigned>(attrib) >= protocol::kMaxDeviceAttributes ||
      !facts().attribute_known[attrib]) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *pi = attribute(attrib);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* pciBusId, int len, CUdevice dev) {
  if (CUresult r = check(pciBusId, dev); r != CUDA_SUCCESS) return r;
  if (len <= 0) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(pciBusId, static_cast<std::size_t>(len), "%.31s", facts().pci_bus_id);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice* dev, const char* pciBusId) {
  if (dev == nullptr || pciBusId == nullptr) return CUDA_ERROR_INVALID_VALUE;
  // "domain:bus:device.function", where domain and function may be left out, in any case.
  auto parse = [](const char* text, unsigned (&out)[3]) {
    unsigned domain = 0, bus = 0, device = 0;
    if (std::sscanf(text, "%x:%x:%x", &domain, &bus, &device) != 3) {
      domain = 0;
      if (std::sscanf(text, "%x:%x", &bus, &device) != 2) return false;
    }
    out[0] = domain, out[1] = bus, out[2] = device;
    return true;
  };
  unsigned asked[3], mine[3];
  if (!parse(pciBusId, asked)) return CUDA_ERROR_INVALID_VALUE;
  if (!parse(facts().pci_bus_id, mine) || std::memcmp(asked, mine, sizeof mine) != 0)
    return CUDA_ERROR_INVALID_DEVICE;
  *dev = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice dev) {
  if (CUresult r = check(major, dev); r != CUDA_SUCCESS) return r;
  if (minor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  *minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop* prop, CUdevice dev) {
  if (CUresult r = check(prop, dev); r != CUDA_SUCCESS) return r;
  *prop = CUdevprop{};
  prop->maxThreadsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  for (int i = 0; i < 3; ++i) {
    prop->maxThreadsDim[i] = facts().attributes[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i];
    prop->maxGridSize[i] = facts().attributes[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i];
  }
  prop->sharedMemPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
  prop->totalConstantMemory = attribute(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY);
  prop->SIMDWidth = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
  prop->memPitch = attribute(CU_DEVICE_ATTRIBUTE_MAX_PITCH);
  prop->regsPerBlock = attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK);
  prop->clockRate = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  prop->textureAlign = attribute(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT);
  return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int* canAccessPeer, CUdevice dev, CUdevice peerDev) {
  if (CUresult r = check(canAccessPeer, dev); r != CUDA_SUCCESS) return r;
  if (peerDev != 0) return CUDA_ERROR_INVALID_DEVICE;
  *canAccessPeer = 0;  // a device is no peer of itself, and a slice has only one
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute, CUdevice, CUdevice) {
  // Two different devices are asked for, and there is one.
  return value == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetExecAffinitySupport(int* pi, CUexecAffinityType, CUdevice dev) {
  if (CUresult r = check(pi, dev); r != CUDA_SUCCESS) return r;
  *pi = 0;
  return CUDA_SUCCESS;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const char* wish = std::getenv("CUDA_MODULE_LOADING");
  *mode =
      wish != nullptr && std::strcmp(wish, "EAGER") == 0 ? CU_MODULE_EAGER_LOADING : CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

// A profiler attaches to the driver of the GPU's host, not to this process: starting and stopping it has no
// effect here.
CUresult cuProfilerStart() {
  return CUDA_SUCCESS;
}
CUresult cuProfilerStop() {
  return CUDA_SUCCESS;
}

CUresult cuFlushGPUDirectRDMAWrites(CUflushGPUDirectRDMAWritesTarget, CUflushGPUDirectRDMAWritesScope) {
  return CUDA_ERROR_NOT_SUPPORTED;
}

}  // namespace tfusion::hook::api
