// Gives virtual registers their rows, so that registers that do not live at the same time share one.
//
// Called by flow.cpp. Fewer rows mean that a frame stays in the processor's first cache.
#pragma once

#include <cstdint>
#include <vector>

#include "blocks.hpp"
#include "lowering.hpp"

namespace tfusion::software::ptx {

struct Rows {
  std::vector<std::uint32_t> offset;  // by virtual register: bytes per lane before its row
  std::uint32_t bytes = 0;            // of all rows
};

Rows allocate_rows(const VirtualCode& code, const std::vector<Block>& blocks,
                   const std::vector<std::uint32_t>& order);

}  // namespace tfusion::software::ptx
