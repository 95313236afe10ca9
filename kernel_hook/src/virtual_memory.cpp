// The virtual memory API (cuMemAddressReserve, cuMemCreate, cuMemMap): addresses come from the device arena,
// which the worker has reserved as a whole, so reserving is this side's affair; physical memory, which counts
// against the slice, and its mappings are the worker's, and each call that the GPU's driver could refuse
// waits for its answer.
#include "virtual_memory.hpp"

#include <algorithm>
#include <map>
#include <mutex>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "handle_table.hpp"
#include "objects.hpp"
#include "pool.hpp"

namespace tfusion::hook {

namespace {

constexpr std::uint64_t kPage = protocol::kArenaPageBytes;

struct AllocationObject {
  std::uint64_t bytes = 0;
  CUmemAllocationProp property{};
  unsigned references = 0;  // the program's; mappings are counted apart
  unsigned mappings = 0;
  void reset() { *this = AllocationObject{}; }
};

struct MappedRange {
  std::uint64_t bytes;
  std::uint64_t allocation;
  unsigned access;  // CUmemAccess_flags
};

constinit std::mutex mutex;

HandleTable<AllocationObject>& allocations() {
  static auto& table = *new HandleTable<AllocationObject>(protocol::HandleKind::allocation);
  return table;
}
Ranges& reservations() {
  static auto& map = *new Ranges;
  return map;
}
std::map<std::uint64_t, MappedRange>& mapped() {
  static auto& map = *new std::map<std::uint64_t, MappedRange>;
  return map;
}

bool whole_pages(std::uint64_t start, std::uint64_t bytes) {
  return bytes > 0 && start % kPage == 0 && bytes % kPage == 0;
}

bool is_device(const CUmemLocation& location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id == 0;
}

// Whether [start, start + bytes) lies in one reservation.
bool reserved(std::uint64_t start, std::uint64_t bytes) {
  auto after = reservations().upper_bound(start);
  if (after == reservations().begin()) return false;
  --after;
  const std::uint64_t into = start - after->first;
  return into < after->second && bytes <= after->second - into;
}

// The mappings that make up [start, start + bytes) without gap or rest; empty if they do not.
std::vector<std::uint64_t> whole_mappings(std::uint64_t start, std::uint64_t bytes) {
  std::vector<std::uint64_t> found;
  std::uint64_t reached = start;
  for (auto range = mapped().find(start); range != mapped().end() && range->first == reached; ++range) {
    found.push_back(range->first);
    reached += range->second.bytes;
    if (reached - start >= bytes) break;
  }
  if (reached - start != bytes) found.clear();
  return found;
}

CUresult check_property(const CUmemAllocationProp* property) {
  if (property == nullptr || property->type != CU_MEM_ALLOCATION_TYPE_PINNED) return CUDA_ERROR_INVALID_VALUE;
  if (property->location.type != CU_MEM_LOCATION_TYPE_DEVICE) {
    return static_cast<CUresult>(refuse("cuMemCreate for host memory"));
  }
  if (property->location.id != 0) return CUDA_ERROR_INVALID_DEVICE;
  // PyTorch's expandable segments ask for fabric handles, then for file descriptors, whatever the device says it
  // has, and export none. The first is what devices without a fabric say; the second does no harm, as
  // cuMemExportToShareableHandle is refused.
  const bool known = property->requestedHandleTypes == CU_MEM_HANDLE_TYPE_NONE ||
                     property->requestedHandleTypes == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  return known ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

// Tells the worker when neither the program nor a mapping needs the memory. Called with the mutex held.
CUresult drop_if_unused(std::uint64_t handle) {
  const AllocationObject* allocation = allocations().find(handle);
  if (allocation == nullptr || allocation->references > 0 || allocation->mappings > 0) return CUDA_SUCCESS;
  wire::PhysicalRelease command{};
  command.allocation = handle;
  allocations().retire(handle);
  const CUresult result = call(command);  // not sent alone: what cuMemGetInfo says next shall be so
  allocations().recycle(handle);
  return result;
}

}  // namespace

bool find_mapped(std::uint64_t address, MemoryBlock* block) {
  std::lock_guard lock(mutex);
  auto after = mapped().upper_bound(address);
  if (after == mapped().begin()) return false;
  --after;
  if (address - after->first >= after->second.bytes) return false;
  *block = {after->first, after->second.bytes, 0};
  return true;
}

void forget_virtual_memory() {
  std::lock_guard lock(mutex);
  mapped().clear();
  reservations().clear();
  allocations().erase_all();
}

namespace api {

CUresult cuMemAddressReserve(CUdeviceptr* ptr, size_t size, size_t alignment, CUdeviceptr,
                             unsigned long long flags) {
  if (ptr == nullptr || size == 0 || size % kPage != 0 || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if ((alignment & (alignment - 1)) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  // The address that the program would like is a hint, which a driver may pass over.
  std::uint64_t start = 0;
  if (CUresult r = device_heap().reserve(size, alignment, &start); r != CUDA_SUCCESS) return r;
  std::lock_guard lock(mutex);
  reservations().emplace(start, size);
  *ptr = start;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size) {
  {
    std::lock_guard lock(mutex);
    const auto found = reservations().find(ptr);
    if (found == reservations().end() || found->second != size) return CUDA_ERROR_INVALID_VALUE;
    const auto inside = mapped().lower_bound(ptr);
    if (inside != mapped().end() && inside->first - ptr < size) return CUDA_ERROR_INVALID_VALUE;
    reservations().erase(found);
  }
  device_heap().unreserve(ptr, size);
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags option) {
  if (granularity == nullptr || option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
    return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = check_property(prop); r != CUDA_SUCCESS) return r;
  *granularity = kPage;
  return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t size, const CUmemAllocationProp* prop,
                     unsigned long long flags) {
  if (handle == nullptr || size == 0 || size % kPage != 0 || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = check_property(prop); r != CUDA_SUCCESS) return r;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  const std::uint64_t fresh = allocations().create([&](AllocationObject& a) {
    a.bytes = size;
    a.property = *prop;
    a.references = 1;
  });
  if (fresh == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = with_unused_pool_memory([&] {
    wire::PhysicalCreate command{};
    command.allocation = fresh;
    command.bytes = size;
    return call(command);
  });
  if (result != CUDA_SUCCESS) {
    allocations().erase(fresh);
    return result;
  }
  *handle = fresh;
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  std::lock_guard lock(mutex);
  AllocationObject* allocation = allocations().find(handle);
  if (allocation == nullptr || allocation->references == 0) return CUDA_ERROR_INVALID_VALUE;
  --allocation->references;
  return drop_if_unused(handle);
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* addr) {
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  const std::uint64_t address = number(addr);
  auto range = mapped().upper_bound(address);
  if (range == mapped().begin() || address - (--range)->first >= range->second.bytes)
    return CUDA_ERROR_INVALID_VALUE;
  AllocationObject* allocation = allocations().find(range->second.allocation);
  if (allocation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ++allocation->references;
  *handle = range->second.allocation;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* prop,
                                                CUmemGenericAllocationHandle handle) {
  if (prop == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  const AllocationObject* allocation = allocations().find(handle);
  if (allocation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *prop = allocation->property;
  return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
  if (flags != 0 || !whole_pages(ptr, size) || offset % kPage != 0) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  AllocationObject* allocation = allocations().find(handle);
  if (allocation == nullptr || offset > allocation->bytes || size > allocation->bytes - offset)
    return CUDA_ERROR_INVALID_VALUE;
  if (!reserved(ptr, size)) return CUDA_ERROR_INVALID_VALUE;
  auto after = mapped().lower_bound(ptr);
  if (after != mapped().end() && after->first - ptr < size) return CUDA_ERROR_INVALID_VALUE;
  if (after != mapped().begin() && std::prev(after)->first + std::prev(after)->second.bytes > ptr)
    return CUDA_ERROR_INVALID_VALUE;
  wire::PhysicalMap command{};
  command.allocation = handle;
  command.address = ptr;
  command.bytes = size;
  command.offset = offset;
  if (CUresult r = call(command); r != CUDA_SUCCESS) return r;
  mapped()[ptr] = {size, handle, CU_MEM_ACCESS_FLAGS_PROT_NONE};
  ++allocation->mappings;
  return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size) {
  {
    std::lock_guard lock(mutex);
    if (whole_mappings(ptr, size).empty()) return CUDA_ERROR_INVALID_VALUE;
  }
  // Work that is under way may still touch it; a driver, too, lets it pass first.
  const CUresult drained = drain();
  if (drained != CUDA_SUCCESS && enter() != CUDA_SUCCESS) return drained;
  std::lock_guard lock(mutex);
  for (const std::uint64_t start : whole_mappings(ptr, size)) {
    const MappedRange range = mapped()[start];
    wire::PhysicalUnmap command{};
    command.address = start;
    command.bytes = range.bytes;
    if (CUresult r = call(command); r != CUDA_SUCCESS) return r;
    mapped().erase(start);
    if (AllocationObject* allocation = allocations().find(range.allocation)) --allocation->mappings;
    drop_if_unused(range.allocation);
  }
  return drained;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc* desc, size_t count) {
  if (desc == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    if (!is_device(desc[i].location)) return CUDA_ERROR_INVALID_DEVICE;
    if (desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
        desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  std::lock_guard lock(mutex);
  const std::vector<std::uint64_t> ranges = whole_mappings(ptr, size);
  if (ranges.empty()) return CUDA_ERROR_INVALID_VALUE;
  wire::PhysicalSetAccess command{};
  command.address = ptr;
  command.bytes = size;
  command.flags = desc[count - 1].flags;
  if (CUresult r = call(command); r != CUDA_SUCCESS) return r;
  for (const std::uint64_t start : ranges) mapped()[start].access = command.flags;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location, CUdeviceptr ptr) {
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!is_device(*location)) return CUDA_ERROR_INVALID_DEVICE;
  MemoryBlock block{};
  if (!find_mapped(ptr, &block)) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  const auto range = mapped().find(block.address);
  if (range == mapped().end()) return CUDA_ERROR_INVALID_VALUE;
  *flags = range->second.access;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace tfusion::hook
