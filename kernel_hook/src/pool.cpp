// Stream-ordered allocation and memory pools, all on this side of the ring: the client chooses addresses, so
// a block that was freed in a stream can be given out again in the same stream at once, since what follows
// there runs later. For any other stream it must first be known that the freeing stream has passed: by a wait
// that the program makes itself. When memory is out, the context's work is waited for and everything unused
// is given up.
//
// One mutex guards all pools; it is held while the heap asks the worker for memory, and nothing here is
// called with the heap's lock held.
#include "pool.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "api.hpp"
#include "arena_heap.hpp"
#include "call.hpp"
#include "capture.hpp"
#include "context.hpp"
#include "handle_table.hpp"
#include "objects.hpp"
#include "own_context.hpp"

namespace tfusion::hook {

namespace {

// `stream` of a block that no work can touch any more.
constexpr std::uint64_t kIdle = 0;

struct FreeBlock {
  std::uint64_t address;
  std::uint64_t stream;  // that freed it, as it travels; or kIdle
  std::uint64_t mark;    // how much was published when it was freed
};

struct PoolObject {
  std::uint64_t release_threshold = 0;
  int reuse[3] = {1, 1, 1};  // kept and told again; what they forbid is not done anyway, but for 0 in [1]
  std::uint64_t used = 0, used_high = 0, reserved = 0, reserved_high = 0;
  std::multimap<std::uint64_t, FreeBlock> unused;  // by size
  bool destroyed = false;                          // lives on until its last block is freed
  void reset() { *this = PoolObject{}; }
};

struct LiveBlock {
  std::uint64_t pool;
  std::uint64_t bytes;
};

constinit std::mutex mutex;
constinit std::atomic<std::uint64_t> unused_blocks{
    0};  // so that waits of programs without pools cost nothing
constinit std::uint64_t default_pool = 0;
constinit std::uint64_t current_pool = 0;

HandleTable<PoolObject>& pools() {
  static auto& table = *new HandleTable<PoolObject>(protocol::HandleKind::pool);
  return table;
}
std::map<std::uint64_t, LiveBlock>& live() {
  static auto& map = *new std::map<std::uint64_t, LiveBlock>;
  return map;
}
std::set<std::uint64_t>& unused_addresses() {
  static auto& set = *new std::set<std::uint64_t>;
  return set;
}
std::vector<std::uint64_t>& all_pools() {
  static auto& list = *new std::vector<std::uint64_t>;
  return list;
}

// What follows is called with the mutex held.

std::uint64_t make_pool() {
  const std::uint64_t handle = pools().create();
  if (handle != 0) all_pools().push_back(handle);
  return handle;
}

std::uint64_t the_default_pool() {
  if (default_pool == 0) default_pool = current_pool = make_pool();
  return default_pool;
}

// nullptr for what is no pool (any more). The default pool exists before anyone asks.
PoolObject* find_pool(CUmemoryPool handle) {
  the_default_pool();
  PoolObject* pool = pools().find(number(handle));
  return pool == nullptr || pool->destroyed ? nullptr : pool;
}

void count(PoolObject& pool, std::uint64_t more_used, std::uint64_t more_reserved) {
  pool.used += more_used;
  pool.reserved += more_reserved;
  pool.used_high = std::max(pool.used_high, pool.used);
  pool.reserved_high = std::max(pool.reserved_high, pool.reserved);
}

using Unused = std::multimap<std::uint64_t, FreeBlock>;

// The block is the pool's unused one no more; returns the next.
Unused::iterator used_again(PoolObject& pool, Unused::iterator block) {
  unused_blocks.fetch_sub(1);
  unused_addresses().erase(block->second.address);
  return pool.unused.erase(block);
}

// Gives idle blocks back to the slice until the pool keeps no more than `keep` bytes.
CUresult trim(PoolObject& pool, std::uint64_t keep) {
  CUresult result = CUDA_SUCCESS;
  for (auto block = pool.unused.begin(); block != pool.unused.end() && pool.reserved > keep;) {
    if (block->second.stream != kIdle) {
      ++block;
      continue;
    }
    const CUresult released = device_heap().release_idle(block->second.address);
    if (result == CUDA_SUCCESS) result = released;
    pool.reserved -= block->first;
    block = used_again(pool, block);
  }
  return result;
}

// Ends a destroyed pool that has nothing left.
void bury(std::uint64_t handle) {
  PoolObject* pool = pools().find(handle);
  if (pool == nullptr || !pool->destroyed || pool->used > 0 || !pool->unused.empty()) return;
  std::erase(all_pools(), handle);
  pools().erase(handle);
}

template <typename Passed>
void after(Passed&& passed) {
  std::lock_guard lock(mutex);
  const std::vector<std::uint64_t> handles = all_pools();
  for (const std::uint64_t handle : handles) {
    PoolObject* pool = pools().find(handle);
    if (pool == nullptr) continue;
    for (auto& [bytes, block] : pool->unused) {
      if (passed(block)) block.stream = kIdle;
    }
    trim(*pool, pool->destroyed ? 0 : pool->release_threshold);
    bury(handle);
  }
}

// A block is reused for what is not much smaller, so that a pool does not fill with ill-fitting ones.
constexpr std::uint64_t most_for(std::uint64_t bytes) {
  return bytes + bytes / 8;
}

std::uint64_t rounded(std::uint64_t bytes) {
  const std::uint64_t to = bytes >= protocol::kArenaPageBytes ? protocol::kArenaPageBytes : 512;
  return (bytes + to - 1) / to * to;
}

CUresult take(PoolObject& pool, std::uint64_t handle, std::uint64_t bytes, std::uint64_t stream,
              std::uint64_t* address) {
  for (auto block = pool.unused.lower_bound(bytes);
       block != pool.unused.end() && block->first <= most_for(bytes); ++block) {
    if (block->second.stream != kIdle && block->second.stream != stream) continue;
    *address = block->second.address;
    count(pool, block->first, 0);
    live()[*address] = {handle, block->first};
    used_again(pool, block);
    return CUDA_SUCCESS;
  }
  if (CUresult r = device_heap().allocate(bytes, 0, address); r != CUDA_SUCCESS) return r;
  count(pool, bytes, bytes);
  live()[*address] = {handle, bytes};
  return CUDA_SUCCESS;
}

CUresult allocate_async(CUdeviceptr* address, std::size_t asked, CUmemoryPool handle, CUstream stream) {
  if (address == nullptr || asked == 0) return CUDA_ERROR_INVALID_VALUE;
  if (asked > protocol::kDeviceArenaBytes) return CUDA_ERROR_OUT_OF_MEMORY;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(stream, &on); r != CUDA_SUCCESS) return r;
  if (is_capturing(on)) return static_cast<CUresult>(refuse("cuMemAllocAsync in a stream that captures"));
  std::uint64_t found = 0;
  const CUresult result = with_unused_pool_memory([&]() -> CUresult {
    std::lock_guard lock(mutex);
    PoolObject* pool = find_pool(handle);
    return pool == nullptr ? CUDA_ERROR_INVALID_VALUE
                           : take(*pool, number(handle), rounded(asked), on, &found);
  });
  if (result == CUDA_SUCCESS) *address = found;
  return result;
}

bool is_reuse(CUmemPool_attribute attribute) {
  return attribute >= CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES &&
         attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

// Only memory of the one device of a slice comes in pools.
bool is_device(const CUmemLocation* location, CUmemAllocationType type) {
  return location != nullptr && location->type == CU_MEM_LOCATION_TYPE_DEVICE && location->id == 0 &&
         type == CU_MEM_ALLOCATION_TYPE_PINNED;
}

CUresult give_pool(CUmemoryPool* out, std::uint64_t which) {
  *out = reinterpret_cast<CUmemoryPool>(which);
  return which != 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace

CUresult allocate_device(std::uint64_t bytes, std::uint64_t* address) {
  return with_unused_pool_memory([&] { return device_heap().allocate(bytes, 0, address); });
}

bool release_unused_pool_memory() {
  if (unused_blocks.load() == 0) return false;
  const std::uint64_t mark = published();
  if (drain() != CUDA_SUCCESS) return false;
  pools_after_all(mark);
  std::lock_guard lock(mutex);
  for (const std::uint64_t handle : all_pools()) {
    if (PoolObject* pool = pools().find(handle)) trim(*pool, 0);
  }
  return true;  // the wait itself may have given up what there was
}

CUresult leave_pool(std::uint64_t address) {
  std::lock_guard lock(mutex);
  if (unused_addresses().contains(address)) return CUDA_ERROR_INVALID_VALUE;
  const auto found = live().find(address);
  if (found == live().end()) return CUDA_SUCCESS;
  if (PoolObject* pool = pools().find(found->second.pool)) {
    pool->used -= found->second.bytes;
    pool->reserved -= found->second.bytes;
    bury(found->second.pool);
  }
  live().erase(found);
  return CUDA_SUCCESS;
}

CUmemoryPool pool_of_block(std::uint64_t address) {
  std::lock_guard lock(mutex);
  const auto found = live().find(address);
  return reinterpret_cast<CUmemoryPool>(found == live().end() ? 0 : found->second.pool);
}

void pools_after_stream(std::uint64_t stream, std::uint64_t mark) {
  if (unused_blocks.load(std::memory_order_relaxed) == 0) return;
  after([&](const FreeBlock& block) { return block.stream == stream && block.mark <= mark; });
}

void pools_after_all(std::uint64_t mark) {
  if (unused_blocks.load(std::memory_order_relaxed) == 0) return;
  after([&](const FreeBlock& block) { return block.mark <= mark; });
}

void forget_pools() {
  std::lock_guard lock(mutex);
  live().clear();
  const std::vector<std::uint64_t> handles = all_pools();
  for (const std::uint64_t handle : handles) {
    PoolObject* pool = pools().find(handle);
    if (pool == nullptr) continue;
    while (!pool->unused.empty()) used_again(*pool, pool->unused.begin());
    pool->used = pool->reserved = 0;
    bury(handle);
  }
}

namespace api {

CUresult cuMemAllocAsync(CUdeviceptr* dptr, size_t bytesize, CUstream hStream) {
  std::uint64_t pool = 0;
  {
    std::lock_guard lock(mutex);
    the_default_pool();
    pool = current_pool;
  }
  return allocate_async(dptr, bytesize, reinterpret_cast<CUmemoryPool>(pool), hStream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream) {
  return allocate_async(dptr, bytesize, pool, hStream);
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
  if (dptr == 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(hStream, &on); r != CUDA_SUCCESS) return r;
  if (is_capturing(on)) return static_cast<CUresult>(refuse("cuMemFreeAsync in a stream that captures"));
  std::lock_guard lock(mutex);
  MemoryBlock block{};
  if (!device_heap().find(dptr, &block) || block.address != dptr) return CUDA_ERROR_INVALID_VALUE;
  disown(Owned::device_memory, dptr);
  // Memory of cuMemAlloc may be freed in a stream as well: from then on it is the default pool's.
  std::uint64_t handle = the_default_pool();
  const auto found = live().find(dptr);
  if (found != live().end()) {
    handle = found->second.pool;
    block.bytes = found->second.bytes;
    live().erase(found);
  } else {
    if (unused_addresses().contains(dptr)) return CUDA_ERROR_INVALID_VALUE;  // freed before
    if (PoolObject* pool = pools().find(handle)) count(*pool, block.bytes, block.bytes);
  }
  PoolObject* pool = pools().find(handle);
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  pool->used -= block.bytes;
  pool->unused.emplace(block.bytes, FreeBlock{dptr, on, published()});
  unused_addresses().insert(dptr);
  unused_blocks.fetch_add(1);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool_out, CUdevice dev) {
  if (pool_out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard lock(mutex);
  return give_pool(pool_out, the_default_pool());
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice dev) {
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard lock(mutex);
  the_default_pool();
  return give_pool(pool, current_pool);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool) {
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard lock(mutex);
  if (find_pool(pool) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  current_pool = number(pool);
  return CUDA_SUCCESS;
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool* pool_out, CUmemLocation* location, CUmemAllocationType type) {
  if (pool_out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return is_device(location, type) ? api::cuDeviceGetDefaultMemPool(pool_out, 0) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMemGetMemPool(CUmemoryPool* pool, CUmemLocation* location, CUmemAllocationType type) {
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return is_device(location, type) ? api::cuDeviceGetMemPool(pool, 0) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMemSetMemPool(CUmemLocation* location, CUmemAllocationType type, CUmemoryPool pool) {
  return is_device(location, type) ? api::cuDeviceSetMemPool(0, pool) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* poolProps) {
  if (pool == nullptr || poolProps == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!is_device(&poolProps->location, poolProps->allocType) ||
      poolProps->handleTypes != CU_MEM_HANDLE_TYPE_NONE) {
    return static_cast<CUresult>(
        refuse("cuMemPoolCreate for host memory, or for handles that can be shared"));
  }
  std::lock_guard lock(mutex);
  return give_pool(pool, make_pool());
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  std::lock_guard lock(mutex);
  PoolObject* object = find_pool(pool);
  if (object == nullptr || number(pool) == default_pool) return CUDA_ERROR_INVALID_VALUE;
  if (number(pool) == current_pool) current_pool = default_pool;
  object->destroyed = true;
  const CUresult result = trim(*object, 0);
  bury(number(pool));
  return result;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep) {
  std::lock_guard lock(mutex);
  PoolObject* object = find_pool(pool);
  return object == nullptr ? CUDA_ERROR_INVALID_VALUE : trim(*object, minBytesToKeep);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  const PoolObject* object = find_pool(pool);
  if (object == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (is_reuse(attr)) {
    *static_cast<int*>(value) = object->reuse[attr - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES];
    return CUDA_SUCCESS;
  }
  auto* out = static_cast<cuuint64_t*>(value);
  switch (attr) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      *out = object->release_threshold;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
      *out = object->reserved;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      *out = object->reserved_high;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      *out = object->used;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      *out = object->used_high;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  PoolObject* object = find_pool(pool);
  if (object == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (is_reuse(attr)) {
    object->reuse[attr - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES] = *static_cast<int*>(value) != 0;
    return CUDA_SUCCESS;
  }
  const cuuint64_t bytes = *static_cast<cuuint64_t*>(value);
  switch (attr) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      object->release_threshold = bytes;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:  // a high-water mark can only be set back
      if (bytes != 0) return CUDA_ERROR_INVALID_VALUE;
      object->reserved_high = object->reserved;
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      if (bytes != 0) return CUDA_ERROR_INVALID_VALUE;
      object->used_high = object->used;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool memPool, CUmemLocation* location) {
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  if (find_pool(memPool) == nullptr || location->type != CU_MEM_LOCATION_TYPE_DEVICE || location->id != 0)
    return CUDA_ERROR_INVALID_VALUE;
  *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc* map, size_t count) {
  if (map == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  if (find_pool(pool) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    // The device that a pool is on always reaches it, and there is no other.
    if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || map[i].location.id != 0)
      return CUDA_ERROR_INVALID_DEVICE;
    if (map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace tfusion::hook
