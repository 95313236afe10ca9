// Managed memory (cudaMallocManaged): pinned host memory that the GPU reaches over the link. Address and
// contents are the same for host and device at any time, also while a kernel runs, which is what managed
// memory promises; what it does not do is migrate, so a kernel that touches it works at the link's speed.
// Advice and prefetches are therefore checked, kept and told again, and move nothing.
#include "managed.hpp"

#include <algorithm>
#include <map>
#include <mutex>

#include "api.hpp"
#include "arena_heap.hpp"
#include "call.hpp"
#include "context.hpp"
#include "objects.hpp"
#include "own_context.hpp"

namespace tfusion::hook {

namespace {

constexpr int kNowhere = CU_DEVICE_INVALID;
constexpr int kHost = CU_DEVICE_CPU;

// What a program said of a block; whole blocks, as nothing depends on it.
struct Advice {
  int read_mostly = 0;
  int preferred = kNowhere;
  bool by_device = false, by_host = false;
  int prefetched = kNowhere;
};

constinit std::mutex mutex;
std::map<std::uint64_t, Advice>& advices() {
  static auto& map = *new std::map<std::uint64_t, Advice>;
  return map;
}

bool is_place(int device) {
  return device == 0 || device == kHost;
}

// CUDA's later functions name places by kind and number.
bool place_of(const CUmemLocation& location, int* device) {
  switch (location.type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
      *device = location.id;
      return location.id == 0;
    case CU_MEM_LOCATION_TYPE_HOST:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT:
      *device = kHost;
      return true;
    default:
      return false;
  }
}

// Calls visit(advice of the block) for every block of [address, address + bytes); false if some of it is not
// managed.
template <typename Visit>
bool for_range(std::uint64_t address, std::uint64_t bytes, Visit&& visit) {
  if (bytes == 0 || bytes > UINT64_MAX - address) return false;
  std::lock_guard lock(mutex);
  const std::uint64_t end = address + bytes;
  while (address < end) {
    MemoryBlock block{};
    if (!find_managed(address, &block)) return false;
    visit(advices()[block.address]);
    address = block.address + block.bytes;
  }
  return true;
}

CUresult advise(std::uint64_t address, std::size_t bytes, CUmem_advise advice, int device) {
  const bool needs_place = advice == CU_MEM_ADVISE_SET_PREFERRED_LOCATION ||
                           advice == CU_MEM_ADVISE_SET_ACCESSED_BY ||
                           advice == CU_MEM_ADVISE_UNSET_ACCESSED_BY;
  if (needs_place && !is_place(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (advice < CU_MEM_ADVISE_SET_READ_MOSTLY || advice > CU_MEM_ADVISE_UNSET_ACCESSED_BY)
    return CUDA_ERROR_INVALID_VALUE;
  const bool ok = for_range(address, bytes, [&](Advice& a) {
    switch (advice) {
      case CU_MEM_ADVISE_SET_READ_MOSTLY:
      case CU_MEM_ADVISE_UNSET_READ_MOSTLY:
        a.read_mostly = advice == CU_MEM_ADVISE_SET_READ_MOSTLY;
        break;
      case CU_MEM_ADVISE_SET_PREFERRED_LOCATION:
        a.preferred = device;
        break;
      case CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION:
        a.preferred = kNowhere;
        break;
      case CU_MEM_ADVISE_SET_ACCESSED_BY:
      case CU_MEM_ADVISE_UNSET_ACCESSED_BY:
        (device == kHost ? a.by_host : a.by_device) = advice == CU_MEM_ADVISE_SET_ACCESSED_BY;
        break;
    }
  });
  return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult prefetch(std::uint64_t address, std::size_t bytes, int device, CUstream stream) {
  if (!is_place(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(stream, &on); r != CUDA_SUCCESS) return r;
  const bool ok = for_range(address, bytes, [&](Advice& a) { a.prefetched = device; });
  return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// One value if all blocks of the range agree on it, else what stands for "they do not".
template <typename Get>
bool common(std::uint64_t address, std::size_t bytes, int otherwise, int* out, Get&& get) {
  bool first = true;
  return for_range(address, bytes, [&](const Advice& a) {
    *out = first || *out == get(a) ? get(a) : otherwise;
    first = false;
  });
}

CUresult range_attribute(void* data, std::size_t data_bytes, CUmem_range_attribute which,
                         std::uint64_t address, std::size_t bytes) {
  if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  int value = 0;
  bool ok = false;
  switch (which) {
    case CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY:
      ok = common(address, bytes, 0, &value, [](const Advice& a) { return a.read_mostly; });
      break;
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION:
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_ID:
      ok = common(address, bytes, kNowhere, &value, [](const Advice& a) { return a.preferred; });
      break;
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION:
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_ID:
      ok = common(address, bytes, kNowhere, &value, [](const Advice& a) { return a.prefetched; });
      break;
    case CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE:
    case CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE: {
      const bool preferred = which == CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE;
      ok = common(address, bytes, kNowhere, &value,
                  [&](const Advice& a) { return preferred ? a.preferred : a.prefetched; });
      value = value == kNowhere ? CU_MEM_LOCATION_TYPE_INVALID
              : value == kHost  ? CU_MEM_LOCATION_TYPE_HOST
                                : CU_MEM_LOCATION_TYPE_DEVICE;
      break;
    }
    case CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY: {
      if (data_bytes == 0 || data_bytes % sizeof(int) != 0) return CUDA_ERROR_INVALID_VALUE;
      bool by_device = true, by_host = true;
      ok = for_range(address, bytes, [&](const Advice& a) {
        by_device = by_device && a.by_device;
        by_host = by_host && a.by_host;
      });
      if (!ok) return CUDA_ERROR_INVALID_VALUE;
      auto* list = static_cast<int*>(data);
      std::fill_n(list, data_bytes / sizeof(int), kNowhere);
      const int* end = list + data_bytes / sizeof(int);
      if (by_device && list != end) *list++ = 0;
      if (by_host && list != end) *list = kHost;
      return CUDA_SUCCESS;
    }
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  if (!ok || data_bytes != sizeof value) return CUDA_ERROR_INVALID_VALUE;
  *static_cast<int*>(data) = value;
  return CUDA_SUCCESS;
}

}  // namespace

bool find_managed(std::uint64_t address, MemoryBlock* block) {
  return host_heap().contains(address) && host_heap().find(address, block) && (block->flags & kManaged) != 0;
}

CUresult free_managed(std::uint64_t address) {
  MemoryBlock block{};
  if (!find_managed(address, &block) || block.address != address) return CUDA_ERROR_INVALID_VALUE;
  {
    std::lock_guard lock(mutex);
    advices().erase(address);
  }
  disown(Owned::device_memory, address);
  return host_heap().release(address);
}

void forget_managed() {
  std::lock_guard lock(mutex);
  advices().clear();
}

namespace api {

CUresult cuMemAllocManaged(CUdeviceptr* dptr, size_t bytesize, unsigned int flags) {
  if (dptr == nullptr || bytesize == 0) return CUDA_ERROR_INVALID_VALUE;
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  std::uint64_t address = 0;
  const CUresult result = host_heap().allocate(bytesize, kManaged, &address);
  if (result == CUDA_SUCCESS) {
    own(Owned::device_memory, address);
    *dptr = address;
  }
  return result;
}

CUresult cuMemAdvise(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUdevice device) {
  return advise(devPtr, count, advice, device);
}

CUresult cuMemAdvise_v2(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUmemLocation location) {
  int device = kNowhere;
  const bool known = place_of(location, &device);
  return advise(devPtr, count, advice, known ? device : kNowhere);
}

CUresult cuMemPrefetchAsync(CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream) {
  return prefetch(devPtr, count, dstDevice, hStream);
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr devPtr, size_t count, CUmemLocation location, unsigned int flags,
                               CUstream hStream) {
  int device = kNowhere;
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return place_of(location, &device) ? prefetch(devPtr, count, device, hStream) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemRangeGetAttribute(void* data, size_t dataSize, CUmem_range_attribute attribute,
                                CUdeviceptr devPtr, size_t count) {
  return range_attribute(data, dataSize, attribute, devPtr, count);
}

CUresult cuMemRangeGetAttributes(void** data, size_t* dataSizes, CUmem_range_attribute* attributes,
                                 size_t numAttributes, CUdeviceptr devPtr, size_t count) {
  if (data == nullptr || dataSizes == nullptr || attributes == nullptr || numAttributes == 0)
    return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < numAttributes; ++i) {
    if (CUresult r = range_attribute(data[i], dataSizes[i], attributes[i], devPtr, count); r != CUDA_SUCCESS)
      return r;
  }
  return CUDA_SUCCESS;
}

CUresult cuStreamAttachMemAsync(CUstream hStream, CUdeviceptr dptr, size_t, unsigned int flags) {
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST && flags != CU_MEM_ATTACH_SINGLE)
    return CUDA_ERROR_INVALID_VALUE;
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(hStream, &on); r != CUDA_SUCCESS) return r;
  MemoryBlock block{};
  // Host and device may touch the memory at the same time anyway.
  return find_managed(dptr, &block) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace api
}  // namespace tfusion::hook
