// Memory of a session: physical pieces mapped into its arena, within the slice's limit, and pinned host
// memory. How pieces leave the GPU and come back is residency.cpp's.
#include <fcntl.h>

#include <algorithm>

#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

// Pinned memory is the host's: a session gets as much as its slice has of the GPU's, and a little to work
// with.
constexpr std::uint64_t kPinnedExtraBytes = 1ull << 30;

bool page_multiple(std::uint64_t start, std::uint64_t bytes, std::uint64_t arena_bytes) {
  return bytes > 0 && start % kArenaPageBytes == 0 && bytes % kArenaPageBytes == 0 && bytes <= arena_bytes &&
         start <= arena_bytes - bytes;
}

// Whether [start, start + bytes) meets none of the ranges.
template <typename Ranges, typename Bytes>
bool vacant(const Ranges& ranges, std::uint64_t start, std::uint64_t bytes, Bytes bytes_of) {
  auto after = ranges.lower_bound(start);
  if (after != ranges.end() && after->first < start + bytes) return false;
  if (after == ranges.begin()) return true;
  --after;
  return after->first + bytes_of(after->second) <= start;
}

// Whether [start, start + bytes) lies in ranges that follow each other without a gap.
template <typename Ranges, typename Bytes>
bool covered(const Ranges& ranges, std::uint64_t start, std::uint64_t bytes, Bytes bytes_of) {
  auto range = ranges.upper_bound(start);
  if (range == ranges.begin()) return false;
  --range;
  const std::uint64_t end = start + bytes;
  for (std::uint64_t reached = start; range != ranges.end() && range->first <= reached; ++range) {
    reached = std::max(reached, range->first + bytes_of(range->second));
    if (reached >= end) return true;
  }
  return false;
}

constexpr auto kMappingBytes = [](const Mapping& m) { return m.bytes; };
constexpr auto kAccessibleBytes = [](const Mapping& m) {
  return m.flags != CU_MEM_ACCESS_FLAGS_PROT_NONE ? m.bytes : 0;
};
constexpr auto kPlainBytes = [](std::uint64_t b) { return b; };

}  // namespace

bool Session::claim(std::uint64_t bytes, bool fixed) {
  if (!account_.reserve(bytes)) return false;
  if (residency_.resident_bytes() + bytes > turn_.order().allowance_bytes && !hold({.wanted_bytes = bytes})) {
    account_.give_back(bytes);
    return false;
  }
  account_.note_peak();
  residency_.add(bytes, fixed);
  publish_use();
  return true;
}

void Session::give_back(std::uint64_t bytes, bool fixed) {
  account_.give_back(bytes);
  residency_.remove(bytes, fixed);
  publish_use();
  if (turn_.order().contended) turn_.ring();  // somebody may wait for it
}

CUresult Session::commit(std::uint64_t address, std::uint64_t bytes) {
  keep_mapping_pace();
  if (!claim(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  const MappingBudget::Spending spending(mappings_budget_);
  Mapping mapping{.bytes = bytes};
  std::uint64_t mapped = 0;
  while (mapped < bytes) {
    Piece piece{.bytes = std::min(residency_.piece_bytes(), bytes - mapped)};
    const Place place{address + mapped, piece.bytes, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    const CUresult result = residency_.create(piece, {&place, 1});
    if (result != CUDA_SUCCESS) {
      if (residency_.broken()) end_broken();
      if (mapped > 0) unmap(address, mapped);
      for (const Piece& made : mapping.pieces) driver().cuMemRelease(made.memory);
      give_back(bytes);
      return result;
    }
    mapped += piece.bytes;
    mapping.pieces.push_back(std::move(piece));
  }
  mappings_.emplace(address, std::move(mapping));
  return CUDA_SUCCESS;
}

// What stays mapped is memory that nobody would count, at addresses that would be used again.
CUresult Session::unmap(std::uint64_t address, std::uint64_t bytes) {
  const CUresult result = driver().cuMemUnmap(address, bytes);
  if (result != CUDA_SUCCESS) end_broken();
  return result;
}

void Session::end_broken() {
  if (!ending_)
    ending_ = Ending{"device_error", "The GPU's driver did not take memory back. Restart the kernel."};
}

CUresult Session::decommit(std::uint64_t address) {
  const MappingBudget::Spending spending(mappings_budget_);
  const auto found = mappings_.find(address);
  const std::uint64_t bytes = found->second.bytes;
  const CUresult result = unmap(address, bytes);
  for (const Piece& piece : found->second.pieces) driver().cuMemRelease(piece.memory);
  mappings_.erase(found);
  give_back(bytes);
  return result;
}

CUresult Session::commit_host(std::uint64_t offset, std::uint64_t bytes) {
  if (bytes > account_.limit() + kPinnedExtraBytes ||
      host_bytes_ > account_.limit() + kPinnedExtraBytes - bytes) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const CUresult result =
      driver().cuMemHostRegister_v2(reinterpret_cast<void*>(kHostArenaAddress + offset), bytes,
                                    CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
  if (result != CUDA_SUCCESS) return result;
  host_ranges_.emplace(offset, bytes);
  host_bytes_ += bytes;
  return CUDA_SUCCESS;
}

CUresult Session::decommit_host(std::uint64_t offset) {
  const auto found = host_ranges_.find(offset);
  const std::uint64_t bytes = found->second;
  const CUresult result = driver().cuMemHostUnregister(reinterpret_cast<void*>(kHostArenaAddress + offset));
  // The pages go back to the host at once, and what was in them is gone for whoever maps them next.
  fallocate(device_.host_arena_descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            static_cast<off_t>(offset), static_cast<off_t>(bytes));
  host_ranges_.erase(found);
  host_bytes_ -= bytes;
  return result;
}

bool Session::committed(std::uint64_t address, std::uint64_t bytes) const {
  return covered(mappings_, address, bytes, kAccessibleBytes);
}

bool Session::committed_host(std::uint64_t offset, std::uint64_t bytes) const {
  return covered(host_ranges_, offset, bytes, kPlainBytes);
}

bool Session::may_copy(std::uint64_t address, std::uint64_t bytes) {
  if (address - kDeviceArenaAddress < kDeviceArenaBytes) {
    return bytes <= kDeviceArenaAddress + kDeviceArenaBytes - address && committed(address, bytes);
  }
  if (address - kHostArenaAddress < kHostArenaBytes) {
    return bytes <= kHostArenaAddress + kHostArenaBytes - address &&
           committed_host(address - kHostArenaAddress, bytes);
  }
  bool inside = false;
  modules.for_each([&](const Module& module) {
    const auto after = module.globals.upper_bound(address);
    if (after == module.globals.begin()) return;
    const auto& [start, length] = *std::prev(after);
    if (address - start < length && bytes <= length - (address - start)) inside = true;
  });
  return inside;
}

CUresult Session::reset() {
  pending_.abandon(CUDA_ERROR_CONTEXT_IS_DESTROYED);
  abandon_captures();
  if (has_graphs()) graphs.destroy_all(driver());
  end_kept();
  graph_events_.clear();
  release_arrays();
  links.clear();
  kernels.clear();
  modules.for_each([&](Module& module) { unload(module); });
  modules.clear();
  events.clear();
  streams.clear();
  ended_streams_.clear();
  // Addresses and physical memory are not the context's: they outlive its reset.
  while (!mappings_.empty()) {
    const auto& [address, mapping] = *mappings_.begin();
    if (mapping.physical == 0) {
      decommit(address);
    } else if (unmap_physical(address) != CUDA_SUCCESS) {
      end_broken();
      return CUDA_ERROR_DEVICE_UNAVAILABLE;
    }
  }
  allocations.for_each([&](const Physical& physical) {
    driver().cuMemRelease(physical.piece.memory);
    give_back(physical.piece.bytes);
  });
  allocations.clear();
  while (!host_ranges_.empty()) decommit_host(host_ranges_.begin()->first);
  residency_.before_reset();
  pace_.forget_context();
  try {
    device_.reset_context();
  } catch (const std::exception& error) {
    // After some faults the driver is of no more use to its process, as it would be to a program of its own.
    ending_ = Ending{"device_error", std::string(error.what()) + ". Restart the kernel to go on."};
    return CUDA_ERROR_DEVICE_UNAVAILABLE;
  }
  residency_.after_reset();
  if (make_text_stream() != CUDA_SUCCESS) {
    ending_ = Ending{"device_error", "The GPU's context could not be used. Restart the kernel to go on."};
    return CUDA_ERROR_DEVICE_UNAVAILABLE;
  }
  deferred_error_ = sticky_error_ = 0;
  shared().control().status.sticky_error.store(0, std::memory_order_release);
  return CUDA_SUCCESS;
}

void replay(Session& session, const wire::MemoryCommit& command) {
  const std::uint64_t offset = command.address - kDeviceArenaAddress;
  if (!page_multiple(offset, command.bytes, kDeviceArenaBytes)) {
    return session.protocol_error("MemoryCommit asks for memory outside the arena, or not in whole pages");
  }
  if (!session.may_commit(command.address, command.bytes)) {
    return session.protocol_error("MemoryCommit asks for addresses that have memory already");
  }
  session.reply(command.header, session.commit(command.address, command.bytes));
}

void replay(Session& session, const wire::MemoryDecommit& command) {
  if (!session.is_commit(command.address, command.bytes)) {
    return session.protocol_error("MemoryDecommit names no range that was committed");
  }
  session.reply(command.header, session.decommit(command.address));
}

void replay(Session& session, const wire::HostCommit& command) {
  if (!page_multiple(command.offset, command.bytes, kHostArenaBytes)) {
    return session.protocol_error("HostCommit asks for memory outside the arena, or not in whole pages");
  }
  if (!session.may_commit_host(command.offset, command.bytes)) {
    return session.protocol_error("HostCommit asks for a range that is pinned already");
  }
  session.reply(command.header, session.commit_host(command.offset, command.bytes));
}

void replay(Session& session, const wire::HostDecommit& command) {
  if (!session.is_host_range(command.offset, command.bytes)) {
    return session.protocol_error("HostDecommit names no range that was pinned");
  }
  session.reply(command.header, session.decommit_host(command.offset));
}

bool Session::may_commit(std::uint64_t address, std::uint64_t bytes) const {
  return vacant(mappings_, address, bytes, kMappingBytes);
}

bool Session::may_commit_host(std::uint64_t offset, std::uint64_t bytes) const {
  return vacant(host_ranges_, offset, bytes, kPlainBytes);
}

bool Session::is_commit(std::uint64_t address, std::uint64_t bytes) const {
  const auto found = mappings_.find(address);
  return found != mappings_.end() && found->second.bytes == bytes && found->second.physical == 0;
}

bool Session::is_mapped(std::uint64_t address, std::uint64_t bytes) const {
  const auto found = mappings_.find(address);
  return found != mappings_.end() && found->second.bytes == bytes && found->second.physical != 0;
}

bool Session::is_host_range(std::uint64_t offset, std::uint64_t bytes) const {
  const auto found = host_ranges_.find(offset);
  return found != host_ranges_.end() && found->second == bytes;
}

}  // namespace tfusion::replay
