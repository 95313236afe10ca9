// A memset with everything that it needs: made by the memset functions and for memset nodes of graphs, run by
// the queue.
#pragma once

#include <cstddef>
#include <cstdint>

#include "context.hpp"

namespace tfusion::software::driver {

struct Fill {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_MEMSET;

  void run(Context& context) const noexcept;

  std::uint64_t address = 0;
  std::size_t pitch = 0;  // bytes from row to row; unused for a single row
  unsigned value = 0;
  unsigned element_bytes = 1;  // 1, 2 or 4
  std::size_t width = 0;       // elements of a row
  std::size_t height = 1;      // rows
};

// Throws CUDA_ERROR_INVALID_VALUE unless it can be done, and has something to do.
void require_fillable(const Fill& fill);

}  // namespace tfusion::software::driver
