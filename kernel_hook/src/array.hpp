// The program's arrays and mipmapped arrays: descriptors are answered from here, and copies are checked
// against them before they are sent.
#pragma once

#include <cuda.h>

#include <array>
#include <cstdint>
#include <mutex>

#include "handle_table.hpp"
#include "protocol/array_shape.hpp"

namespace tfusion::hook {

struct ArrayObject {
  protocol::ArrayShape shape;
  std::uint64_t mipmapped = 0;  // what it is a level of, or 0
  void reset() { *this = ArrayObject{}; }
};

struct MipmappedArrayObject {
  protocol::ArrayShape shape;
  std::uint32_t levels = 0;
  std::mutex mutex;                                                      // guards what follows
  std::array<std::uint64_t, protocol::kMaxArrayLevels> level_handles{};  // 0: never asked for
  void reset();
};

HandleTable<ArrayObject>& arrays();
HandleTable<MipmappedArrayObject>& mipmapped_arrays();

// The shape of a program's array. CUDA_ERROR_INVALID_HANDLE if it is none.
CUresult shape_of(CUarray array, protocol::ArrayShape* shape);

// The context was reset.
void forget_arrays();

}  // namespace tfusion::hook
