// Moves, logic, selection.

#include <array>

#include "handlers.hpp"
#include "lanes.hpp"
#include "lowering.hpp"

namespace tfusion::software::ptx {

namespace {

using ast::Operand;
using ast::OperandKind;

}  // namespace

// --- logic

bool Lowering::lower_logic(const ast::Instruction& in) {
  const std::string& name = in.opcode;
  Operation o{};
  if (name == "and")
    o.op = Op::and_;
  else if (name == "or")
    o.op = Op::or_;
  else if (name == "xor")
    o.op = Op::xor_;
  else if (name == "not")
    o.op = Op::not_;
  else if (name == "cnot")
    o.op = Op::cnot;
  else if (name == "shl")
    o.op = Op::shl;
  else if (name == "shr")
    o.op = Op::shr;
  else if (name == "lop3")
    o.op = Op::lop3;
  else if (name == "prmt")
    o.op = Op::prmt;
  else if (name == "shf")
    o.op = Op::shf_left;
  else
    return false;

  if (o.op == Op::prmt) {
    static constexpr std::array<std::string_view, 7> kModes{"", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
    if (in.modifiers.empty() || in.modifiers[0] != "b32" || in.modifiers.size() > 2) unsupported(in);
    std::int64_t mode = 0;
    if (in.modifiers.size() == 2) {
      while (mode < 7 && kModes[static_cast<std::size_t>(mode)] != in.modifiers[1]) ++mode;
      if (mode == 7) unsupported(in);
    }
    o.type = Type::b32;
    expect_operands(in, 4, 4);
    emit_operation(in, o, std::array{Type::b32, Type::b32, Type::b32}, mode);
    return true;
  }
  if (o.op == Op::lop3) {
    // lop3.b32 d, a, b, c, table; lop3.and.b32 d|p, a, b, c, table, q
    if (in.modifiers.empty() || in.modifiers.back() != "b32") unsupported(in);
    const bool with_predicate = in.modifiers.size() == 2;
    if (in.modifiers.size() > 2 || (with_predicate && in.modifiers[0] != "and" && in.modifiers[0] != "or"))
      unsupported(in);
    expect_operands(in, with_predicate ? 6 : 5, with_predicate ? 6 : 5);
    if (in.operands[4].kind != OperandKind::immediate) fail("the truth table of 'lop3' must be a number");
    o.type = Type::b32;
    Instr instr;
    instr.run = find_handler(o);
    instr.imm = static_cast<std::int64_t>(in.operands[4].bits & 0xFF);
    instr.a = source(in.operands[1], Type::b32);
    instr.b = source(in.operands[2], Type::b32);
    instr.c = source(in.operands[3], Type::b32);
    const Operand& target = in.operands[0];
    if (with_predicate && target.kind != OperandKind::pair)
      fail("'lop3' with a predicate needs a result d|p");
    const std::uint32_t result = with_predicate ? temporary(4) : destination(target, Type::b32);
    instr.dst = result;
    emit(instr);
    if (with_predicate) {
      const std::uint32_t q = source(in.operands[5], Type::pred);
      Operation nonzero{};
      nonzero.op = Op::setp;
      nonzero.type = Type::b32;
      nonzero.compare = Compare::ne;
      const std::uint32_t flag = temporary(1);
      Instr& test = emit_handler(nonzero);
      test.a = result;
      test.b = constant(0, 4);
      test.dst = flag;
      Operation combine{};
      combine.op = in.modifiers[0] == "and" ? Op::and_ : Op::or_;
      combine.type = Type::pred;
      const std::uint32_t p = destination(target.parts[1], Type::pred);
      Instr& joined = emit_handler(combine);
      joined.a = flag;
      joined.b = q;
      joined.dst = p;
      copy(destination(target.parts[0], Type::b32), result, 4);
    }
    return true;
  }

  const Modifiers m = modifiers(in);
  if (m.types.size() != 1) unsupported(in);
  o.type = m.types[0];
  if (o.op == Op::shf_left) {
    if (type_bytes(o.type) != 4 || m.left == m.right || m.wrap == m.clamp) unsupported(in);
    if (m.right) o.op = Op::shf_right;
    o.saturate = m.wrap;
    expect_operands(in, 4, 4);
    emit_operation(in, o, std::array{Type::b32, Type::b32, Type::u32});
    return true;
  }
  if (is_float(o.type) || type_bytes(o.type) == 0) unsupported(in);
  if (o.op == Op::shl || o.op == Op::shr) {
    if (o.type == Type::pred || type_bytes(o.type) == 1) unsupported(in);
    expect_operands(in, 3, 3);
    emit_operation(in, o, std::array{o.type, Type::u32});
    return true;
  }
  const bool unary = o.op == Op::not_ || o.op == Op::cnot;
  expect_operands(in, unary ? 2 : 3, unary ? 2 : 3);
  const std::array<Type, 2> sources{o.type, o.type};
  emit_operation(in, o, std::span(sources).first(unary ? 1 : 2));
  return true;
}

// --- moves

std::uint32_t Lowering::special_register(const Operand& operand, Type type) {
  const SpecialRegister special =
      find_special_register(std::string_view(operand.name).substr(1), operand.component);
  if (special.run == nullptr) {
    static constexpr std::string_view kComponents[] = {"", ".x", ".y", ".z", ".w"};
    fail("'" + operand.name + std::string(kComponents[operand.component + 1]) +
         "' is neither a declared register nor a special register that the software GPU has");
  }
  Instr instr;
  instr.run = special.run;
  instr.imm = special.imm;
  instr.dst = temporary(special.bytes);
  const std::uint32_t value = emit(instr).dst;
  return resize(value, special.bytes == 8 ? Type::b64 : Type::b32, bits_type(type_bytes(type)));
}

// mov.b64 {a, b}, c and mov.b64 c, {a, b}
void Lowering::move_vector(const ast::Instruction& in, Type type) {
  const bool packing = in.operands[1].kind == OperandKind::list;
  const Operand& list = packing ? in.operands[1] : in.operands[0];
  if (in.operands[0].kind == OperandKind::list && packing) fail("'mov' packs or unpacks; it cannot do both");
  const auto count = static_cast<std::uint32_t>(list.parts.size());
  const std::uint32_t bytes = type_bytes(type);
  if (count < 2 || count > bytes || bytes % count != 0 || count == 3)
    fail("the list does not fill ." + std::string(type_name(type)));
  Operation o{};
  o.type = bits_type(bytes);
  o.source = bits_type(bytes / count);
  if (packing) {
    o.op = Op::pack;
    std::vector<std::uint32_t> parts;
    for (const Operand& part : list.parts) parts.push_back(source(part, o.source));
    const std::uint32_t result = destination(in.operands[0], o.type);
    Instr& instr = emit_handler(o);
    instr.dst = result;
    instr.list = static_cast<std::uint32_t>(code_.rows.size());
    instr.list_count = static_cast<std::uint8_t>(count);
    code_.rows.insert(code_.rows.end(), parts.begin(), parts.end());
    return;
  }
  o.op = Op::unpack;
  const std::uint32_t whole = source(in.operands[1], o.type);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (list.parts[i].kind == OperandKind::sink) continue;
    const std::uint32_t part = destination(list.parts[i], o.source);
    Instr& instr = emit_handler(o);
    instr.a = whole;
    instr.dst = part;
    instr.imm = i;
  }
}

bool Lowering::lower_move(const ast::Instruction& in) {
  if (in.opcode == "mov") {
    const Modifiers m = modifiers(in);
    if (m.types.size() != 1) unsupported(in);
    const Type type = m.types[0];
    expect_operands(in, 2, 2);
    if (in.operands[0].kind == OperandKind::list || in.operands[1].kind == OperandKind::list) {
      move_vector(in, type);
      return true;
    }
    const std::uint32_t bytes = type_bytes(type);
    const std::uint32_t from = source(in.operands[1], type);
    copy(destination(in.operands[0], type), from, bytes);
    return true;
  }
  if (in.opcode == "selp") {
    const Modifiers m = modifiers(in);
    if (m.types.size() != 1) unsupported(in);
    expect_operands(in, 4, 4);
    Operation o{};
    o.op = Op::select;
    o.type = m.types[0];
    emit_operation(in, o, std::array{o.type, o.type, Type::pred});
    return true;
  }
  if (in.opcode == "slct") {
    const Modifiers m = modifiers(in);
    if (m.types.size() != 2 || (m.types[1] != Type::s32 && m.types[1] != Type::f32)) unsupported(in);
    expect_operands(in, 4, 4);
    Operation o{};
    o.op = Op::slct;
    o.type = m.types[0];
    o.source = m.types[1];
    emit_operation(in, o, std::array{o.type, o.type, o.source}, m.flush ? 1 : 0);
    return true;
  }
  if (in.opcode == "cvta") {
    // cvta.space.u64 makes an address generic; cvta.to.space.u64 the other way
    std::size_t i = 0;
    const bool to = !in.modifiers.empty() && in.modifiers[0] == "to";
    if (to) ++i;
    if (in.modifiers.size() != i + 2 || (in.modifiers[i + 1] != "u64" && in.modifiers[i + 1] != "s64"))
      unsupported(in);
    const std::string& space = in.modifiers[i];
    std::uint64_t window = 0;
    if (space.starts_with("shared"))
      window = kSharedWindow;
    else if (space == "local")
      window = kLocalWindow;
    else if (space.starts_with("param"))
      window = function_.entry ? kParamWindow : kLocalWindow;
    else if (space != "global" && space != "const")
      unsupported(in);
    expect_operands(in, 2, 2);
    const std::uint32_t from = source(in.operands[1], Type::u64);
    const std::uint32_t result = destination(in.operands[0], Type::u64);
    if (window == 0) {
      copy(result, from, 8);
      return true;
    }
    Operation o{};
    o.op = to ? Op::sub : Op::add;
    o.type = Type::u64;
    Instr& instr = emit_handler(o);
    instr.a = from;
    instr.b = constant(window, 8);
    instr.dst = result;
    return true;
  }
  if (in.opcode == "isspacep") {
    if (in.modifiers.size() != 1) unsupported(in);
    expect_operands(in, 2, 2);
    const std::string& name = in.modifiers[0];
    Instr instr;
    instr.run = &is_in_window;
    const Space space = name == "global"             ? Space::global
                        : name.starts_with("shared") ? Space::shared
                        : name == "local"            ? Space::local
                        : name == "const"            ? Space::constant
                        : name.starts_with("param")  ? Space::param
                                                     : Space::generic;
    if (space == Space::generic) unsupported(in);
    instr.imm = static_cast<std::int64_t>(space);
    instr.a = source(in.operands[1], Type::u64);
    instr.dst = destination(in.operands[0], Type::pred);
    emit(instr);
    return true;
  }
  return false;
}

}  // namespace tfusion::software::ptx
