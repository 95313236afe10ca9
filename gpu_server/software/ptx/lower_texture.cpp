// Texture and surface instructions on objects: tex, txq, suld, sust, suq.

#include <array>
#include <optional>

#include "handlers.hpp"
#include "lowering.hpp"
#include "message.hpp"

namespace tfusion::software::ptx {

namespace {

using ast::Operand;
using ast::OperandKind;

// False if the word names no shape that is known here.
bool parse_geometry(std::string_view word, TextureOperation& o) {
  static constexpr std::array<std::string_view, 5> kNames{"1d", "2d", "3d", "a1d", "a2d"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (word != kNames[i]) continue;
    o.layered = i >= 3;
    o.dimensions = static_cast<std::uint8_t>(o.layered ? i - 2 : i + 1);
    return true;
  }
  return false;
}

std::optional<SurfaceBoundary> parse_boundary(std::string_view word) {
  if (word == "trap") return SurfaceBoundary::trap;
  if (word == "clamp") return SurfaceBoundary::clamp;
  if (word == "zero") return SurfaceBoundary::zero;
  return std::nullopt;
}

std::optional<TextureQuery> parse_query(std::string_view word) {
  if (word == "width") return TextureQuery::width;
  if (word == "height") return TextureQuery::height;
  if (word == "depth") return TextureQuery::depth;
  if (word == "array_size") return TextureQuery::layers;
  if (word == "num_mipmap_levels") return TextureQuery::levels;
  return std::nullopt;
}

// How many coordinates an instruction of this shape takes; one more may be given and does not count.
std::size_t coordinate_count(const TextureOperation& o) {
  return o.dimensions + (o.layered ? std::size_t{1} : std::size_t{0});
}

}  // namespace

// The object of [object, coordinates...], a register of 64 bits.
std::uint32_t Lowering::object_operand(const ast::Instruction& in, const Operand& memory, std::size_t parts) {
  if (memory.kind != OperandKind::memory || memory.parts.empty()) {
    fail(full_name(in) + ": an object in brackets is missing");
  }
  // With a sampler of its own, or an offset.
  if (memory.parts.size() != parts || memory.addend != 0) unsupported(in);
  if (memory.parts[0].kind == OperandKind::name)
    unsupported(in, "it names a texture or surface by reference; use an object");
  return source(memory.parts[0], Type::b64);
}

std::vector<std::uint32_t> Lowering::coordinates(const ast::Instruction& in, const Operand& given,
                                                 std::size_t count) {
  std::vector<std::uint32_t> rows;
  rows.reserve(count);
  const std::size_t named = given.kind == OperandKind::list ? given.parts.size() : 1;
  if (named < count || named > 4) {
    fail(full_name(in) + " takes " + std::to_string(count) + " coordinates and has " + std::to_string(named));
  }
  for (std::size_t i = 0; i < count; ++i) {
    rows.push_back(source(given.kind == OperandKind::list ? given.parts[i] : given, Type::b32));
  }
  return rows;
}

void Lowering::lower_fetch(const ast::Instruction& in) {
  TextureOperation o;
  bool shaped = false, four = false;
  std::vector<Type> types;
  for (const std::string& word : in.modifiers) {
    if (parse_geometry(word, o)) {
      shaped = true;
    } else if (word == "level") {
      o.level = true;
    } else if (word == "v4") {
      four = true;
    } else if (const Type type = parse_type(word); type != Type::none) {
      types.push_back(type);
    } else if (word != "base") {
      unsupported(in, "the modifier '." + word + "' is not known here");
    }
  }
  if (!shaped || !four || types.size() != 2) unsupported(in);
  if (types[0] != Type::f32 && types[0] != Type::s32 && types[0] != Type::u32) unsupported(in);
  if (types[1] != Type::f32 && types[1] != Type::s32) unsupported(in);
  o.integer_coordinates = types[1] == Type::s32;
  expect_operands(in, o.level ? 3 : 2, o.level ? 3 : 2);
  const Operand& results = in.operands[0];
  if (results.kind != OperandKind::list || results.parts.size() != 4) unsupported(in);
  const Operand& memory = in.operands[1];
  const std::uint32_t object = object_operand(in, memory, 2);
  std::vector<std::uint32_t> at = coordinates(in, memory.parts[1], coordinate_count(o));
  if (o.level) {
    const std::uint32_t level = source(in.operands[2], Type::b32);
    if (at.size() < 3) {
      at.resize(3, kNoRow);
      at[2] = level;
    } else {  // an instruction has no fifth operand: the last two share one
      Operation pack{};
      pack.op = Op::pack;
      pack.type = Type::b64;
      pack.source = Type::b32;
      const std::uint32_t both = temporary(8);
      Instr& instr = emit_handler(pack);
      instr.dst = both;
      instr.list = static_cast<std::uint32_t>(code_.rows.size());
      instr.list_count = 2;
      code_.rows.insert(code_.rows.end(), {at[2], level});
      at[2] = both;
    }
  }
  at.resize(3, kNoRow);
  std::array<std::uint32_t, 4> targets{};
  for (std::size_t i = 0; i < 4; ++i) targets[i] = destination(results.parts[i], types[0]);
  Instr instr;
  instr.run = &texture_fetch;
  instr.imm = o.encode();
  instr.a = object;
  instr.b = at[0];
  instr.c = at[1];
  instr.d = at[2];
  instr.list = static_cast<std::uint32_t>(code_.rows.size());
  instr.list_count = 4;
  instr.list_written = true;
  code_.rows.insert(code_.rows.end(), targets.begin(), targets.end());
  emit(instr);
}

void Lowering::lower_surface(const ast::Instruction& in) {
  const bool loading = in.opcode == "suld";
  TextureOperation o;
  bool shaped = false, plain = false;
  Type type = Type::none;
  std::optional<SurfaceBoundary> boundary;
  for (const std::string& word : in.modifiers) {
    if (parse_geometry(word, o)) {
      shaped = true;
    } else if (word == "b") {
      plain = true;
    } else if (word == "v2" || word == "v4") {
      o.count = word == "v2" ? 2 : 4;
    } else if (const auto found = parse_boundary(word)) {
      boundary = found;
    } else if (const Type found_type = parse_type(word); found_type != Type::none) {
      type = found_type;
    } else if (word != "ca" && word != "cg" && word != "cs" && word != "cv" && word != "wb" && word != "wt") {
      unsupported(in, "the modifier '." + word + "' is not known here");
    }
  }
  if (!shaped || !plain || !boundary || !is_bits(type)) unsupported(in);
  o.boundary = *boundary;
  o.element_bytes = static_cast<std::uint8_t>(type_bytes(type));
  if (o.element_bytes * o.count > 16) unsupported(in);
  expect_operands(in, 2, 2);
  const Operand& memory = in.operands[loading ? 1 : 0];
  const Operand& values = in.operands[loading ? 0 : 1];
  const std::size_t named = values.kind == OperandKind::list ? values.parts.size() : 1;
  if (named != o.count) {
    fail(full_name(in) + " moves " + std::to_string(o.count) + " elements and names " +
         std::to_string(named));
  }
  const std::uint32_t object = object_operand(in, memory, 2);
  std::vector<std::uint32_t> at = coordinates(in, memory.parts[1], coordinate_count(o));
  at.resize(3, kNoRow);
  std::vector<std::uint32_t> list;
  for (std::size_t i = 0; i < o.count; ++i) {
    const Operand& value = values.kind == OperandKind::list ? values.parts[i] : values;
    list.push_back(loading ? destination(value, type, true) : source(value, type, true));
  }
  Instr instr;
  instr.run = loading ? &surface_load : &surface_store;
  instr.imm = o.encode();
  instr.a = object;
  instr.b = at[0];
  instr.c = at[1];
  instr.d = at[2];
  instr.list = static_cast<std::uint32_t>(code_.rows.size());
  instr.list_count = o.count;
  instr.list_written = loading;
  code_.rows.insert(code_.rows.end(), list.begin(), list.end());
  emit(instr);
}

void Lowering::lower_query(const ast::Instruction& in) {
  TextureOperation o;
  o.surface = in.opcode == "suq";
  std::optional<TextureQuery> query;
  for (const std::string& word : in.modifiers) {
    if (const auto found = parse_query(word)) {
      query = found;
    } else if (word != "b32") {
      unsupported(in, "the modifier '." + word + "' is not known here");
    }
  }
  if (!query || (o.surface && *query == TextureQuery::levels)) unsupported(in);
  o.query = *query;
  expect_operands(in, 2, 2);
  Instr instr;
  instr.run = &texture_query;
  instr.imm = o.encode();
  instr.a = object_operand(in, in.operands[1], 1);
  instr.dst = destination(in.operands[0], Type::b32);
  emit(instr);
}

bool Lowering::lower_texture(const ast::Instruction& in) {
  if (in.opcode == "tex") {
    lower_fetch(in);
  } else if (in.opcode == "suld" || in.opcode == "sust") {
    lower_surface(in);
  } else if (in.opcode == "txq" || in.opcode == "suq") {
    lower_query(in);
  } else {
    return false;
  }
  return true;
}

}  // namespace tfusion::software::ptx
