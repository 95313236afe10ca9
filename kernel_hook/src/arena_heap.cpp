#include "arena_heap.hpp"

#include "call.hpp"
#include "context.hpp"

namespace tfusion::hook {

namespace {

constexpr std::uint64_t kPage = protocol::kArenaPageBytes;
constexpr std::uint64_t kDeviceAlignment = 512;  // what cuMemAlloc promises at least
constexpr std::uint64_t kHostAlignment = 4096;   // pinned memory starts on a page

constexpr std::uint64_t round_up(std::uint64_t bytes, std::uint64_t to) {
  return (bytes + to - 1) / to * to;
}

CUresult commit_device(std::uint64_t address, std::uint64_t bytes) {
  wire::MemoryCommit command{};
  command.address = address;
  command.bytes = bytes;
  return call(command);
}

CUresult decommit_device(std::uint64_t address, std::uint64_t bytes) {
  wire::MemoryDecommit command{};
  command.address = address;
  command.bytes = bytes;
  return call(command);
}

CUresult commit_host(std::uint64_t address, std::uint64_t bytes) {
  wire::HostCommit command{};
  command.offset = address - protocol::kHostArenaAddress;
  command.bytes = bytes;
  return call(command);
}

CUresult decommit_host(std::uint64_t address, std::uint64_t bytes) {
  wire::HostDecommit command{};
  command.offset = address - protocol::kHostArenaAddress;
  command.bytes = bytes;
  return call(command);
}

}  // namespace

ArenaHeap& device_heap() {
  static ArenaHeap& heap = *new ArenaHeap(protocol::kDeviceArenaAddress, protocol::kDeviceArenaBytes,
                                          kDeviceAlignment, commit_device, decommit_device);
  return heap;
}

ArenaHeap& host_heap() {
  static ArenaHeap& heap = *new ArenaHeap(protocol::kHostArenaAddress, protocol::kHostArenaBytes,
                                          kHostAlignment, commit_host, decommit_host);
  return heap;
}

ArenaHeap::ArenaHeap(std::uint64_t start, std::uint64_t bytes, std::uint64_t alignment, Ask ask_commit,
                     Ask ask_decommit)
    : start_(start),
      bytes_(bytes),
      alignment_(alignment),
      ask_commit_(ask_commit),
      ask_decommit_(ask_decommit) {
  forget();
}

void ArenaHeap::forget() {
  std::lock_guard lock(mutex_);
  free_pages_.clear();
  free_small_.clear();
  blocks_.clear();
  free_pages_.emplace(start_, bytes_);
}

CUresult ArenaHeap::commit(std::uint64_t bytes, std::uint64_t* address) {
  if (!take_first(free_pages_, bytes, address)) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = ask_commit_(*address, bytes);
  if (result != CUDA_SUCCESS) give_back(free_pages_, *address, bytes);
  return result;
}

CUresult ArenaHeap::decommit(std::uint64_t address, std::uint64_t bytes) {
  const CUresult result = ask_decommit_(address, bytes);
  if (result == CUDA_SUCCESS) give_back(free_pages_, address, bytes);
  return result;
}

CUresult ArenaHeap::allocate(std::uint64_t bytes, unsigned flags, std::uint64_t* address) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (bytes > bytes_) return CUDA_ERROR_OUT_OF_MEMORY;
  std::lock_guard lock(mutex_);
  if (bytes >= kPage) {
    bytes = round_up(bytes, kPage);
    if (CUresult r = commit(bytes, address); r != CUDA_SUCCESS) return r;
  } else {
    bytes = round_up(bytes, alignment_);
    if (!take_first(free_small_, bytes, address)) {
      std::uint64_t page = 0;
      if (CUresult r = commit(kPage, &page); r != CUDA_SUCCESS) return r;
      *address = page;
      if (bytes < kPage) give_back(free_small_, page + bytes, kPage - bytes);
    }
  }
  blocks_.emplace(*address, Live{bytes, flags});
  return CUDA_SUCCESS;
}

CUresult ArenaHeap::release(std::uint64_t address) {
  std::uint64_t bytes = 0;
  {
    std::lock_guard lock(mutex_);
    const auto found = blocks_.find(address);
    if (found == blocks_.end()) return CUDA_ERROR_INVALID_VALUE;
    bytes = found->second.bytes;
    blocks_.erase(found);
  }
  // Earlier work may still touch it. An earlier call's error that the wait tells is told on, but the block is
  // free all the same, unless the context itself is of no more use.
  const CUresult drained = drain();
  if (drained != CUDA_SUCCESS && enter() != CUDA_SUCCESS) return drained;
  std::lock_guard lock(mutex_);
  const CUresult result = give_up(address, bytes);
  return result != CUDA_SUCCESS ? result : drained;
}

CUresult ArenaHeap::release_idle(std::uint64_t address) {
  std::lock_guard lock(mutex_);
  const auto found = blocks_.find(address);
  if (found == blocks_.end()) return CUDA_ERROR_INVALID_VALUE;
  const std::uint64_t bytes = found->second.bytes;
  blocks_.erase(found);
  return give_up(address, bytes);
}

// Precondition: mutex_ is held.
CUresult ArenaHeap::give_up(std::uint64_t address, std::uint64_t bytes) {
  if (bytes >= kPage) return decommit(address, bytes);
  give_back(free_small_, address, bytes);
  // Pages that are now wholly free go back to the slice. A block may lie across two pages that were
  // neighbours.
  for (std::uint64_t page = address / kPage * kPage; page < address + bytes; page += kPage) {
    auto range = free_small_.upper_bound(page);
    if (range == free_small_.begin()) continue;
    --range;
    if (range->first + range->second < page + kPage) continue;
    cut(free_small_, range, page, kPage);
    if (CUresult r = decommit(page, kPage); r != CUDA_SUCCESS) return r;
  }
  return CUDA_SUCCESS;
}

CUresult ArenaHeap::reserve(std::uint64_t bytes, std::uint64_t alignment, std::uint64_t* address) {
  if (alignment < kPage) alignment = kPage;
  if (bytes > bytes_ || alignment > bytes_) return CUDA_ERROR_OUT_OF_MEMORY;
  std::lock_guard lock(mutex_);
  for (auto range = free_pages_.begin(); range != free_pages_.end(); ++range) {
    const std::uint64_t start = round_up(range->first, alignment);
    const std::uint64_t skipped = start - range->first;
    if (skipped > range->second || range->second - skipped < bytes) continue;
    cut(free_pages_, range, start, bytes);
    *address = start;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_OUT_OF_MEMORY;
}

void ArenaHeap::unreserve(std::uint64_t address, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  give_back(free_pages_, address, bytes);
}

bool ArenaHeap::find(std::uint64_t address, MemoryBlock* block) const {
  std::lock_guard lock(mutex_);
  auto after = blocks_.upper_bound(address);
  if (after == blocks_.begin()) return false;
  --after;
  if (address - after->first >= after->second.bytes) return false;
  *block = {after->first, after->second.bytes, after->second.flags, after->second.sync_memops};
  return true;
}

void ArenaHeap::set_sync_memops(std::uint64_t address, bool on) {
  std::lock_guard lock(mutex_);
  auto after = blocks_.upper_bound(address);
  if (after == blocks_.begin()) return;
  --after;
  if (address - after->first < after->second.bytes) after->second.sync_memops = on;
}

}  // namespace tfusion::hook
