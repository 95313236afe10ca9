// Variables of loaded modules: device memory outside the arena, at addresses that the driver chose.
#pragma once

#include <cstdint>

#include "arena_heap.hpp"

namespace tfusion::hook {

void remember_global(std::uint64_t address, std::uint64_t bytes);
void forget_global(std::uint64_t address);
void forget_globals();
bool find_global(std::uint64_t address, MemoryBlock* block);

}  // namespace tfusion::hook
