// The fundamental types of PTX and what the compiler asks of them: width, signedness, class.
//
// Used by the parser, the lowering and the choice of a lane operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tfusion::software::ptx {

enum class Type : std::uint8_t {
  none,
  pred,
  b8,
  b16,
  b32,
  b64,
  u8,
  u16,
  u32,
  u64,
  s8,
  s16,
  s32,
  s64,
  f16,
  f16x2,
  bf16,
  bf16x2,
  f32,
  f64,
};

enum class Space : std::uint8_t { generic, global, constant, shared, local, param };

// Type::none if `name` (without its dot) names no type.
Type parse_type(std::string_view name) noexcept;
const char* type_name(Type type) noexcept;
const char* space_name(Space space) noexcept;

// Bytes that one value takes, 1 for a predicate.
std::uint32_t type_bytes(Type type) noexcept;

bool is_signed(Type type) noexcept;
bool is_float(Type type) noexcept;  // any floating-point type, packed ones too
bool is_bits(Type type) noexcept;   // b8 .. b64

// The untyped or unsigned type of a width.
Type bits_type(std::uint32_t bytes) noexcept;
Type unsigned_type(std::uint32_t bytes) noexcept;

}  // namespace tfusion::software::ptx
