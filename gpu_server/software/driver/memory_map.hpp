// What lies at which address: device allocations, mappings of virtual memory, page-locked host memory; and
// the reserved address ranges. AddressSpace (../address_space.hpp) says what kernels may touch; this map says
// what it is.
//
// All methods except lock() need the lock held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace tfusion::software::driver {

class PhysicalMemory;

enum class RegionKind {
  device,      // cuMemAlloc
  pooled,      // cuMemAllocAsync
  graph,       // of a graph's allocation node (graph_memory.hpp)
  module,      // a module's variables
  array,       // an array's texels
  host,        // cuMemHostAlloc, cuMemAllocHost
  registered,  // cuMemHostRegister
  mapping,     // cuMemMap
};

struct Region {
  std::uint64_t base = 0;
  std::size_t bytes = 0;
  RegionKind kind = RegionKind::device;
  std::uint64_t context = 0;  // handle of the context it belongs to; 0 for a mapping
  std::uint64_t id = 0;       // CU_POINTER_ATTRIBUTE_BUFFER_ID
  unsigned flags = 0;         // of cuMemHostAlloc or cuMemHostRegister
  bool accessible = true;     // a mapping is after cuMemSetAccess
  std::size_t offset = 0;     // of a mapping in its physical memory
  std::shared_ptr<PhysicalMemory> physical;

  // True of memory that kernels will be able to touch once an allocation node ran.
  bool is_graph_memory(std::uint64_t address, std::size_t size) const noexcept {
    return kind == RegionKind::graph && address >= base && address - base <= bytes &&
           size <= bytes - (address - base);
  }
  bool is_host() const noexcept { return kind == RegionKind::host || kind == RegionKind::registered; }
  std::uint64_t end() const noexcept { return base + bytes; }
};

inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::uint64_t page_floor(std::uint64_t address) noexcept {
  return address & ~(kPageBytes - 1);
}
// Precondition: no overflow.
inline constexpr std::uint64_t page_ceiling(std::uint64_t address) noexcept {
  return page_floor(address + kPageBytes - 1);
}

class MemoryMap {
 public:
  std::unique_lock<std::mutex> lock() const { return std::unique_lock(mutex_); }

  // The region that holds this address.
  const Region* find(std::uint64_t address) const;
  // The region that begins here, if it is of one of these kinds.
  const Region* find_base(std::uint64_t base, std::initializer_list<RegionKind> kinds) const;
  // True if a page of [base, base + bytes) belongs to a region.
  bool overlaps(std::uint64_t base, std::size_t bytes) const;
  void insert(Region region);  // gives it its id
  std::optional<Region> take(std::uint64_t base, std::initializer_list<RegionKind> kinds);
  std::vector<Region> take_owned_by(std::uint64_t context);
  // The mappings that cover exactly [base, base + bytes), none cut and no gap; empty if there is no such set.
  std::vector<Region*> mappings(std::uint64_t base, std::size_t bytes);

  void reserve(std::uint64_t base, std::size_t bytes) { reservations_.emplace(base, bytes); }
  // True if one reservation holds the whole range.
  bool is_reserved(std::uint64_t base, std::size_t bytes) const;
  // Takes out the reservation [base, base + bytes) if it is one and holds no mapping.
  bool unreserve(std::uint64_t base, std::size_t bytes);

 private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, Region> regions_;
  std::map<std::uint64_t, std::size_t> reservations_;
  std::uint64_t next_id_ = 1;
};

}  // namespace tfusion::software::driver
