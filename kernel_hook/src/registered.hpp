// Host memory that a program registered; see registered.cpp.
#pragma once

#include <cstdint>

#include "arena_heap.hpp"

namespace tfusion::hook {

// The registered range that holds `address`; its flags are those of cuMemHostAlloc.
bool find_registered(std::uint64_t address, MemoryBlock* block);

// The context was reset.
void forget_registered();

}  // namespace tfusion::hook
