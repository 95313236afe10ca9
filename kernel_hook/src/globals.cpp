#include "globals.hpp"

#include <map>
#include <mutex>

namespace tfusion::hook {

namespace {
constinit std::mutex mutex;
std::map<std::uint64_t, std::uint64_t>& globals() {
  static auto& map = *new std::map<std::uint64_t, std::uint64_t>;
  return map;
}
}  // namespace

void remember_global(std::uint64_t address, std::uint64_t bytes) {
  std::lock_guard lock(mutex);
  globals()[address] = bytes;
}

void forget_global(std::uint64_t address) {
  std::lock_guard lock(mutex);
  globals().erase(address);
}

bool find_global(std::uint64_t address, MemoryBlock* block) {
  std::lock_guard lock(mutex);
  auto after = globals().upper_bound(address);
  if (after == globals().begin()) return false;
  --after;
  if (address - after->first >= after->second) return false;
  *block = {after->first, after->second, 0};
  return true;
}

}  // namespace tfusion::hook
