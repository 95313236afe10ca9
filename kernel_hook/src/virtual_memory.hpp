// The virtual memory API, as the rest of the hook sees it; see virtual_memory.cpp.
#pragma once

#include <cstdint>

#include "arena_heap.hpp"

namespace tfusion::hook {

// The range mapped at `address` by cuMemMap; false if there is none.
bool find_mapped(std::uint64_t address, MemoryBlock* block);

// The context was reset.
void forget_virtual_memory();

}  // namespace tfusion::hook
