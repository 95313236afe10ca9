// How often each function of the driver API was called, and how often in vain: for the support matrix
// (docs/support.md), which tells what tests have seen. Off unless TFUSION_COUNT_CALLS names a folder; then
// each process that calls the driver keeps a file there: two 32-bit counters, calls and failures, for each
// row of the table of the driver API, in its order. kernel_hook/codegen/seen.py reads them.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>

namespace tfusion::hook {

struct CallCount {
  std::atomic<std::uint32_t> calls;
  std::atomic<std::uint32_t> failures;
};

extern const unsigned kFunctionCount;  // generated
inline constexpr std::uintptr_t kCountsUndecided = 1;
extern std::atomic<std::uintptr_t> call_counts;  // address of the counters, kCountsUndecided, or 0: off

void count_call(unsigned function, CUresult result);

inline CUresult counted(unsigned function, CUresult result) {
  if (call_counts.load(std::memory_order_relaxed) != 0) [[unlikely]]
    count_call(function, result);
  return result;
}

}  // namespace tfusion::hook
