#include "types.hpp"

#include <array>
#include <utility>

namespace tfusion::software::ptx {

namespace {

struct Row {
  std::string_view name;
  std::uint32_t bytes;
};

// Indexed by Type.
constexpr std::array<Row, 20> kTypes{{{"none", 0},  {"pred", 1}, {"b8", 1},     {"b16", 2}, {"b32", 4},
                                      {"b64", 8},   {"u8", 1},   {"u16", 2},    {"u32", 4}, {"u64", 8},
                                      {"s8", 1},    {"s16", 2},  {"s32", 4},    {"s64", 8}, {"f16", 2},
                                      {"f16x2", 4}, {"bf16", 2}, {"bf16x2", 4}, {"f32", 4}, {"f64", 8}}};
static_assert(static_cast<std::size_t>(Type::f64) + 1 == kTypes.size());

}  // namespace

Type parse_type(std::string_view name) noexcept {
  for (std::size_t i = 1; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<Type>(i);
  }
  return Type::none;
}

const char* type_name(Type type) noexcept {
  return kTypes[static_cast<std::size_t>(type)].name.data();
}

const char* space_name(Space space) noexcept {
  switch (space) {
    case Space::generic:
      return "generic";
    case Space::global:
      return "global";
    case Space::constant:
      return "constant";
    case Space::shared:
      return "shared";
    case Space::local:
      return "local";
    case Space::param:
      return "parameter";
  }
  return "unknown";
}

std::uint32_t type_bytes(Type type) noexcept {
  return kTypes[static_cast<std::size_t>(type)].bytes;
}

bool is_signed(Type type) noexcept {
  return type >= Type::s8 && type <= Type::s64;
}
bool is_float(Type type) noexcept {
  return type >= Type::f16;
}
bool is_bits(Type type) noexcept {
  return type >= Type::b8 && type <= Type::b64;
}

Type bits_type(std::uint32_t bytes) noexcept {
  return bytes == 1 ? Type::b8 : bytes == 2 ? Type::b16 : bytes == 4 ? Type::b32 : Type::b64;
}
Type unsigned_type(std::uint32_t bytes) noexcept {
  return bytes == 1 ? Type::u8 : bytes == 2 ? Type::u16 : bytes == 4 ? Type::u32 : Type::u64;
}

}  // namespace tfusion::software::ptx
