// Allocation, and what a program may ask of a pointer.
#include <algorithm>

#include "api.hpp"
#include "arena_heap.hpp"
#include "call.hpp"
#include "context.hpp"
#include "globals.hpp"
#include "managed.hpp"
#include "objects.hpp"
#include "own_context.hpp"
#include "pool.hpp"
#include "registered.hpp"
#include "virtual_memory.hpp"

namespace tfusion::hook::api {

namespace {

// What a pointer points into.
struct Place {
  enum Kind { host, device, pinned, managed, registered } kind = host;
  MemoryBlock block{};
};

Place place_of(std::uint64_t address) {
  Place place;
  if (device_heap().contains(address)) {
    if (device_heap().find(address, &place.block) || find_mapped(address, &place.block))
      place.kind = Place::device;
  } else if (host_heap().contains(address)) {
    if (host_heap().find(address, &place.block))
      place.kind = (place.block.flags & kManaged) != 0 ? Place::managed : Place::pinned;
  } else if (find_global(address, &place.block)) {
    place.kind = Place::device;
  } else if (find_registered(address, &place.block)) {
    place.kind = Place::registered;
  }
  return place;
}

template <typename T>
CUresult give(void* data, T value) {
  *static_cast<T*>(data) = value;
  return CUDA_SUCCESS;
}

CUresult pointer_attribute(void* data, CUpointer_attribute which, std::uint64_t address, const Place& place) {
  const bool managed = place.kind == Place::managed;
  const bool device = place.kind == Place::device;
  switch (which) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return give(
          data, owner_of(device || managed ? Owned::device_memory : Owned::host_memory, place.block.address));
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return give(data, device || managed ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      if (place.kind == Place::registered) return CUDA_ERROR_INVALID_VALUE;
      return give(data, CUdeviceptr{address});
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (device) return CUDA_ERROR_INVALID_VALUE;
      return give(data, reinterpret_cast<void*>(address));
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
      return give(data, place.block.sync_memops ? 1u : 0u);
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      // Unique among live blocks; addresses are given out again only after a block was freed.
      return give(data, static_cast<unsigned long long>(place.block.address));
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return give(data, managed ? 1u : 0u);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return give(data, 0);
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      return give(data, 0u);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return give(data, CUdeviceptr{place.block.address});
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return give(data, std::size_t{place.block.bytes});
    case CU_POINTER_ATTRIBUTE_MAPPED:
      return give(data, place.kind == Place::registered ? 0u : 1u);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
      return give(data, 0ull);
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
      return give(data, 0u);
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
      return give(data, CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      return give(data, pool_of_block(place.block.address));
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

CUresult allocate_host(void** pp, std::size_t bytes, unsigned flags) {
  if (pp == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  std::uint64_t address = 0;
  const CUresult result = host_heap().allocate(bytes, flags, &address);
  if (result == CUDA_SUCCESS) {
    own(Owned::host_memory, address);
    *pp = reinterpret_cast<void*>(address);
  }
  return result;
}

}  // namespace

CUresult cuMemAlloc_v2(CUdeviceptr* dptr, size_t bytesize) {
  if (dptr == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  std::uint64_t address = 0;
  const CUresult result = allocate_device(bytesize, &address);
  if (result == CUDA_SUCCESS) {
    own(Owned::device_memory, address);
    *dptr = address;
  }
  return result;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* dptr, size_t* pPitch, size_t WidthInBytes, size_t Height,
                            unsigned int ElementSizeBytes) {
  if (dptr == nullptr || pPitch == nullptr || WidthInBytes == 0 || Height == 0)
    return CUDA_ERROR_INVALID_VALUE;
  if (ElementSizeBytes != 4 && ElementSizeBytes != 8 && ElementSizeBytes != 16)
    return CUDA_ERROR_INVALID_VALUE;
  if (WidthInBytes > protocol::kDeviceArenaBytes) return CUDA_ERROR_OUT_OF_MEMORY;
  const std::size_t pitch = (WidthInBytes + 511) / 512 * 512;
  if (Height > protocol::kDeviceArenaBytes / pitch) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = api::cuMemAlloc_v2(dptr, pitch * Height);
  if (result == CUDA_SUCCESS) *pPitch = pitch;
  return result;
}

CUresult cuMemFree_v2(CUdeviceptr dptr) {
  if (dptr == 0) return CUDA_SUCCESS;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  if (host_heap().contains(dptr)) return free_managed(dptr);
  if (CUresult r = leave_pool(dptr); r != CUDA_SUCCESS) return r;
  disown(Owned::device_memory, dptr);
  return device_heap().release(dptr);
}

CUresult cuMemHostAlloc(void** pp, size_t bytesize, unsigned int Flags) {
  constexpr unsigned kKnown =
      CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if ((Flags & ~kKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  return allocate_host(pp, bytesize, Flags | CU_MEMHOSTALLOC_DEVICEMAP);
}

CUresult cuMemAllocHost_v2(void** pp, size_t bytesize) {
  return allocate_host(pp, bytesize, CU_MEMHOSTALLOC_DEVICEMAP);
}

CUresult cuMemFreeHost(void* p) {
  if (p == nullptr) return CUDA_SUCCESS;
  if (place_of(number(p)).kind != Place::pinned) return CUDA_ERROR_INVALID_VALUE;
  disown(Owned::host_memory, number(p));
  return host_heap().release(number(p));
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* pdptr, void* p, unsigned int Flags) {
  if (pdptr == nullptr || Flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const Place place = place_of(number(p));
  if (place.kind == Place::registered)
    return static_cast<CUresult>(refuse("the device pointer of registered host memory (use cuMemHostAlloc)"));
  if (place.kind != Place::pinned) return CUDA_ERROR_INVALID_VALUE;
  *pdptr = number(p);  // the arena lies at the same address in the worker, and so on the GPU
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int* pFlags, void* p) {
  if (pFlags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Place place = place_of(number(p));
  if (place.kind != Place::pinned && place.kind != Place::registered) return CUDA_ERROR_INVALID_VALUE;
  *pFlags = place.block.flags;
  return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  const protocol::Control& control = shared.control();
  const std::uint64_t used = control.status.slice_used_bytes.load(std::memory_order_relaxed);
  *total = control.facts.total_bytes;
  *free = *total - std::min<std::uint64_t>(used, *total);
  return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* pbase, size_t* psize, CUdeviceptr dptr) {
  const Place place = place_of(dptr);
  if (place.kind == Place::host) return CUDA_ERROR_NOT_FOUND;
  if (pbase != nullptr) *pbase = place.block.address;
  if (psize != nullptr) *psize = place.block.bytes;
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Place place = place_of(ptr);
  // Frameworks tell host memory by just this answer.
  if (place.kind == Place::host) return CUDA_ERROR_INVALID_VALUE;
  return pointer_attribute(data, attribute, ptr, place);
}

CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute* attributes, void** data,
                                CUdeviceptr ptr) {
  if (attributes == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Place place = place_of(ptr);
  for (unsigned i = 0; i < numAttributes; ++i) {
    if (data[i] == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (place.kind == Place::host) {  // no error here: every answer is empty
      switch (attributes[i]) {
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
        case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
        case CU_POINTER_ATTRIBUTE_MAPPED:
        case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
        case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
          give(data[i], 0u);
          break;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
          give(data[i], static_cast<int>(CU_DEVICE_INVALID));
          break;
        default:
          give(data[i], std::uint64_t{0});
          break;
      }
      continue;
    }
    const CUresult result = pointer_attribute(data[i], attributes[i], ptr, place);
    if (result != CUDA_SUCCESS && attributes[i] == CU_POINTER_ATTRIBUTE_HOST_POINTER) {
      give(data[i], std::uint64_t{0});
    } else if (result != CUDA_SUCCESS) {
      return result;
    }
  }
  return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void* value, CUpointer_attribute attribute, CUdeviceptr ptr) {
  if (value == nullptr || place_of(ptr).kind == Place::host) return CUDA_ERROR_INVALID_VALUE;
  if (attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS) return CUDA_ERROR_INVALID_VALUE;
  // Every synchronous copy here waits for its data, which is what it asks for; so it is only told again.
  // Callers pass a bool or an int; the lowest byte is the same of both.
  const bool on = *static_cast<const unsigned char*>(value) != 0;
  device_heap().set_sync_memops(ptr, on);
  host_heap().set_sync_memops(ptr, on);
  return CUDA_SUCCESS;
}

}  // namespace tfusion::hook::api
