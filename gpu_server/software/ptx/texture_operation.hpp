// What a texture or surface instruction says, as it travels in Instr::imm from the lowering
// (lower_texture.cpp) to the handlers (texture_handlers.cpp).
#pragma once

#include <cstdint>

namespace tfusion::software::ptx {

enum class SurfaceBoundary : std::uint8_t { trap, clamp, zero };
enum class TextureQuery : std::uint8_t { width, height, depth, layers, levels };

struct TextureOperation {
  std::uint8_t dimensions = 1;  // 1 to 3
  bool layered = false;         // a layer comes before the coordinates
  bool integer_coordinates = false;
  bool level =
      false;  // with a level: in row d; with three coordinates in the high half of row d, which has 8 bytes
  std::uint8_t element_bytes = 4;  // of a surface access
  std::uint8_t count = 1;          // elements of a surface access
  SurfaceBoundary boundary = SurfaceBoundary::trap;
  TextureQuery query = TextureQuery::width;
  bool surface = false;  // of a query: whether it asks a surface

  std::int64_t encode() const {
    const std::uint64_t bits = std::uint64_t{dimensions} | std::uint64_t{layered} << 4 |
                               std::uint64_t{integer_coordinates} << 5 | std::uint64_t{level} << 6 |
                               std::uint64_t{surface} << 7 | std::uint64_t{element_bytes} << 8 |
                               std::uint64_t{count} << 16 | static_cast<std::uint64_t>(boundary) << 24 |
                               static_cast<std::uint64_t>(query) << 32;
    return static_cast<std::int64_t>(bits);
  }
  static TextureOperation decode(std::int64_t imm) {
    const auto bits = static_cast<std::uint64_t>(imm);
    TextureOperation o;
    o.dimensions = static_cast<std::uint8_t>(bits & 15);
    o.layered = (bits >> 4 & 1) != 0;
    o.integer_coordinates = (bits >> 5 & 1) != 0;
    o.level = (bits >> 6 & 1) != 0;
    o.surface = (bits >> 7 & 1) != 0;
    o.element_bytes = static_cast<std::uint8_t>(bits >> 8 & 255);
    o.count = static_cast<std::uint8_t>(bits >> 16 & 255);
    o.boundary = static_cast<SurfaceBoundary>(bits >> 24 & 255);
    o.query = static_cast<TextureQuery>(bits >> 32 & 255);
    return o;
  }
};

}  // namespace tfusion::software::ptx
