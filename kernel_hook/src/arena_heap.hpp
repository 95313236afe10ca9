// Memory as the program allocates it: the client chooses the addresses itself, inside the session's arenas.
//
// One heap for device memory, one for pinned host memory. Blocks of 2 MiB and more are committed and released
// as they are; smaller ones share 2 MiB pages. Committing asks the worker, because only it knows whether the
// slice has room (other processes of the slice share its limit), and because "out of memory" must be the
// answer of the call that asked. A block that is freed was drained first, as cuMemFree waits for the device.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <mutex>

#include "ranges.hpp"

namespace tfusion::hook {

struct MemoryBlock {
  std::uint64_t address;
  std::uint64_t bytes;       // as rounded by the heap
  unsigned flags;            // of cuMemHostAlloc; 0 for device memory
  bool sync_memops = false;  // as the program set it with cuPointerSetAttribute
};

class ArenaHeap {
 public:
  using Ask = CUresult (*)(std::uint64_t address, std::uint64_t bytes);  // the worker, to commit or decommit

  ArenaHeap(std::uint64_t start, std::uint64_t bytes, std::uint64_t alignment, Ask ask_commit,
            Ask ask_decommit);

  CUresult allocate(std::uint64_t bytes, unsigned flags, std::uint64_t* address);
  // Waits for the work of the context first. CUDA_ERROR_INVALID_VALUE if no block starts there.
  CUresult release(std::uint64_t address);
  // The same without the wait. Precondition: nothing under way touches the block.
  CUresult release_idle(std::uint64_t address);

  // Addresses without memory behind them, in whole pages, for the virtual memory API; `alignment` a power of
  // two. CUDA_ERROR_OUT_OF_MEMORY if there is no such range. Given back by unreserve().
  CUresult reserve(std::uint64_t bytes, std::uint64_t alignment, std::uint64_t* address);
  void unreserve(std::uint64_t address, std::uint64_t bytes);

  bool contains(std::uint64_t address) const { return address - start_ < bytes_; }
  // The live block that holds `address`; false if there is none.
  bool find(std::uint64_t address, MemoryBlock* block) const;
  // For the block that holds `address`, if there is one.
  void set_sync_memops(std::uint64_t address, bool on);

  // The context was reset: the worker has given everything back.
  void forget();

 private:
  struct Live {
    std::uint64_t bytes;
    unsigned flags;
    bool sync_memops = false;
  };

  CUresult give_up(std::uint64_t address, std::uint64_t bytes);
  CUresult commit(std::uint64_t bytes, std::uint64_t* address);
  CUresult decommit(std::uint64_t address, std::uint64_t bytes);

  const std::uint64_t start_, bytes_, alignment_;
  const Ask ask_commit_, ask_decommit_;
  mutable std::mutex mutex_;
  Ranges free_pages_;  // addresses without memory behind them
  Ranges free_small_;  // inside committed pages
  std::map<std::uint64_t, Live> blocks_;
};

ArenaHeap& device_heap();
ArenaHeap& host_heap();

}  // namespace tfusion::hook
