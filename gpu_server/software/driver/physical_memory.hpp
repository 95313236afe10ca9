// Physical memory of the virtual memory functions: ranges of one sparse memory file. A range is never used
// twice, so it is zero at first, and it gives its pages back when its handle and its last mapping are gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "handles.hpp"

namespace tfusion::software::driver {

class PhysicalMemory final : public Object {
 public:
  static constexpr Kind kKind = Kind::physical_memory;

  // Charges the GPU's memory. Throws CUDA_ERROR_OUT_OF_MEMORY. `bytes` is a multiple of the granularity.
  PhysicalMemory(std::size_t size_bytes, const CUmemAllocationProp& properties);
  ~PhysicalMemory() override;

  int file() const noexcept;

  const std::size_t bytes;
  const CUmemAllocationProp properties;
  std::uint64_t file_offset = 0;
  std::atomic<unsigned> references{1};  // cuMemCreate and cuMemRetainAllocationHandle minus cuMemRelease
};

}  // namespace tfusion::software::driver
