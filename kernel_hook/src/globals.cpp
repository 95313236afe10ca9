#include "globals.hpp"

#include <sys/mman.h>

#include <map>
#include <mutex>
#include <set>

#include "log.hpp"

namespace tfusion::hook {

namespace {
constinit std::mutex mutex;
std::map<std::uint64_t, std::uint64_t>& globals() {
  static auto& map = *new std::map<std::uint64_t, std::uint64_t>;
  return map;
}
std::set<std::uint64_t>& reserved() {
  static auto& set = *new std::set<std::uint64_t>;
  return set;
}
constexpr std::uint64_t kPageMask = 4095;
}  // namespace

void remember_global(std::uint64_t address, std::uint64_t bytes) {
  std::lock_guard lock(mutex);
  globals()[address] = bytes;
  // The driver of the GPU's host chose the address, so nothing of ours may come to lie there: a pointer's
  // place is told by its address. The pages stay reserved; they cost nothing, and the driver will use them
  // again.
  for (std::uint64_t page = address & ~kPageMask; page < address + bytes; page += kPageMask + 1) {
    if (!reserved().insert(page).second) continue;
    void* at = mmap(reinterpret_cast<void*>(page), kPageMask + 1, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != reinterpret_cast<void*>(page)) {
      if (at != MAP_FAILED) munmap(at, kPageMask + 1);
      log("a variable of a CUDA module has an address at which this process has memory of its own; copies to "
          "and from "
          "that memory may go wrong. Restart the kernel if you use both.");
    }
  }
}

void forget_globals() {
  std::lock_guard lock(mutex);
  globals().clear();
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
