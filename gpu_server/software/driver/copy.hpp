// Copies between linear memory, of one, two or three dimensions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "stream.hpp"

namespace tfusion::software::driver {

enum class Place {
  device,   // must be memory that kernels may touch
  host,     // any memory of the process
  unified,  // either; told by its address
};

struct Side {
  std::uint64_t address = 0;
  std::size_t pitch = 0;  // bytes from row to row
  std::size_t slice = 0;  // bytes from plane to plane
  Place place = Place::unified;
};

struct Copy {
  Side from;
  Side to;
  std::size_t width = 0;   // bytes
  std::size_t height = 1;  // rows
  std::size_t depth = 1;   // planes
};

// Checks and submits the copy. If `wait`, returns when it is done. Otherwise a source in pageable memory is
// read before the return, and the return waits for the copy if the destination is pageable memory, as CUDA's
// does. Throws CUDA_ERROR_INVALID_VALUE for memory that is not there.
CUresult copy(const std::shared_ptr<Context>& context, CUstream stream, const Copy& what, bool wait);

}  // namespace tfusion::software::driver
