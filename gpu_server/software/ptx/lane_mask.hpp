// Sets of lanes of a gang, and the order in which its fragments run. Used by gang*.cpp.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "gang.hpp"

namespace tfusion::software::ptx {

constexpr std::uint32_t kMaxDepth = 4096;  // of calls

inline bool any(const LaneMask& lanes) {
  std::uint32_t all = 0;
  for (const std::uint32_t word : lanes) all |= word;
  return all != 0;
}

inline std::uint32_t count(const LaneMask& lanes) {
  int total = 0;
  for (const std::uint32_t word : lanes) total += std::popcount(word);
  return static_cast<std::uint32_t>(total);
}

inline std::uint32_t first_lane(const LaneMask& lanes) {
  for (std::uint32_t w = 0; w < kMaxWarps; ++w) {
    if (lanes[w] != 0) return w * kWarp + static_cast<std::uint32_t>(std::countr_zero(lanes[w]));
  }
  return 0;
}

inline void copy_mask(LaneMask& to, const LaneMask& from) {
  std::memcpy(to, from, sizeof(LaneMask));
}

// Which of 32 predicates are set.
inline std::uint32_t mask_of(const std::uint8_t* predicates) {
  std::uint32_t mask = 0;
  for (std::uint32_t i = 0; i < kWarp; i += 8) {
    std::uint64_t bytes;
    std::memcpy(&bytes, predicates + i, 8);
    bytes &= std::uint64_t{0x0101010101010101};  // lanes that are elsewhere may hold other bytes
    mask |= static_cast<std::uint32_t>((bytes * std::uint64_t{0x0102040810204080}) >> 56) << i;
  }
  return mask;
}

// The order in which fragments run: deeper calls first, then lower program counters.
inline std::uint64_t place(const Frame& frame, std::uint32_t pc) {
  return static_cast<std::uint64_t>(kMaxDepth - frame.depth) << 32 | pc;
}

}  // namespace tfusion::software::ptx
