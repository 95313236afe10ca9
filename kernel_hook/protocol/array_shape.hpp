// The shape of a CUDA array, and whether a box lies in it: what the hook answers from and the worker checks
// with, in one place. Formats and flags are those of cuda.h, as numbers.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tfusion::protocol {

struct ArrayShape {
  std::uint64_t width = 0;   // texels
  std::uint64_t height = 0;  // 0: one dimension
  std::uint64_t depth = 0;   // planes, or layers; 0: none
  std::uint32_t format = 0;
  std::uint32_t channels = 0;
  std::uint32_t flags = 0;
};

inline constexpr std::uint32_t kArrayLayered = 1;  // CUDA_ARRAY3D_LAYERED
inline constexpr std::uint32_t kArrayCube = 4;     // CUDA_ARRAY3D_CUBEMAP: depth counts faces
// Layers, surfaces, cubes, gathers and what graphics renders to; not sparse, deferred or video arrays.
inline constexpr std::uint32_t kArrayFlags = 0x2f;
// Beyond every limit of a GPU; keeps products of three within 64 bits.
inline constexpr std::uint64_t kMaxArrayExtent = 1u << 18;
inline constexpr std::uint32_t kMaxArrayLevels = 19;

// 0 if there is no such texel.
constexpr std::uint32_t texel_bytes(std::uint32_t format, std::uint32_t channels) {
  if (channels != 1 && channels != 2 && channels != 4) return 0;
  switch (format) {
    case 0x01:  // unsigned and signed integers of 8 bits
    case 0x08:
      return channels;
    case 0x02:  // of 16 bits; half precision
    case 0x09:
    case 0x10:
      return 2 * channels;
    case 0x03:  // of 32 bits; single precision
    case 0x0a:
    case 0x20:
      return 4 * channels;
    default:
      return 0;
  }
}

// Whether depth counts layers or faces, which lie side by side and not in space.
constexpr bool is_layered(const ArrayShape& shape) {
  return (shape.flags & (kArrayLayered | kArrayCube)) != 0;
}

// A level of a mipmapped array: each dimension is halved, layers stay as many.
constexpr ArrayShape level_shape(ArrayShape shape, std::uint32_t level) {
  const auto shrink = [level](std::uint64_t size) {
    return size == 0 ? size : std::max<std::uint64_t>(size >> level, 1);
  };
  shape.width = shrink(shape.width);
  shape.height = shrink(shape.height);
  if (!is_layered(shape)) shape.depth = shrink(shape.depth);
  return shape;
}

// A part of an array, in bytes, rows and planes.
struct ArrayBox {
  std::uint64_t x = 0, y = 0, z = 0;
  std::uint64_t width = 0, height = 0, depth = 0;
};

// Whether the box is not empty and lies in the array, in whole texels.
constexpr bool box_inside(const ArrayShape& shape, const ArrayBox& box) {
  const std::uint64_t texel = texel_bytes(shape.format, shape.channels);
  const auto fits = [](std::uint64_t start, std::uint64_t count, std::uint64_t size) {
    return count > 0 && start <= size && count <= size - start;
  };
  return texel != 0 && box.x % texel == 0 && box.width % texel == 0 &&
         fits(box.x, box.width, shape.width * texel) &&
         fits(box.y, box.height, std::max<std::uint64_t>(shape.height, 1)) &&
         fits(box.z, box.depth, std::max<std::uint64_t>(shape.depth, 1));
}

}  // namespace tfusion::protocol
