// Arrays and mipmapped arrays of a session, as the worker keeps them; the replays are in arrays.cpp.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "protocol/array_shape.hpp"

namespace tfusion::replay {

struct Array {
  CUarray array = nullptr;
  protocol::ArrayShape shape;
  std::uint64_t charged_bytes = 0;  // on the slice's account
  std::uint64_t mipmapped = 0;      // the client's handle of what it is a level of; 0: an array of its own
  bool in_graph = false;            // see Session::keep_for_graphs()
};

struct MipmappedArray {
  CUmipmappedArray array = nullptr;
  protocol::ArrayShape shape;
  std::uint32_t levels = 0;
  std::uint64_t charged_bytes = 0;
};

// What an array is counted as on the slice's account: at least what a GPU's tiled layout takes. Precondition:
// no extent is beyond kMaxArrayExtent, and the texel has a size.
std::uint64_t array_bytes(const protocol::ArrayShape& shape, std::uint32_t levels);

}  // namespace tfusion::replay
