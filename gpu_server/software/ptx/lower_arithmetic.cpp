// Integer and floating-point arithmetic.

#include <array>
#include <cfenv>
#include <string_view>

#include "lowering.hpp"

namespace tfusion::software::ptx {

namespace {

struct Row {
  std::string_view name;
  Op op;
  unsigned sources;
};

constexpr std::array<Row, 37> kOperations{{
    {"add", Op::add, 2},           {"sub", Op::sub, 2},        {"mul", Op::mul, 2},
    {"mad", Op::fma, 3},           {"fma", Op::fma, 3},        {"mul24", Op::mul24_lo, 2},
    {"mad24", Op::mad24_lo, 3},    {"sad", Op::sad, 3},        {"div", Op::div, 2},
    {"rem", Op::rem, 2},           {"abs", Op::abs, 1},        {"neg", Op::neg, 1},
    {"min", Op::min, 2},           {"max", Op::max, 2},        {"popc", Op::popc, 1},
    {"clz", Op::clz, 1},           {"brev", Op::brev, 1},      {"bfe", Op::bfe, 3},
    {"bfi", Op::bfi, 4},           {"bfind", Op::bfind, 1},    {"fns", Op::fns, 3},
    {"dp4a", Op::dp4a, 3},         {"dp2a", Op::dp2a_lo, 3},   {"bmsk", Op::bmsk, 2},
    {"szext", Op::szext, 2},       {"rcp", Op::rcp, 1},        {"sqrt", Op::sqrt, 1},
    {"rsqrt", Op::rsqrt, 1},       {"sin", Op::sin, 1},        {"cos", Op::cos, 1},
    {"ex2", Op::ex2, 1},           {"lg2", Op::lg2, 1},        {"tanh", Op::tanh, 1},
    {"copysign", Op::copysign, 2}, {"addc", Op::add_carry, 2}, {"subc", Op::sub_borrow, 2},
    {"madc", Op::mad_lo_carry, 3},
}};

bool names_rounding_machine_has(Rounding rounding) {
  return rounding == Rounding::rz || rounding == Rounding::rm || rounding == Rounding::rp;
}

int machine_rounding(Rounding rounding) {
  return rounding == Rounding::rz ? FE_TOWARDZERO : rounding == Rounding::rm ? FE_DOWNWARD : FE_UPWARD;
}

}  // namespace

void Lowering::emit_operation(const ast::Instruction& in, const Operation& operation,
                              std::span<const Type> sources, std::int64_t imm) {
  Instr instr;
  instr.run = find_handler(operation);
  if (instr.run == nullptr) unsupported(in);
  instr.imm = imm;
  std::uint32_t* const places[] = {&instr.a, &instr.b, &instr.c, &instr.d};
  for (std::size_t i = 0; i < sources.size(); ++i) *places[i] = source(in.operands[i + 1], sources[i]);
  instr.dst = destination(in.operands[0], operation.type);
  emit(instr);
}

// add.cc, addc, sub.cc, subc, mad.cc, madc
void Lowering::carry_chain(const ast::Instruction& in, const Modifiers& m, Operation o, bool multiply) {
  expect_operands(in, multiply ? 4 : 3, multiply ? 4 : 3);
  o.carry_out = m.carry;
  Instr instr;
  instr.run = find_handler(o);
  if (instr.run == nullptr) unsupported(in);
  instr.a = source(in.operands[1], o.type);
  instr.b = source(in.operands[2], o.type);
  if (multiply) instr.c = source(in.operands[3], o.type);
  if (o.carry_in) instr.d = carry_;
  if (o.carry_out) instr.dst2 = carry_;
  instr.dst = destination(in.operands[0], o.type);
  emit(instr);
}

bool Lowering::lower_arithmetic(const ast::Instruction& in) {
  const Row* row = nullptr;
  for (const Row& candidate : kOperations) {
    if (candidate.name == in.opcode) row = &candidate;
  }
  if (row == nullptr) return false;
  const Modifiers m = modifiers(in);
  if (m.types.empty()) unsupported(in, "its type is missing");
  Operation o{};
  o.op = row->op;
  o.type = m.types[0];
  o.rounding = m.rounding;
  o.flush = m.flush;
  o.saturate = m.saturate;
  o.approx = m.approx || m.full;
  o.nan = m.nan;
  o.xor_sign = m.xor_sign;
  o.relu = m.relu;
  const bool real = is_float(o.type);
  std::size_t types_expected = 1;
  std::array<Type, 4> sources{o.type, o.type, o.type, o.type};

  if (m.carry || row->op == Op::add_carry || row->op == Op::sub_borrow || row->op == Op::mad_lo_carry) {
    o.carry_in = in.opcode.back() == 'c';
    const bool multiply = in.opcode == "mad" || in.opcode == "madc";
    if (in.opcode == "add")
      o.op = Op::add_carry;
    else if (in.opcode == "sub")
      o.op = Op::sub_borrow;
    else if (multiply)
      o.op = m.hi ? Op::mad_hi_carry : Op::mad_lo_carry;
    else if (row->op != Op::add_carry && row->op != Op::sub_borrow)
      unsupported(in);
    carry_chain(in, m, o, multiply);
    return true;
  }

  switch (row->op) {
    case Op::mul:
      if (!real) o.op = m.hi ? Op::mul_hi : m.wide ? Op::mul_wide : Op::mul_lo;
      break;
    case Op::fma:
      if (!real && in.opcode == "mad") o.op = m.hi ? Op::mad_hi : m.wide ? Op::mad_wide : Op::mad_lo;
      break;
    case Op::mul24_lo:
      if (m.hi) o.op = Op::mul24_hi;
      break;
    case Op::mad24_lo:
      if (m.hi) o.op = Op::mad24_hi;
      break;
    case Op::dp2a_lo:
      if (m.hi) o.op = Op::dp2a_hi;
      [[fallthrough]];
    case Op::dp4a: {
      if (m.types.size() != 2 || type_bytes(o.type) != 4 || type_bytes(m.types[1]) != 4) unsupported(in);
      types_expected = 2;
      o.source = m.types[1];
      sources = {o.type, o.source, Type::b32, Type::none};
      if (is_signed(o.source)) sources[2] = Type::s32;
      break;
    }
    case Op::bfe:
      sources = {o.type, Type::u32, Type::u32, Type::none};
      break;
    case Op::bfi:
      sources = {o.type, o.type, Type::u32, Type::u32};
      break;
    case Op::fns:
      sources = {Type::b32, Type::b32, Type::s32, Type::none};
      break;
    case Op::szext:
      sources = {o.type, Type::u32, Type::none, Type::none};
      o.saturate = m.wrap;
      break;
    case Op::bmsk:
      o.saturate = m.wrap;
      break;
    case Op::bfind:
      if (m.shift_amount) o.op = Op::bfind_shift;
      break;
    default:
      break;
  }
  if (o.op == Op::mul_wide || o.op == Op::mad_wide) {
    o.source = o.type;
    if (type_bytes(o.source) != 2 && type_bytes(o.source) != 4)
      unsupported(in, "only 16 and 32 bits can be widened");
    o.type = type_bytes(o.source) == 2 ? (is_signed(o.source) ? Type::s32 : Type::u32)
                                       : (is_signed(o.source) ? Type::s64 : Type::u64);
    sources = {o.source, o.source, o.type, Type::none};
  }
  // Counts of bits are 32 bits wide, whatever they count in.
  const bool counts = o.op == Op::popc || o.op == Op::clz || o.op == Op::bfind || o.op == Op::bfind_shift;
  // In PTX, mixed precision additions name two types; they are for later architectures.
  if (m.types.size() != types_expected) unsupported(in);
  if (o.type == Type::pred) unsupported(in);

  std::int64_t imm = 0;
  if (names_rounding_machine_has(o.rounding)) imm = machine_rounding(o.rounding);
  expect_operands(in, row->sources + 1, row->sources + 1);
  if (counts) {
    Instr instr;
    instr.run = find_handler(o);
    if (instr.run == nullptr) unsupported(in);
    instr.a = source(in.operands[1], o.type);
    instr.dst = destination(in.operands[0], Type::u32);
    emit(instr);
    return true;
  }
  emit_operation(in, o, std::span(sources).first(row->sources), imm);
  return true;
}

}  // namespace tfusion::software::ptx
