// cuMemHostRegister: pins memory that the program has already. The worker cannot pin another process's
// memory, so it stays what it is: registering is kept and told again, copies to and from it take the way of
// any host memory (which is right, only not as quick as from cuMemHostAlloc's), and kernels cannot reach it:
// it has no device pointer, and the device says so by CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM.
#include "registered.hpp"

#include <sys/mman.h>

#include <map>
#include <mutex>
#include <vector>

#include "api.hpp"
#include "context.hpp"
#include "objects.hpp"
#include "refusal.hpp"

namespace tfusion::hook {

namespace {

constexpr std::uint64_t kPageMask = 4095;

struct Range {
  std::uint64_t bytes;
  unsigned flags;
};

constinit std::mutex mutex;
std::map<std::uint64_t, Range>& ranges() {
  static auto& map = *new std::map<std::uint64_t, Range>;
  return map;
}

// Whether there is memory of this process at every page of it.
bool is_memory(std::uint64_t address, std::uint64_t bytes) {
  const std::uint64_t start = address & ~kPageMask;
  if (bytes > ~std::uint64_t{0} - address || address + bytes > (std::uint64_t{1} << 47)) return false;
  std::vector<unsigned char> resident((address + bytes - start + kPageMask) / (kPageMask + 1));
  return mincore(reinterpret_cast<void*>(start), address + bytes - start, resident.data()) == 0;
}

}  // namespace

bool find_registered(std::uint64_t address, MemoryBlock* block) {
  std::lock_guard lock(mutex);
  auto after = ranges().upper_bound(address);
  if (after == ranges().begin()) return false;
  --after;
  if (address - after->first >= after->second.bytes) return false;
  *block = {after->first, after->second.bytes, after->second.flags};
  return true;
}

void forget_registered() {
  std::lock_guard lock(mutex);
  ranges().clear();
}

namespace api {

CUresult cuMemHostRegister_v2(void* p, size_t bytesize, unsigned int Flags) {
  constexpr unsigned kKnown =
      CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
  if (p == nullptr || bytesize == 0) return CUDA_ERROR_INVALID_VALUE;
  if ((Flags & CU_MEMHOSTREGISTER_IOMEMORY) != 0)
    return static_cast<CUresult>(refuse("cuMemHostRegister of a device's memory"));
  if ((Flags & ~kKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  const std::uint64_t address = number(p);
  if (device_heap().contains(address)) return CUDA_ERROR_INVALID_VALUE;
  if (host_heap().contains(address)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  if (!is_memory(address, bytesize)) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  const auto after = ranges().lower_bound(address);
  if (after != ranges().end() && after->first - address < bytesize)
    return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  if (after != ranges().begin()) {
    const auto before = std::prev(after);
    if (address - before->first < before->second.bytes) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  }
  ranges()[address] = {bytesize, Flags & CU_MEMHOSTREGISTER_PORTABLE};
  return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void* p) {
  // From within a registered range a driver says that this is not its start.
  if (MemoryBlock block{}; find_registered(number(p), &block) && block.address != number(p))
    return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  return ranges().erase(number(p)) > 0 ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

}  // namespace api
}  // namespace tfusion::hook
