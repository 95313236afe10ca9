// The lowering's frame: layout of a function's memory, statements, operands, emission.

#include <algorithm>
#include <bit>
#include <cstring>

#include "handlers.hpp"
#include "lanes.hpp"
#include "lowering.hpp"
#include "message.hpp"

namespace tfusion::software::ptx {

namespace {

constexpr std::uint64_t kMaxParamBytes = 65536;
constexpr std::uint64_t kMaxFrameBytes = 512 * 1024;  // local memory of a thread
constexpr std::uint64_t kMaxSharedBytes = 48 * 1024;  // static shared memory of a block
constexpr std::size_t kMaxRegisters = 1 << 20;

std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace

std::string full_name(const ast::Instruction& in) {
  std::string name = in.opcode;
  for (const std::string& modifier : in.modifiers) name += "." + modifier;
  return name;
}

FunctionLayout lay_out(const ast::Function& function, std::uint64_t shared_start) {
  FunctionLayout layout;
  layout.offsets.resize(function.variables.size());
  layout.shared_bytes = shared_start;
  const auto place = [](std::uint64_t& end, const ast::Variable& variable, std::uint64_t limit,
                        const char* what) {
    const std::uint64_t offset = align_up(end, variable.alignment);
    if (variable.bytes > limit || offset > limit - variable.bytes) {
      throw CompileError(variable.line, quoted(variable.name) + " does not fit: a function may use " +
                                            std::to_string(limit) + " bytes of " + what);
    }
    end = offset + variable.bytes;
    return offset;
  };
  std::vector<bool> placed(function.variables.size());
  if (function.entry) {
    for (const ast::Parameter& parameter : function.parameters) {
      const ast::Variable& variable = function.variables[parameter.variable];
      layout.offsets[parameter.variable] = place(layout.param_bytes, variable, kMaxParamBytes, "parameters");
      layout.parameters.push_back({layout.offsets[parameter.variable], variable.bytes});
      placed[parameter.variable] = true;
    }
  }
  for (std::size_t i = 0; i < function.variables.size(); ++i) {
    if (placed[i]) continue;
    const ast::Variable& variable = function.variables[i];
    if (variable.space == Space::shared) {
      layout.offsets[i] = place(layout.shared_bytes, variable, kMaxSharedBytes, "static shared memory");
    } else {
      layout.offsets[i] =
          place(layout.local_bytes, variable, kMaxFrameBytes, "local memory and parameters of calls");
    }
  }
  layout.local_bytes = align_up(layout.local_bytes, 16);
  return layout;
}

Lowering::Lowering(const ast::Function& function, std::uint32_t module, const Symbols& symbols,
                   const FunctionLayout& layout)
    : function_(function),
      module_(module),
      symbols_(symbols),
      layout_(layout),
      frame_bytes_(layout.local_bytes) {}

FunctionCode Lowering::run() {
  out_.name = function_.name;
  for (const ast::Register& reg : function_.registers) {
    register_base_.push_back(static_cast<std::uint32_t>(code_.registers.size()));
    for (unsigned i = 0; i < reg.vector; ++i) code_.registers.push_back({type_bytes(reg.type)});
  }
  carry_ = static_cast<std::uint32_t>(code_.registers.size());
  code_.registers.push_back({1});
  code_.label_places.assign(function_.labels.size(), ~std::uint32_t{0});
  line_ = function_.line;
  for (const ast::Parameter& parameter : function_.parameters) {  // .reg parameters come from the frame
    if (!parameter.reg) continue;
    const Type type = function_.registers[*parameter.reg].type;
    ast::Operand target;
    target.kind = ast::OperandKind::reg;
    target.index = *parameter.reg;
    emit_load(target, {local_address(layout_.offsets[parameter.variable]), 0, Space::local}, type, 1, false);
    finish_destinations();
  }
  for (const ast::Statement& statement_ast : function_.statements) {
    if (statement_ast.label != ast::Statement::kNoLabel) {
      code_.label_places[statement_ast.label] = static_cast<std::uint32_t>(code_.code.size());
    } else {
      statement(statement_ast.instruction);
    }
  }
  // The end of the text is a return.
  guard_ = kNoRow;
  Instr end;
  end.kind = function_.entry ? Kind::exit : Kind::ret;
  emit(end);
  for (const ast::Parameter& parameter : function_.parameters) {
    const ast::Variable& variable = function_.variables[parameter.variable];
    out_.parameters.push_back({static_cast<std::uint32_t>(layout_.offsets[parameter.variable]),
                               static_cast<std::uint32_t>(variable.bytes)});
  }
  for (const ast::Parameter& parameter : function_.returns) {
    const ast::Variable& variable = function_.variables[parameter.variable];
    out_.returns.push_back({static_cast<std::uint32_t>(layout_.offsets[parameter.variable]),
                            static_cast<std::uint32_t>(variable.bytes)});
  }
  for (const auto& [key, reg] : constants_) {
    out_.constants.push_back({reg, std::get<1>(key), std::get<0>(key), std::get<2>(key)});
  }
  if (frame_bytes_ > kMaxFrameBytes) fail("the function needs more than 512 KiB of local memory");
  out_.local_bytes = static_cast<std::uint32_t>(align_up(frame_bytes_, 16));
  out_.calls_others = !callees_.empty() || calls_unknown_;
  finish(std::move(code_), out_);
  return std::move(out_);
}

void Lowering::statement(const ast::Instruction& in) {
  line_ = in.line;
  guard_ = kNoRow;
  if (in.guard) {
    guard_ = predicate_source(*in.guard);
    guard_negated_ = in.guard->negated;
  }
  if (!(lower_arithmetic(in) || lower_move(in) || lower_memory(in) || lower_control(in) ||
        lower_compare(in) || lower_convert(in) || lower_logic(in) || lower_atomic(in) || lower_warp(in) ||
        lower_texture(in))) {
    unsupported(in);
  }
  finish_destinations();
  if (code_.registers.size() > kMaxRegisters) fail("this function uses too many registers");
}

void Lowering::unsupported(const ast::Instruction& in, const std::string& why) const {
  fail("the instruction '" + full_name(in) + "' is not supported by the software GPU" +
       (why.empty() ? "" : ": " + why));
}

void Lowering::expect_operands(const ast::Instruction& in, std::size_t least, std::size_t most) const {
  const std::size_t count = in.operands.size();
  if (count >= least && count <= most) return;
  fail("the instruction '" + full_name(in) + "' has " + std::to_string(count) + " operands and needs " +
       std::to_string(least) + (least == most ? "" : " to " + std::to_string(most)));
}

// --- operands

std::uint32_t Lowering::temporary(std::uint32_t bytes) {
  code_.registers.push_back({bytes, false, true});
  return static_cast<std::uint32_t>(code_.registers.size() - 1);
}

std::uint32_t Lowering::constant(std::uint64_t value, std::uint32_t bytes, std::int32_t symbol) {
  if (bytes < 8) value &= (std::uint64_t{1} << (bytes * 8)) - 1;
  const auto [place, fresh] = constants_.try_emplace({value, bytes, symbol}, 0);
  if (fresh) {
    code_.registers.push_back({bytes, true, false});
    place->second = static_cast<std::uint32_t>(code_.registers.size() - 1);
  }
  return place->second;
}

std::uint64_t Lowering::immediate_bits(const ast::Operand& operand, Type type) const {
  using ast::OperandKind;
  if (operand.kind == OperandKind::immediate) {
    if (type == Type::pred) return operand.bits != 0 ? 1 : 0;
    if (type == Type::f32)
      return std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int64_t>(operand.bits)));
    if (type == Type::f64)
      return std::bit_cast<std::uint64_t>(static_cast<double>(static_cast<std::int64_t>(operand.bits)));
    return operand.bits;
  }
  const bool single = operand.kind == OperandKind::real32;
  switch (type) {
    case Type::f32:
    case Type::b32:
    case Type::u32:
    case Type::s32:
      return single ? operand.bits
                    : std::bit_cast<std::uint32_t>(static_cast<float>(std::bit_cast<double>(operand.bits)));
    case Type::f64:
    case Type::b64:
    case Type::u64:
    case Type::s64:
      return single ? std::bit_cast<std::uint64_t>(
                          static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(operand.bits))))
                    : operand.bits;
    default:
      fail(std::string("a floating-point number cannot stand for an operand of type .") + type_name(type));
  }
}

std::uint32_t Lowering::register_of(const ast::Operand& operand, Type* type) {
  const ast::Register& reg = function_.registers[operand.index];
  if (type != nullptr) *type = reg.type;
  if (operand.component < 0) {
    if (reg.vector != 1)
      fail("the vector register '" + reg.name + "' is used whole; name a component, such as .x");
    return register_base_[operand.index];
  }
  if (static_cast<unsigned>(operand.component) >= reg.vector)
    fail("the register '" + reg.name + "' has no such component");
  return register_base_[operand.index] + static_cast<std::uint32_t>(operand.component);
}

std::uint32_t Lowering::predicate_source(const ast::Operand& operand) {
  if (operand.kind != ast::OperandKind::reg) fail("a predicate register was expected");
  Type type{};
  const std::uint32_t reg = register_of(operand, &type);
  if (type != Type::pred) fail(quoted(operand.name) + " is no predicate register");
  return reg;
}

std::uint32_t Lowering::resize(std::uint32_t from, Type from_type, Type to_type) {
  const std::uint32_t have = type_bytes(from_type);
  const std::uint32_t want = type_bytes(to_type);
  if (have == want) return from;
  Operation operation{};
  operation.op = have > want                                  ? Op::unpack
                 : is_signed(to_type) && is_signed(from_type) ? Op::sign_extend
                                                              : Op::zero_extend;
  operation.type = bits_type(have > want ? have : want);
  operation.source = bits_type(have > want ? want : have);
  const std::uint32_t result = temporary(want);
  Instr& instr = emit_handler(operation);
  instr.a = from;
  instr.dst = result;
  return result;
}

std::uint32_t Lowering::source(const ast::Operand& operand, Type type, bool relaxed) {
  using ast::OperandKind;
  const std::uint32_t bytes = type_bytes(type);
  switch (operand.kind) {
    case OperandKind::reg: {
      Type have{};
      const std::uint32_t reg = register_of(operand, &have);
      if ((have == Type::pred) != (type == Type::pred)) {
        fail(quoted(operand.name) + " has type ." + type_name(have) + " where the instruction needs ." +
             type_name(type));
      }
      if (operand.negated) {
        if (have != Type::pred) fail("'!' stands before '" + operand.name + "', which is no predicate");
        const std::uint32_t result = temporary(1);
        Operation negate{};
        negate.op = Op::not_;
        negate.type = Type::pred;
        Instr& instr = emit_handler(negate);
        instr.a = reg;
        instr.dst = result;
        return result;
      }
      if (type_bytes(have) == bytes) return reg;
      if (relaxed && type_bytes(have) > bytes)
        return resize(reg, bits_type(type_bytes(have)), bits_type(bytes));
      fail(quoted(operand.name) + " has " + std::to_string(type_bytes(have) * 8) +
           " bits where the instruction needs " + std::to_string(bytes * 8));
    }
    case OperandKind::special: {
      const std::uint32_t value = special_register(operand, type);
      return value;
    }
    case OperandKind::immediate:
    case OperandKind::real:
    case OperandKind::real32:
      return constant(immediate_bits(operand, type), bytes);
    case OperandKind::variable:
    case OperandKind::name:
      if (bytes < 4)
        fail("the address of '" + operand.name + "' does not fit " + std::to_string(bytes * 8) + " bits");
      return symbol_address(operand, bytes);
    case OperandKind::sink:
      fail("'_' cannot be read");
    default:
      fail("an operand of this kind is not allowed here");
  }
}

// The address of a variable or function, as mov gives it.
std::uint32_t Lowering::symbol_address(const ast::Operand& operand, std::uint32_t bytes) {
  const auto addend = static_cast<std::uint64_t>(operand.addend);
  if (operand.kind == ast::OperandKind::variable) {
    const ast::Variable& variable = function_.variables[operand.index];
    const std::uint64_t offset = layout_.offsets[operand.index] + addend;
    const bool kernel_parameter =
        function_.entry && std::any_of(function_.parameters.begin(), function_.parameters.end(),
                                       [&](const ast::Parameter& p) { return p.variable == operand.index; });
    if (variable.space == Space::shared || kernel_parameter) return constant(offset, bytes);
    return resize(local_address(offset), Type::b64, bits_type(bytes));
  }
  const auto symbol = symbols_.find(module_, operand.name);
  if (!symbol) fail(quoted(operand.name) + " is declared nowhere in this text");
  switch (symbol->kind) {
    case Symbol::Kind::variable: {
      const ProgramVariable& variable = symbols_.variables[symbol->index];
      if (variable.declaration->texture)
        fail("the texture or surface reference '" + operand.name +
             "' is not supported by the software GPU; use texture and surface objects");
      if (variable.declaration->space == Space::shared && !variable.dynamic_shared) {
        return constant(variable.shared_offset + addend, bytes);
      }
      if (bytes != 8 && !variable.dynamic_shared) fail("the address of '" + operand.name + "' needs 64 bits");
      return constant(addend, bytes, static_cast<std::int32_t>(symbol->index));
    }
    case Symbol::Kind::function:
      if (bytes != 8) fail("the address of '" + operand.name + "' needs 64 bits");
      return constant(kFunctionWindow + symbol->index * kFunctionStride, 8);
    case Symbol::Kind::builtin:
      break;
  }
  fail("the address of the built-in function '" + operand.name + "' cannot be taken");
}

std::uint32_t Lowering::local_address(std::uint64_t offset) {
  if (function_.entry) return constant(offset, 8);  // a kernel's frame is the first
  Instr instr;
  instr.run = &read_local_base;
  instr.imm = static_cast<std::int64_t>(offset);
  instr.dst = temporary(8);
  return emit(instr).dst;
}

std::uint32_t Lowering::destination(const ast::Operand& operand, Type type, bool relaxed) {
  const std::uint32_t bytes = type_bytes(type);
  if (operand.kind == ast::OperandKind::sink) return temporary(bytes);
  if (operand.kind != ast::OperandKind::reg) fail("the result must go to a register");
  Type have{};
  const std::uint32_t reg = register_of(operand, &have);
  if ((have == Type::pred) != (type == Type::pred)) {
    fail(quoted(operand.name) + " has type ." + type_name(have) + " and cannot hold a result of type ." +
         type_name(type));
  }
  if (type_bytes(have) == bytes) return reg;
  if (relaxed && type_bytes(have) > bytes) {
    const std::uint32_t narrow = temporary(bytes);
    const std::uint32_t width = type_bytes(have);
    const Type wide = is_signed(type) ? (width == 2   ? Type::s16
                                         : width == 4 ? Type::s32
                                                      : Type::s64)
                                      : bits_type(width);
    pending_.push_back({reg, narrow, wide, type});
    return narrow;
  }
  fail(quoted(operand.name) + " has " + std::to_string(type_bytes(have) * 8) + " bits and the result has " +
       std::to_string(bytes * 8));
}

void Lowering::finish_destinations() {
  for (const PendingExtension& extension : pending_) {
    Operation operation{};
    operation.op = is_signed(extension.from_type) ? Op::sign_extend : Op::zero_extend;
    operation.type = bits_type(type_bytes(extension.to_type));
    operation.source = bits_type(type_bytes(extension.from_type));
    Instr& instr = emit_handler(operation);
    instr.a = extension.from;
    instr.dst = extension.to;
  }
  pending_.clear();
}

// --- emission

Instr& Lowering::emit(Instr instr) {
  instr.line = static_cast<std::uint32_t>(line_);
  instr.guard = guard_;
  instr.guard_negated = guard_ != kNoRow && guard_negated_;
  code_.code.push_back(instr);
  return code_.code.back();
}

Instr& Lowering::emit_handler(const Operation& operation) {
  Instr instr;
  instr.run = find_handler(operation);
  if (instr.run == nullptr)
    fail("this combination of types and modifiers is not supported by the software GPU");
  return emit(instr);
}

void Lowering::copy(std::uint32_t to, std::uint32_t from, std::uint32_t bytes) {
  Operation operation{};
  operation.op = Op::copy;
  operation.type = bits_type(bytes);
  Instr& instr = emit_handler(operation);
  instr.a = from;
  instr.dst = to;
}

Modifiers Lowering::modifiers(const ast::Instruction& in, std::size_t first) const {
  Modifiers m;
  for (std::size_t i = first; i < in.modifiers.size(); ++i) {
    const std::string& word = in.modifiers[i];
    if (const Type type = parse_type(word); type != Type::none)
      m.types.push_back(type);
    else if (word == "rn")
      m.rounding = Rounding::rn;
    else if (word == "rz")
      m.rounding = Rounding::rz;
    else if (word == "rm")
      m.rounding = Rounding::rm;
    else if (word == "rp")
      m.rounding = Rounding::rp;
    else if (word == "rni")
      m.rounding = Rounding::rni;
    else if (word == "rzi")
      m.rounding = Rounding::rzi;
    else if (word == "rmi")
      m.rounding = Rounding::rmi;
    else if (word == "rpi")
      m.rounding = Rounding::rpi;
    else if (word == "rna")
      m.rounding = Rounding::rna;
    else if (word == "ftz")
      m.flush = true;
    else if (word == "sat")
      m.saturate = true;
    else if (word == "approx")
      m.approx = true;
    else if (word == "full")
      m.full = true;
    else if (word == "cc")
      m.carry = true;
    else if (word == "lo")
      m.lo = true;
    else if (word == "hi")
      m.hi = true;
    else if (word == "wide")
      m.wide = true;
    else if (word == "NaN")
      m.nan = true;
    else if (word == "xorsign")
      m.xor_sign = true;
    else if (word == "abs")
      m.absolute = true;
    else if (word == "relu")
      m.relu = true;
    else if (word == "wrap")
      m.wrap = true;
    else if (word == "clamp")
      m.clamp = true;
    else if (word == "l")
      m.left = true;
    else if (word == "r")
      m.right = true;
    else if (word == "shiftamt")
      m.shift_amount = true;
    else if (word == "uni")
      m.uniform = true;
    else
      unsupported(in, "the modifier '." + word + "' is not known here");
  }
  return m;
}

}  // namespace tfusion::software::ptx
