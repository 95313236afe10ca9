// CUDA arrays and mipmapped arrays. The software GPU keeps their texels in plain rows of device memory, so a
// copy to an array is a copy to memory and a texture reads it as memory.
#pragma once

#include <memory>
#include <vector>

#include "../texture_table.hpp"
#include "handles.hpp"

namespace tfusion::software::driver {

class Context;

// How a texel is made of channels. Throws CUDA_ERROR_INVALID_VALUE for what is no format of arrays, and
// CUDA_ERROR_NOT_SUPPORTED for those that only graphics uses.
Channel channel_of(CUarray_format format, unsigned channels);

class Array final : public Object {
 public:
  static constexpr Kind kKind = Kind::array;

  CUDA_ARRAY3D_DESCRIPTOR descriptor{};  // 0 where it has no such dimension
  Channel channel = Channel::f32;
  ImageLevel level;
  std::uint64_t memory = 0;     // the region to release with it; 0 for a level of a mipmapped array
  std::uint64_t mipmapped = 0;  // handle of the mipmapped array that it is a level of, or 0

  std::uint32_t texel_bytes() const { return channel_bytes(channel) * descriptor.NumChannels; }
  bool layered() const { return (descriptor.Flags & CUDA_ARRAY3D_LAYERED) != 0; }
};

class MipmappedArray final : public Object {
 public:
  static constexpr Kind kKind = Kind::mipmapped_array;

  std::vector<std::shared_ptr<Array>> levels;
  std::uint64_t memory = 0;
};

// A box inside an array. Throws CUDA_ERROR_INVALID_VALUE unless it lies there, in whole texels.
std::uint64_t address_in(const Array& array, std::size_t x_bytes, std::size_t y, std::size_t z,
                         std::size_t width_bytes, std::size_t rows, std::size_t planes);

}  // namespace tfusion::software::driver
