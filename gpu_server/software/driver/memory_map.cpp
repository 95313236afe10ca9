// The map of regions and reservations: see memory_map.hpp.
#include "memory_map.hpp"

#include <algorithm>

namespace tfusion::software::driver {

const Region* MemoryMap::find(std::uint64_t address) const {
  auto next = regions_.upper_bound(address);
  if (next == regions_.begin()) return nullptr;
  const Region& region = std::prev(next)->second;
  return address - region.base < region.bytes ? &region : nullptr;
}

const Region* MemoryMap::find_base(std::uint64_t base, std::initializer_list<RegionKind> kinds) const {
  const auto found = regions_.find(base);
  if (found == regions_.end()) return nullptr;
  return std::find(kinds.begin(), kinds.end(), found->second.kind) == kinds.end() ? nullptr : &found->second;
}

bool MemoryMap::overlaps(std::uint64_t base, std::size_t bytes) const {
  const std::uint64_t first = page_floor(base);
  const std::uint64_t end = page_ceiling(base + bytes);
  auto next = regions_.lower_bound(first);
  if (next != regions_.end() && next->first < end) return true;
  return next != regions_.begin() && page_ceiling(std::prev(next)->second.end()) > first;
}

void MemoryMap::insert(Region region) {
  region.id = next_id_++;
  const std::uint64_t base = region.base;
  regions_.emplace(base, std::move(region));
}

std::optional<Region> MemoryMap::take(std::uint64_t base, std::initializer_list<RegionKind> kinds) {
  if (find_base(base, kinds) == nullptr) return std::nullopt;
  return std::move(regions_.extract(base).mapped());
}

std::vector<Region> MemoryMap::take_owned_by(std::uint64_t context) {
  std::vector<Region> taken;
  for (auto each = regions_.begin(); each != regions_.end();) {
    if (each->second.context == context) {
      taken.push_back(std::move(each->second));
      each = regions_.erase(each);
    } else {
      ++each;
    }
  }
  return taken;
}

std::vector<Region*> MemoryMap::mappings(std::uint64_t base, std::size_t bytes) {
  std::vector<Region*> found;
  std::uint64_t at = base;
  const std::uint64_t end = base + bytes;
  for (auto each = regions_.find(base); at != end; ++each) {
    if (each == regions_.end() || each->first != at || each->second.kind != RegionKind::mapping ||
        each->second.bytes > end - at) {
      return {};
    }
    found.push_back(&each->second);
    at = each->second.end();
  }
  return found;
}

bool MemoryMap::is_reserved(std::uint64_t base, std::size_t bytes) const {
  auto next = reservations_.upper_bound(base);
  if (next == reservations_.begin()) return false;
  const auto& [start, span] = *std::prev(next);
  const std::uint64_t offset = base - start;
  return offset <= span && bytes <= span - offset && offset != span;
}

bool MemoryMap::unreserve(std::uint64_t base, std::size_t bytes) {
  const auto found = reservations_.find(base);
  if (found == reservations_.end() || found->second != bytes || overlaps(base, bytes)) return false;
  reservations_.erase(found);
  return true;
}

}  // namespace tfusion::software::driver
