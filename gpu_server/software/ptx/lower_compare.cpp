// Comparison and conversion.

#include <array>
#include <cfenv>
#include <optional>

#include "lowering.hpp"

namespace tfusion::software::ptx {

namespace {

using ast::Operand;
using ast::OperandKind;

std::optional<Compare> parse_compare(std::string_view name) {
  static constexpr std::array<std::string_view, 18> kNames{"eq",  "ne",  "lt",  "le",  "gt",  "ge",
                                                           "lo",  "ls",  "hi",  "hs",  "equ", "neu",
                                                           "ltu", "leu", "gtu", "geu", "num", "nan"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Compare>(i);
  }
  return std::nullopt;
}

std::optional<Op> parse_combine(std::string_view name) {
  if (name == "and") return Op::and_;
  if (name == "or") return Op::or_;
  if (name == "xor") return Op::xor_;
  return std::nullopt;
}

}  // namespace

// --- comparison

std::uint32_t Lowering::compare(const ast::Instruction& in, Type type, bool flush, std::string_view name,
                                const Operand& a, const Operand& b) {
  const auto relation = parse_compare(name);
  if (!relation) unsupported(in);
  const bool packed = type == Type::f16x2 || type == Type::bf16x2;
  Operation o{};
  o.op = Op::setp;
  o.type = type;
  o.compare = *relation;
  o.flush = flush;
  if (packed) unsupported(in);
  if (is_bits(type) && *relation != Compare::eq && *relation != Compare::ne) {
    unsupported(in, "untyped values can be compared for eq and ne alone");
  }
  Instr instr;
  instr.run = find_handler(o);
  if (instr.run == nullptr) unsupported(in);
  instr.a = source(a, type);
  instr.b = source(b, type);
  instr.dst = temporary(1);
  return emit(instr).dst;
}

bool Lowering::lower_compare(const ast::Instruction& in) {
  if (in.opcode == "testp") {
    static constexpr std::array<std::string_view, 6> kTests{"finite",     "infinite", "number",
                                                            "notanumber", "normal",   "subnormal"};
    if (in.modifiers.size() != 2) unsupported(in);
    std::size_t test = 0;
    while (test < kTests.size() && kTests[test] != in.modifiers[0]) ++test;
    Operation o{};
    o.op = Op::testp;
    o.type = parse_type(in.modifiers[1]);
    if (test == kTests.size() || (o.type != Type::f32 && o.type != Type::f64)) unsupported(in);
    o.test = static_cast<Test>(test);
    expect_operands(in, 2, 2);
    Instr instr;
    instr.run = find_handler(o);
    instr.a = source(in.operands[1], o.type);
    instr.dst = destination(in.operands[0], Type::pred);
    emit(instr);
    return true;
  }
  if (in.opcode != "setp" && in.opcode != "set") return false;
  // setp.CmpOp[.BoolOp][.ftz].type p[|q], a, b[, c]; set.CmpOp[.BoolOp][.ftz].dtype.stype d, a, b[, c]
  if (in.modifiers.size() < 2) unsupported(in);
  const bool to_register = in.opcode == "set";
  std::size_t i = 1;
  std::optional<Op> combine;
  if ((combine = parse_combine(in.modifiers[i]))) ++i;
  const Modifiers m = modifiers(in, i);
  if (m.types.size() != (to_register ? 2u : 1u)) unsupported(in);
  const Type type = m.types.back();
  expect_operands(in, combine ? 4 : 3, combine ? 4 : 3);
  const Type half = type == Type::f16x2 ? Type::f16 : type == Type::bf16x2 ? Type::bf16 : Type::none;
  if (half != Type::none) {
    // Packed: both halves are compared; setp gives p for the low one and q for the high one.
    std::array<std::uint32_t, 2> flags{};
    const std::uint32_t a = source(in.operands[1], type);
    const std::uint32_t b = source(in.operands[2], type);
    const auto relation = parse_compare(in.modifiers[0]);
    if (!relation || combine) unsupported(in);
    for (std::uint32_t k = 0; k < 2; ++k) {
      std::array<std::uint32_t, 2> parts{};
      for (std::uint32_t s = 0; s < 2; ++s) {
        Operation split{};
        split.op = Op::unpack;
        split.type = Type::b32;
        split.source = Type::b16;
        parts[s] = temporary(2);
        Instr& instr = emit_handler(split);
        instr.a = s == 0 ? a : b;
        instr.imm = k;
        instr.dst = parts[s];
      }
      Operation o{};
      o.op = Op::setp;
      o.type = half;
      o.compare = *relation;
      o.flush = m.flush;
      flags[k] = temporary(1);
      Instr& instr = emit_handler(o);
      instr.a = parts[0];
      instr.b = parts[1];
      instr.dst = flags[k];
    }
    if (!to_register) {
      const Operand& target = in.operands[0];
      if (target.kind != OperandKind::pair) fail("'setp' of packed values needs a result p|q");
      for (std::size_t k = 0; k < 2; ++k) copy(destination(target.parts[k], Type::pred), flags[k], 1);
      return true;
    }
    // All ones for integer results, 1.0 for floating-point ones.
    const bool real = is_float(m.types[0]);
    const std::uint64_t one = !real ? 0xFFFF : half == Type::f16 ? 0x3C00 : 0x3F80;
    std::vector<std::uint32_t> parts;
    for (std::size_t k = 0; k < 2; ++k) {
      Operation o{};
      o.op = Op::select;
      o.type = Type::b16;
      const std::uint32_t part = temporary(2);
      Instr& instr = emit_handler(o);
      instr.a = constant(one, 2);
      instr.b = constant(0, 2);
      instr.c = flags[k];
      instr.dst = part;
      parts.push_back(part);
    }
    Operation join{};
    join.op = Op::pack;
    join.type = Type::b32;
    join.source = Type::b16;
    const std::uint32_t result = destination(in.operands[0], Type::b32);
    Instr& instr = emit_handler(join);
    instr.dst = result;
    instr.list = static_cast<std::uint32_t>(code_.rows.size());
    instr.list_count = 2;
    code_.rows.insert(code_.rows.end(), parts.begin(), parts.end());
    return true;
  }

  const std::uint32_t flag = compare(in, type, m.flush, in.modifiers[0], in.operands[1], in.operands[2]);
  const auto combined = [&](std::uint32_t value) {
    if (!combine) return value;
    Operation o{};
    o.op = *combine;
    o.type = Type::pred;
    const std::uint32_t c = source(in.operands[3], Type::pred);
    const std::uint32_t result = temporary(1);
    Instr& instr = emit_handler(o);
    instr.a = value;
    instr.b = c;
    instr.dst = result;
    return result;
  };
  if (!to_register) {
    const Operand& target = in.operands[0];
    const bool two = target.kind == OperandKind::pair;
    const std::uint32_t first = combined(flag);
    std::uint32_t second = kNoRow;
    if (two) {
      Operation o{};
      o.op = Op::not_;
      o.type = Type::pred;
      const std::uint32_t inverse = temporary(1);
      Instr& instr = emit_handler(o);
      instr.a = flag;
      instr.dst = inverse;
      second = combined(inverse);
    }
    const std::uint32_t p = destination(two ? target.parts[0] : target, Type::pred);
    // The comparison itself may write the result when nothing stands between.
    if (!two && code_.code.back().dst == first && code_.registers[first].temporary) {
      code_.code.back().dst = p;
    } else {
      copy(p, first, 1);
    }
    if (two) copy(destination(target.parts[1], Type::pred), second, 1);
    return true;
  }
  const Type result_type = m.types[0];
  if (type_bytes(result_type) != 4 && type_bytes(result_type) != 2) unsupported(in);
  Operation o{};
  o.op = Op::select;
  o.type = bits_type(type_bytes(result_type));
  const std::uint64_t one = result_type == Type::f32    ? 0x3F800000u
                            : result_type == Type::f16  ? 0x3C00u
                            : result_type == Type::bf16 ? 0x3F80u
                                                        : ~std::uint64_t{0};
  const std::uint32_t value = combined(flag);
  const std::uint32_t result = destination(in.operands[0], result_type);
  Instr& instr = emit_handler(o);
  instr.a = constant(one, type_bytes(result_type));
  instr.b = constant(0, type_bytes(result_type));
  instr.c = value;
  instr.dst = result;
  return true;
}

// --- conversion

bool Lowering::lower_convert(const ast::Instruction& in) {
  if (in.opcode == "cvt" && !in.modifiers.empty() && in.modifiers[0] == "pack") unsupported(in);
  if (in.opcode != "cvt") return false;
  const Modifiers m = modifiers(in);
  if (m.types.size() != 2) unsupported(in);
  const Type to = m.types[0];
  const Type from = m.types[1];
  Operation o{};
  o.op = Op::convert;
  o.rounding = m.rounding;
  o.flush = m.flush;
  o.saturate = m.saturate;
  std::int64_t imm = 0;
  if (o.rounding == Rounding::rz) imm = FE_TOWARDZERO;
  if (o.rounding == Rounding::rm) imm = FE_DOWNWARD;
  if (o.rounding == Rounding::rp) imm = FE_UPWARD;
  const auto one = [&](Type source_type, Type result_type, std::uint32_t value, std::uint32_t result) {
    o.source = source_type;
    o.type = result_type;
    Instr instr;
    instr.run = find_handler(o);
    if (instr.run == nullptr) unsupported(in);
    instr.imm = imm;
    instr.a = value;
    instr.dst = result;
    emit(instr);
    if (!m.relu) return;
    Operation relu{};
    relu.op = Op::max;
    relu.type = result_type;
    relu.nan = true;
    Instr& clamp = emit_handler(relu);
    clamp.a = result;
    clamp.b = constant(0, type_bytes(result_type));
    clamp.dst = result;
  };
  if (to == Type::f16x2 || to == Type::bf16x2) {  // cvt.rn.f16x2.f32 d, high, low
    if (from != Type::f32) unsupported(in);
    expect_operands(in, 3, 3);
    const Type half = to == Type::f16x2 ? Type::f16 : Type::bf16;
    const std::uint32_t high = temporary(2);
    const std::uint32_t low = temporary(2);
    one(from, half, source(in.operands[1], from), high);
    one(from, half, source(in.operands[2], from), low);
    Operation join{};
    join.op = Op::pack;
    join.type = Type::b32;
    join.source = Type::b16;
    const std::uint32_t result = destination(in.operands[0], Type::b32);
    Instr& instr = emit_handler(join);
    instr.dst = result;
    instr.list = static_cast<std::uint32_t>(code_.rows.size());
    instr.list_count = 2;
    code_.rows.push_back(low);
    code_.rows.push_back(high);
    return true;
  }
  if (to == Type::pred || from == Type::pred || from == Type::f16x2 || from == Type::bf16x2 || is_bits(to) ||
      is_bits(from)) {
    unsupported(in);
  }
  if (is_float(from) && !is_float(to) && (m.rounding == Rounding::none || m.rounding < Rounding::rni)) {
    unsupported(in, "a conversion from floating point to an integer needs .rni, .rzi, .rmi or .rpi");
  }
  expect_operands(in, 2, 2);
  const std::uint32_t value = source(in.operands[1], from, true);
  one(from, to, value, destination(in.operands[0], to, true));
  return true;
}

}  // namespace tfusion::software::ptx
