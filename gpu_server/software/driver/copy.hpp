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

// A checked copy, as the queue runs it. It takes device memory from its description and host memory as it is
// then.
struct Transfer {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_MEMCPY;

  void run(Context& context) const noexcept;

  Copy what;
  bool from_device = false;  // memory that kernels may touch; otherwise any memory of the process
  bool to_device = false;
  std::shared_ptr<const CUDA_MEMCPY3D> described;  // of a graph's memcpy node: what its program asks back
};

// What a 3D description means. Throws CUDA_ERROR_INVALID_VALUE, or CUDA_ERROR_INVALID_HANDLE for what is no
// array.
Copy copy_of(const CUDA_MEMCPY3D& described);

// Checks the memory. Throws CUDA_ERROR_INVALID_VALUE for memory that is not there. Precondition: not empty.
Transfer make_transfer(const Copy& what);

// Checks and submits the copy. If `wait`, returns when it is done. Otherwise a source in pageable memory is
// read before the return, and the return waits for the copy if the destination is pageable memory, as CUDA's
// does. Throws CUDA_ERROR_INVALID_VALUE for memory that is not there.
CUresult copy(const std::shared_ptr<Context>& context, CUstream stream, const Copy& what, bool wait);

}  // namespace tfusion::software::driver
