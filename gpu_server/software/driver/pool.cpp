// Stream-ordered allocation. An allocation is there when the call returns, which is earlier than asked for
// and so always in time; a free happens when the queue passes it. The pool keeps nothing for itself.
#include "pool.hpp"

#include <algorithm>
#include <array>
#include <atomic>

#include "device.hpp"
#include "device_memory.hpp"
#include "entry.hpp"
#include "node_params.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

namespace {

class MemoryPool final : public Object {
 public:
  static constexpr Kind kKind = Kind::memory_pool;

  // Reuse policies are kept and answered; they change nothing, since memory is never held back.
  std::array<std::atomic<int>, 3> reuse{1, 1, 1};
  std::atomic<std::uint64_t> release_threshold{0};
  std::atomic<std::uint64_t> used_bytes{0};
  std::atomic<std::uint64_t> used_high_bytes{0};
};

const std::shared_ptr<MemoryPool>& pool() {
  static const auto& only =
      *new std::shared_ptr<MemoryPool>(driver().handles.add(std::make_shared<MemoryPool>()));
  return only;
}

std::shared_ptr<MemoryPool> pool_of(CUmemoryPool handle) {
  pool();
  return driver().handles.get<MemoryPool>(number_of(handle), CUDA_ERROR_INVALID_VALUE);
}

CUresult allocate(CUdeviceptr* address, std::size_t bytes, CUmemoryPool handle, CUstream stream_handle) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(address != nullptr);
    const auto from = pool_of(handle);
    const auto stream = stream_of(*context, stream_handle);
    const auto owner = context_of(*stream);
    if (captures(*stream, *owner)) {
      *address = capture_allocation(*stream, *owner, bytes);
      return;
    }
    *address = allocate_device_memory(*owner, bytes, RegionKind::pooled);
    const std::uint64_t used = from->used_bytes.fetch_add(page_ceiling(bytes)) + page_ceiling(bytes);
    std::uint64_t high = from->used_high_bytes.load();
    while (high < used && !from->used_high_bytes.compare_exchange_weak(high, used)) {
    }
  });
}

bool is_reuse(CUmemPool_attribute attribute) {
  return attribute >= CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES &&
         attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

std::size_t reuse_index(CUmemPool_attribute attribute) {
  return static_cast<std::size_t>(attribute - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES);
}

CUresult answer_pool(CUmemoryPool* result, CUdevice device) {
  return call([&] {
    require(result != nullptr);
    require_device(device);
    *result = default_memory_pool();
  });
}

}  // namespace

CUmemoryPool default_memory_pool() {
  return handle_of<CUmemoryPool>(*pool());
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuMemAllocAsync(CUdeviceptr* dptr, size_t bytesize, CUstream hStream) {
  return call([&] { return allocate(dptr, bytesize, default_memory_pool(), hStream); });
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream) {
  return allocate(dptr, bytesize, pool, hStream);
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto stream = stream_of(*context, hStream);
    const auto owner = context_of(*stream);
    if (captures(*stream, *owner)) return capture_release(*stream, *owner, dptr);
    if (const auto allocation = find_graph_allocation(dptr)) {
      stream->extend(free_graph_allocation(allocation));
      return;
    }
    std::optional<Region> region;
    {
      const auto lock = driver().memory.lock();
      region = driver().memory.take(dptr, {RegionKind::device, RegionKind::pooled});
    }
    require(region.has_value());
    if (region->kind == RegionKind::pooled) pool()->used_bytes.fetch_sub(page_ceiling(region->bytes));
    // Freed even if the context fails before: the account must come right.
    stream->extend(
        driver().queue.submit([region = std::move(*region)]() noexcept { release_device_memory(region); }));
  });
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool_out, CUdevice dev) {
  return answer_pool(pool_out, dev);
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice dev) {
  return answer_pool(pool, dev);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool) {
  return call([&] {
    require_device(dev);
    pool_of(pool);
  });
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t) {
  return call([&] { pool_of(pool); });
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void* value) {
  return call([&] {
    require(value != nullptr);
    const auto asked = pool_of(pool);
    const auto put = [&](std::uint64_t bytes) { *static_cast<cuuint64_t*>(value) = bytes; };
    if (is_reuse(attr)) {
      *static_cast<int*>(value) = asked->reuse[reuse_index(attr)];
      return;
    }
    switch (attr) {
      case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        return put(asked->release_threshold);
      case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
      case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        return put(asked->used_bytes);
      case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        return put(asked->used_high_bytes);
      default:
        throw Failure(CUDA_ERROR_INVALID_VALUE);
    }
  });
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attr, void* value) {
  return call([&] {
    require(value != nullptr);
    const auto asked = pool_of(pool);
    if (is_reuse(attr)) {
      asked->reuse[reuse_index(attr)] = *static_cast<const int*>(value) != 0;
      return;
    }
    const cuuint64_t bytes = *static_cast<const cuuint64_t*>(value);
    switch (attr) {
      case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        asked->release_threshold = bytes;
        break;
      case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        require(bytes == 0);  // it can only be reset
        asked->used_high_bytes = asked->used_bytes.load();
        break;
      default:
        throw Failure(CUDA_ERROR_INVALID_VALUE);
    }
  });
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool memPool, CUmemLocation* location) {
  return call([&] {
    require(flags != nullptr && location != nullptr && location->type == CU_MEM_LOCATION_TYPE_DEVICE);
    require_device(location->id);
    pool_of(memPool);
    *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  });
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc* map, size_t count) {
  return call([&] {
    require(map != nullptr && count != 0);
    pool_of(pool);
    for (std::size_t index = 0; index < count; ++index) {
      require(map[index].location.type == CU_MEM_LOCATION_TYPE_DEVICE);
      require_device(map[index].location.id);
      // The device that owns a pool always has access to it.
      require(map[index].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    }
  });
}
