// Managed memory, as the rest of the hook sees it; see managed.cpp.
#pragma once

#include <cstdint>

#include "arena_heap.hpp"

namespace tfusion::hook {

// In MemoryBlock::flags, beside those of cuMemHostAlloc: the block is managed memory.
inline constexpr unsigned kManaged = 1u << 31;

// Whether `address` lies in managed memory, and in which block.
bool find_managed(std::uint64_t address, MemoryBlock* block);

// Frees the block that starts there, after the context's work.
CUresult free_managed(std::uint64_t address);

// The context was reset.
void forget_managed();

}  // namespace tfusion::hook
