// Basic blocks of a function's virtual code, as flow.cpp finds them and allocate.cpp reads them.
#pragma once

#include <cstdint>
#include <vector>

namespace tfusion::software::ptx {

constexpr std::uint32_t kNoBlock = ~std::uint32_t{0};

struct Block {
  std::uint32_t first = 0;  // instructions [first, last)
  std::uint32_t last = 0;
  std::uint32_t next = kNoBlock;  // where it falls through to
  std::vector<std::uint32_t> successors;
};

}  // namespace tfusion::software::ptx
