#include "refusal.hpp"

#include <cuda.h>

#include <mutex>
#include <set>
#include <string_view>

#include "log.hpp"
#include "process.hpp"

namespace tfusion::hook {

int refuse(const char* function) {
  static std::mutex& mutex = *new std::mutex;
  static std::set<std::string_view>& named = *new std::set<std::string_view>;
  bool first = false;
  {
    std::lock_guard lock(mutex);
    first = named.insert(function).second;
  }
  if (process_state.load(std::memory_order_acquire) == ProcessState::ready)
    shared.control().refused_calls.fetch_add(1, std::memory_order_relaxed);
  if (first) log("%s is not supported by this virtual GPU (see docs/support.md)", function);
  return CUDA_ERROR_NOT_SUPPORTED;
}

}  // namespace tfusion::hook
