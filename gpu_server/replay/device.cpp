#include "device.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <new>
#include <stdexcept>

namespace tfusion::replay {

namespace {

using namespace protocol;

std::runtime_error system_error(const char* what) {
  return std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

// A memfd that neither side can resize: a client that shrank it would kill its worker by SIGBUS.
int sealed_memory(const char* name, std::uint64_t bytes) {
  const int descriptor = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) throw system_error("Shared memory cannot be made");
  if (ftruncate(descriptor, static_cast<off_t>(bytes)) != 0 ||
      fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const std::runtime_error error = system_error("Shared memory cannot be sized");
    close(descriptor);
    throw error;
  }
  return descriptor;
}

// What the hook does not answer must not be promised: programs choose their way by these.
constexpr std::initializer_list<int> kAttributesNotOffered = {
    CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST,
    CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS,
    CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
    CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
    CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES,
    CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_SPARSE_CUDA_ARRAY_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_TIMELINE_SEMAPHORE_INTEROP_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS,
    CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR,
    CU_DEVICE_ATTRIBUTE_COOPERATIVE_MULTI_DEVICE_LAUNCH,
    CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS,
    CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HOST_NUMA_MEMORY_POOLS_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HOST_MEMORY_POOLS_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
};

// What the hook answers by itself, whatever the driver says.
constexpr std::initializer_list<int> kAttributesOffered = {
    CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY,          CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS,
    CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED,  CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
};

// cuBLASLt asks once where the pairs of multiprocessors sit before its first half-precision product on
// Hopper.
constexpr std::uint8_t kSmLayoutTable[16] = {0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45,
                                             0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd, 0x8b, 0xca};

}  // namespace

Device::Device(const std::string& driver_path, int ordinal) : driver_(driver_path) {
  driver_.require(driver_->cuInit(0), "Initialising the GPU driver");
  driver_.require(driver_->cuDeviceGet(&ordinal_, ordinal), "Opening the GPU");
  std::size_t bytes = 0;
  driver_.require(driver_->cuDeviceTotalMem_v2(&bytes, ordinal_), "Asking for the GPU's memory");
  total_bytes_ = bytes;
  make_context();
  CUdeviceptr arena = 0;
  driver_.require(driver_->cuMemAddressReserve(&arena, kDeviceArenaBytes, 0, kDeviceArenaAddress, 0),
                  "Reserving the arena of device addresses");
  if (arena != kDeviceArenaAddress)
    throw std::runtime_error("The arena's device addresses are taken in this process.");
  make_shared_memory();
  read_facts();
}

Device::~Device() {
  if (shared_descriptor_ >= 0) close(shared_descriptor_);
  if (host_descriptor_ >= 0) close(host_descriptor_);
}

void Device::make_context() {
  // Waiting is by polling between commands, never by blocking; see session.cpp.
  driver_.require(driver_->cuDevicePrimaryCtxRetain(&context_, ordinal_), "Making a context on the GPU");
  driver_.require(driver_->cuCtxSetCurrent(context_), "Using the context");
}

void Device::make_shared_memory() {
  shared_descriptor_ = sealed_memory("tfusion-session", kSharedBytes);
  void* memory = mmap(nullptr, kSharedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared_descriptor_, 0);
  if (memory == MAP_FAILED) throw system_error("The session's shared memory cannot be mapped");
  shared_.base = static_cast<std::byte*>(memory);
  new (memory) Control{};
  host_descriptor_ = sealed_memory("tfusion-host-arena", kHostArenaBytes);
  void* arena = mmap(reinterpret_cast<void*>(kHostArenaAddress), kHostArenaBytes, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, host_descriptor_, 0);
  if (arena != reinterpret_cast<void*>(kHostArenaAddress))
    throw system_error("The arena of pinned memory cannot be mapped");
  driver_.require(driver_->cuMemHostRegister_v2(shared_.base + kSlotsOffset, kTextOffset - kSlotsOffset,
                                                CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP),
                  "Pinning the staging area");
}

void Device::read_sm_layout(DeviceFacts& facts) {
  const void* table = nullptr;
  CUuuid id;
  std::memcpy(id.bytes, kSmLayoutTable, sizeof id.bytes);
  if (driver_->cuGetExportTable == nullptr || driver_->cuGetExportTable(&table, &id) != CUDA_SUCCESS) return;
  const auto* words = static_cast<const std::uintptr_t*>(table);
  if (words[0] < 14 * sizeof *words) return;
  std::uint8_t *place = nullptr, *group = nullptr;
  const auto ask = reinterpret_cast<CUresult (*)(std::uint8_t**, std::uint8_t**)>(words[4]);
  const auto release = reinterpret_cast<CUresult (*)(std::uint8_t*, std::uint8_t*)>(words[13]);
  if (ask(&place, &group) != CUDA_SUCCESS || place == nullptr || group == nullptr) return;
  const auto pairs =
      static_cast<std::uint32_t>(facts.attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT]) / 2;
  if (pairs <= kMaxSmPairs) {
    facts.sm_pairs = pairs;
    std::memcpy(facts.sm_place, place, pairs);
    std::memcpy(facts.sm_group, group, pairs);
  }
  release(place, group);
}

void Device::read_facts() {
  DeviceFacts& facts = shared_.control().facts;
  driver_.require(driver_->cuDeviceGetName(facts.name, sizeof facts.name, ordinal_),
                  "Asking for the GPU's name");
  driver_.require(driver_->cuDeviceGetPCIBusId(facts.pci_bus_id, sizeof facts.pci_bus_id, ordinal_),
                  "Asking for the GPU's bus id");
  driver_.require(driver_->cuDriverGetVersion(&facts.driver_version), "Asking for the driver's version");
  driver_.require(driver_->cuCtxGetApiVersion(context_, &facts.context_api_version),
                  "Asking for the API version");
  driver_.require(driver_->cuCtxGetStreamPriorityRange(&facts.least_priority, &facts.greatest_priority),
                  "Asking for stream priorities");
  for (unsigned i = 1; i < kMaxDeviceAttributes; ++i) {
    int value = 0;
    if (driver_->cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(i), ordinal_) == CUDA_SUCCESS) {
      facts.attributes[i] = value;
      facts.attribute_known[i] = 1;
    }
  }
  for (const int i : kAttributesNotOffered) facts.attributes[i] = 0;
  for (const int i : kAttributesOffered) facts.attributes[i] = facts.attribute_known[i] = 1;
  for (unsigned i = 0; i < kMaxLimits; ++i) {
    std::size_t value = 0;
    if (driver_->cuCtxGetLimit(&value, static_cast<CUlimit>(i)) == CUDA_SUCCESS) {
      facts.limits[i] = value;
      facts.limit_known[i] = 1;
    }
  }
  read_sm_layout(facts);
}

void Device::reset_context() {
  driver_.require(driver_->cuDevicePrimaryCtxReset_v2(ordinal_), "Resetting the GPU's context");
  make_context();
  driver_->cuMemHostUnregister(shared_.base +
                               kSlotsOffset);  // some drivers keep it, some ended it with the context
  driver_.require(driver_->cuMemHostRegister_v2(shared_.base + kSlotsOffset, kTextOffset - kSlotsOffset,
                                                CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP),
                  "Pinning the staging area");
}

}  // namespace tfusion::replay
