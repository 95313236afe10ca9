#include "call_counts.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace tfusion::hook {

constinit std::atomic<std::uintptr_t> call_counts{kCountsUndecided};

namespace {

// Maps this process's file. A forked child goes on counting in its parent's.
std::uintptr_t decide() {
  const char* folder = secure_getenv("TFUSION_COUNT_CALLS");
  if (folder == nullptr || *folder == '\0') return 0;
  char name[4096];
  const int length = std::snprintf(name, sizeof name, "%s/calls-XXXXXX", folder);
  if (length < 0 || static_cast<std::size_t>(length) >= sizeof name) return 0;
  const int file = mkostemp(name, O_CLOEXEC);
  if (file < 0) return 0;
  const std::size_t bytes = kFunctionCount * sizeof(CallCount);
  void* memory = MAP_FAILED;
  if (ftruncate(file, static_cast<off_t>(bytes)) == 0)
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  return memory == MAP_FAILED ? 0 : reinterpret_cast<std::uintptr_t>(memory);
}

}  // namespace

void count_call(unsigned function, CUresult result) {
  if (call_counts.load() == kCountsUndecided) {
    std::uintptr_t undecided = kCountsUndecided;
    call_counts.compare_exchange_strong(undecided, decide());  // of two threads, one file is left empty
  }
  const std::uintptr_t address = call_counts.load();
  if (address <= kCountsUndecided) return;
  CallCount& count = reinterpret_cast<CallCount*>(address)[function];
  count.calls.fetch_add(1, std::memory_order_relaxed);
  if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY)
    count.failures.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace tfusion::hook
