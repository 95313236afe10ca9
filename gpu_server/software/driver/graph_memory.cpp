// Memory of allocation nodes: see graph_memory.hpp.
#include "graph_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "device.hpp"
#include "device_memory.hpp"
#include "entry.hpp"
#include "graph.hpp"

namespace tfusion::software::driver {

namespace {

// A leaf among the locks. Never destroyed: allocations may be given up while the process ends.
struct Registry {
  std::mutex mutex;
  std::unordered_map<std::uint64_t, std::weak_ptr<GraphAllocation>> by_address;
  std::uint64_t used_bytes = 0;
  std::uint64_t used_high_bytes = 0;
};

Registry& registry() {
  static Registry& only = *new Registry;
  return only;
}

CUmemPoolProps properties_of_pool() {
  CUmemPoolProps properties{};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  return properties;
}

}  // namespace

GraphAllocation::GraphAllocation(const Context& context, std::size_t size)
    : bytes(size),
      address(allocate_device_memory(context, size, RegionKind::graph)),
      properties(properties_of_pool()) {
  {
    const auto lock = driver().memory.lock();
    const Region* region = driver().memory.find_base(address, {RegionKind::graph});
    if (region != nullptr) region_id_ = region->id;
  }
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.used_bytes += page_ceiling(bytes);
  all.used_high_bytes = std::max(all.used_high_bytes, all.used_bytes);
}

GraphAllocation::~GraphAllocation() {
  {
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    all.used_bytes -= page_ceiling(bytes);
    const auto found = all.by_address.find(address);
    if (found != all.by_address.end() && found->second.expired()) all.by_address.erase(found);
  }
  std::optional<Region> region;
  {
    // The end of its context may have taken the memory, and another allocation may lie there since.
    const auto lock = driver().memory.lock();
    if (is_placed()) region = driver().memory.take(address, {RegionKind::graph});
  }
  if (!region) return;
  if (Queue::on_queue_thread()) {
    release_device_memory(*region);
  } else {
    driver().queue.submit([region = std::move(*region)]() noexcept { release_device_memory(region); });
  }
}

bool GraphAllocation::is_placed() const {
  const Region* here = driver().memory.find_base(address, {RegionKind::graph});
  return here != nullptr && here->id == region_id_;
}

void GraphAllocation::allow() const noexcept {
  const auto lock = driver().memory.lock();
  if (!is_placed()) return;
  driver().space.allow(address, page_ceiling(bytes));
}

void GraphAllocation::forbid() const noexcept {
  const auto lock = driver().memory.lock();
  if (!is_placed()) return;
  driver().space.forbid(address, page_ceiling(bytes));
  madvise(reinterpret_cast<void*>(address), page_ceiling(bytes), MADV_DONTNEED);
}

void publish_graph_allocation(const std::shared_ptr<GraphAllocation>& allocation) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.by_address[allocation->address] = allocation;
}

std::shared_ptr<GraphAllocation> find_graph_allocation(std::uint64_t address) {
  std::shared_ptr<GraphAllocation> allocation;
  {
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    const auto found = all.by_address.find(address);
    if (found != all.by_address.end()) allocation = found->second.lock();
  }
  const auto lock = driver().memory.lock();
  return allocation && allocation->is_placed() ? allocation : nullptr;
}

void drop_displaced_graph_allocations() {
  std::vector<std::shared_ptr<GraphAllocation>> displaced;
  {
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    for (const auto& [address, weak] : all.by_address) {
      if (auto allocation = weak.lock()) displaced.push_back(std::move(allocation));
    }
  }
  {
    const auto lock = driver().memory.lock();
    std::erase_if(displaced, [](const auto& allocation) { return allocation->is_placed(); });
  }
  GraphLock lock;
  for (const auto& allocation : displaced) lock.discard(std::exchange(allocation->alive, nullptr));
}

std::uint64_t free_graph_allocation(const std::shared_ptr<GraphAllocation>& allocation) {
  std::shared_ptr<GraphAllocation> held;
  {
    const std::lock_guard lock(driver().graph_mutex);
    require(allocation->alive != nullptr);
    held.swap(allocation->alive);
  }
  return driver().queue.submit([held = std::move(held)]() noexcept { held->forbid(); });
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuDeviceGraphMemTrim(CUdevice device) {
  return call([&] { require_device(device); });  // nothing is kept that no graph owns
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr, void* value) {
  return call([&] {
    require_device(device);
    require(value != nullptr);
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    switch (attr) {
      case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT:
      case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT:
        *static_cast<cuuint64_t*>(value) = all.used_bytes;
        break;
      case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH:
      case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH:
        *static_cast<cuuint64_t*>(value) = all.used_high_bytes;
        break;
      default:
        throw Failure(CUDA_ERROR_INVALID_VALUE);
    }
  });
}

CUresult cuDeviceSetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr, void* value) {
  return call([&] {
    require_device(device);
    require(value != nullptr && *static_cast<const cuuint64_t*>(value) == 0);  // it can only be reset
    require(attr == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH || attr == CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH);
    Registry& all = registry();
    const std::lock_guard lock(all.mutex);
    all.used_high_bytes = all.used_bytes;
  });
}
