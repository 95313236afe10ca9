// The memory that kernels get from malloc(): one region of device memory, cut into blocks by first fit.
//
// Shared by all launches of a program; every call takes the lock.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

namespace tfusion::software::ptx {

class DeviceHeap {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{8} << 20;  // CUDA's default heap

  explicit DeviceHeap(std::uint64_t address) { free_.emplace(address, kBytes); }

  std::uint64_t allocate(std::uint64_t bytes) {  // 0: no room
    if (bytes == 0 || bytes > kBytes) return 0;
    bytes = (bytes + 15) & ~std::uint64_t{15};
    const std::lock_guard lock(mutex_);
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second < bytes) continue;
      const std::uint64_t address = it->first;
      const std::uint64_t rest = it->second - bytes;
      free_.erase(it);
      if (rest != 0) free_.emplace(address + bytes, rest);
      used_.emplace(address, bytes);
      return address;
    }
    return 0;
  }

  bool release(std::uint64_t address) {  // false: not an allocation
    const std::lock_guard lock(mutex_);
    const auto used = used_.find(address);
    if (used == used_.end()) return false;
    std::uint64_t bytes = used->second;
    used_.erase(used);
    const auto next = free_.find(address + bytes);
    if (next != free_.end()) {
      bytes += next->second;
      free_.erase(next);
    }
    auto after = free_.lower_bound(address);
    if (after != free_.begin()) {
      const auto before = std::prev(after);
      if (before->first + before->second == address) {
        before->second += bytes;
        return true;
      }
    }
    free_.emplace(address, bytes);
    return true;
  }

 private:
  std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> free_;
  std::map<std::uint64_t, std::uint64_t> used_;
};

}  // namespace tfusion::software::ptx
