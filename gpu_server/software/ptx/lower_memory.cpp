// Loads, stores, atomics, prefetches.

#include <algorithm>
#include <array>
#include <optional>

#include "handlers.hpp"
#include "lanes.hpp"
#include "lowering.hpp"
#include "message.hpp"

namespace tfusion::software::ptx {

namespace {

using ast::Operand;
using ast::OperandKind;

std::optional<Space> parse_space(std::string_view name) {
  if (name == "global") return Space::global;
  if (name == "const") return Space::constant;
  if (name.starts_with("shared"))
    return name == "shared::cluster" ? std::nullopt : std::optional(Space::shared);
  if (name == "local") return Space::local;
  if (name.starts_with("param")) return Space::param;
  return std::nullopt;
}

// Modifiers that change nothing here: caches, and orders that every access of the executor keeps anyway.
bool is_hint(std::string_view word) {
  static constexpr std::array<std::string_view, 18> kHints{
      "weak", "relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys",
      "ca",   "cg",      "cs",      "lu",      "cv",      "nc",  "wb",      "wt",  "mmio"};
  return std::find(kHints.begin(), kHints.end(), word) != kHints.end() || word.starts_with("L1::") ||
         word.starts_with("L2::") || word.starts_with("level::");
}

}  // namespace

Lowering::Address Lowering::address(const ast::Instruction& in, const Operand& operand, Space space,
                                    std::uint32_t bytes) {
  if (operand.kind != OperandKind::memory || operand.parts.empty())
    fail(full_name(in) + ": an address in brackets is missing");
  if (operand.parts.size() != 1) unsupported(in);
  const Operand& base = operand.parts[0];
  Address result{kNoRow, operand.addend, space, false};
  switch (base.kind) {
    case OperandKind::reg: {
      Type type{};
      const std::uint32_t reg = register_of(base, &type);
      if (type_bytes(type) < 4) fail(quoted(base.name) + " is too narrow to hold an address");
      result.base = resize(reg, bits_type(type_bytes(type)), Type::b64);
      if (space == Space::param) {
        if (function_.entry) {
          Operation add{};
          add.op = Op::add;
          add.type = Type::u64;
          const std::uint32_t moved = temporary(8);
          Instr& instr = emit_handler(add);
          instr.a = result.base;
          instr.b = constant(kParamWindow, 8);
          instr.dst = moved;
          result.base = moved;
          result.space = Space::generic;
        } else {
          result.space = Space::local;
        }
      }
      return result;
    }
    case OperandKind::immediate:
      result.base = constant(base.bits, 8);
      if (space == Space::param) unsupported(in);
      return result;
    case OperandKind::variable: {
      const ast::Variable& variable = function_.variables[base.index];
      const std::uint64_t offset = layout_.offsets[base.index];
      const bool kernel_parameter =
          function_.entry && std::any_of(function_.parameters.begin(), function_.parameters.end(),
                                         [&](const ast::Parameter& p) { return p.variable == base.index; });
      if (variable.space == Space::shared) {
        if (space == Space::generic) {
          result.base = constant(kSharedWindow + offset, 8);
        } else if (space == Space::shared) {
          result.base = constant(offset, 8);
        } else {
          fail(quoted(base.name) + " lies in shared memory");
        }
        return result;
      }
      if (variable.space == Space::local) {
        if (space != Space::local && space != Space::generic)
          fail(quoted(base.name) + " lies in local memory");
        result.space = Space::local;
        result.base = local_address(offset);
        return result;
      }
      if (space != Space::param) fail(quoted(base.name) + " is a parameter");
      if (operand.addend < 0 || static_cast<std::uint64_t>(operand.addend) > variable.bytes ||
          bytes > variable.bytes - static_cast<std::uint64_t>(operand.addend)) {
        fail("this access lies outside the parameter '" + base.name + "'");
      }
      if (kernel_parameter) {
        result.kernel_param = true;
        result.offset += static_cast<std::int64_t>(offset);
      } else {
        result.space = Space::local;
        result.base = local_address(offset);
      }
      return result;
    }
    case OperandKind::name: {
      const auto symbol = symbols_.find(module_, base.name);
      if (!symbol || symbol->kind != Symbol::Kind::variable)
        fail(quoted(base.name) + " is no variable that this text declares");
      const ProgramVariable& variable = symbols_.variables[symbol->index];
      const bool shared = variable.declaration->space == Space::shared;
      if (shared && space == Space::generic) {
        Operation add{};
        add.op = Op::add;
        add.type = Type::u64;
        const std::uint32_t offset = symbol_address(base, 8);
        const std::uint32_t moved = temporary(8);
        Instr& instr = emit_handler(add);
        instr.a = offset;
        instr.b = constant(kSharedWindow, 8);
        instr.dst = moved;
        result.base = moved;
        return result;
      }
      if (shared != (space == Space::shared) || space == Space::local || space == Space::param) {
        fail(quoted(base.name) + " does not lie in " + space_name(space) + " memory");
      }
      result.base = symbol_address(base, 8);
      return result;
    }
    default:
      fail("this is no address");
  }
}

void Lowering::emit_load(const Operand& dst, const Address& from, Type type, std::uint8_t count, bool waits) {
  Operation o{};
  o.op = from.kernel_param ? Op::load_param : Op::load;
  o.type = bits_type(type_bytes(type));
  o.space = from.space;
  o.count = count;
  std::vector<std::uint32_t> targets;
  for (std::uint8_t i = 0; i < count; ++i) {
    targets.push_back(destination(
        count == 1 ? (dst.kind == OperandKind::list ? dst.parts[0] : dst) : dst.parts[i], type, true));
  }
  if (from.kernel_param) {
    o.count = 1;
    for (std::uint8_t i = 0; i < count; ++i) {
      Instr& instr = emit_handler(o);
      instr.imm = from.offset + static_cast<std::int64_t>(i) * type_bytes(type);
      instr.dst = targets[i];
    }
    return;
  }
  Instr& instr = emit_handler(o);
  instr.a = from.base;
  instr.imm = from.offset;
  instr.waits = waits;
  instr.extra = static_cast<std::uint32_t>(from.space);
  if (count == 1) {
    instr.dst = targets[0];
  } else {
    instr.list = static_cast<std::uint32_t>(code_.rows.size());
    instr.list_count = count;
    instr.list_written = true;
    code_.rows.insert(code_.rows.end(), targets.begin(), targets.end());
  }
}

void Lowering::emit_store(const Operand& src, const Address& to, Type type, std::uint8_t count) {
  Operation o{};
  o.op = Op::store;
  o.type = bits_type(type_bytes(type));
  o.space = to.space;
  o.count = count;
  std::vector<std::uint32_t> values;
  for (std::uint8_t i = 0; i < count; ++i) {
    values.push_back(
        source(count == 1 ? (src.kind == OperandKind::list ? src.parts[0] : src) : src.parts[i], type, true));
  }
  Instr& instr = emit_handler(o);
  instr.a = to.base;
  instr.imm = to.offset;
  instr.extra = static_cast<std::uint32_t>(to.space);
  if (count == 1) {
    instr.b = values[0];
  } else {
    instr.list = static_cast<std::uint32_t>(code_.rows.size());
    instr.list_count = count;
    code_.rows.insert(code_.rows.end(), values.begin(), values.end());
  }
}

bool Lowering::lower_memory(const ast::Instruction& in) {
  const std::string& name = in.opcode;
  if (name == "prefetch" || name == "prefetchu" || name == "discard" || name == "applypriority") return true;
  const bool loading = name == "ld" || name == "ldu";
  if (!loading && name != "st") return false;
  Space space = Space::generic;
  Type type = Type::none;
  std::uint8_t count = 1;
  bool waits = false;
  for (const std::string& word : in.modifiers) {
    if (const auto found = parse_space(word)) {
      space = *found;
    } else if (word == "v2" || word == "v4") {
      count = word == "v2" ? 2 : 4;
    } else if (const Type found_type = parse_type(word); found_type != Type::none) {
      type = found_type;
    } else if (word == "volatile" || is_hint(word)) {
      waits = waits || word == "volatile" || word == "relaxed" || word == "acquire" || word == "cv";
    } else {
      unsupported(in, "the modifier '." + word + "' is not known here");
    }
  }
  if (type == Type::none || type == Type::pred) unsupported(in);
  // A cache policy may follow as a last operand.
  expect_operands(in, 2, 3);
  const Operand& memory = in.operands[loading ? 1 : 0];
  const Operand& value = in.operands[loading ? 0 : 1];
  const std::size_t given = value.kind == OperandKind::list ? value.parts.size() : 1;
  if (given != count)
    fail(full_name(in) + " moves " + std::to_string(count) + " elements and names " + std::to_string(given));
  const Address at = address(in, memory, space, type_bytes(type) * count);
  if (loading) {
    emit_load(value, at, type, count, waits);
  } else {
    if (at.kernel_param || space == Space::constant)
      fail("a kernel cannot write its parameters or constants");
    emit_store(value, at, type, count);
  }
  return true;
}

bool Lowering::lower_atomic(const ast::Instruction& in) {
  const bool returning = in.opcode == "atom";
  if (!returning && in.opcode != "red") return false;
  static constexpr std::array<std::pair<std::string_view, AtomicOp>, 10> kOps{{{"add", AtomicOp::add},
                                                                               {"exch", AtomicOp::exch},
                                                                               {"cas", AtomicOp::cas},
                                                                               {"min", AtomicOp::min},
                                                                               {"max", AtomicOp::max},
                                                                               {"inc", AtomicOp::inc},
                                                                               {"dec", AtomicOp::dec},
                                                                               {"and", AtomicOp::and_},
                                                                               {"or", AtomicOp::or_},
                                                                               {"xor", AtomicOp::xor_}}};
  Space space = Space::generic;
  Type type = Type::none;
  std::optional<AtomicOp> op;
  for (const std::string& word : in.modifiers) {
    const auto named =
        std::find_if(kOps.begin(), kOps.end(), [&](const auto& entry) { return entry.first == word; });
    if (named != kOps.end()) {
      op = named->second;
    } else if (const auto found = parse_space(word)) {
      space = *found;
    } else if (const Type found_type = parse_type(word); found_type != Type::none) {
      type = found_type;
    } else if (word != "noftz" && !is_hint(word)) {
      unsupported(in, "the modifier '." + word + "' is not known here");
    }
  }
  if (!op || (space != Space::generic && space != Space::global && space != Space::shared)) unsupported(in);
  const Handler handler = find_atomic(*op, type, space);
  if (handler == nullptr) unsupported(in);
  const std::size_t sources = *op == AtomicOp::cas ? 2 : 1;
  const std::size_t first = returning ? 1 : 0;
  expect_operands(in, first + 1 + sources, first + 1 + sources);
  const Address at = address(in, in.operands[first], space, type_bytes(type));
  if (at.space == Space::local) unsupported(in);
  Instr instr;
  instr.run = handler;
  instr.a = at.base;
  instr.imm = at.offset;
  instr.b = source(in.operands[first + 1], type);
  if (sources == 2) instr.c = source(in.operands[first + 2], type);
  if (returning && in.operands[0].kind != OperandKind::sink) instr.dst = destination(in.operands[0], type);
  instr.waits = true;
  emit(instr);
  return true;
}

}  // namespace tfusion::software::ptx
