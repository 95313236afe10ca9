// Branches, calls, returns, barriers, and the exchanges within a warp.

#include <algorithm>
#include <array>

#include "handlers.hpp"
#include "lanes.hpp"
#include "lowering.hpp"
#include "message.hpp"

namespace tfusion::software::ptx {

namespace {

using ast::Operand;
using ast::OperandKind;

}  // namespace

// --- calls

std::vector<CallArgument> Lowering::call_list(const Operand* list, bool writes,
                                              std::span<const std::size_t> sizes) {
  std::vector<CallArgument> result;
  if (list == nullptr) return result;
  for (std::size_t i = 0; i < list->parts.size(); ++i) {
    const Operand& part = list->parts[i];
    if (part.kind == OperandKind::variable && function_.variables[part.index].space == Space::param) {
      const ast::Variable& variable = function_.variables[part.index];
      const bool kernel_parameter =
          function_.entry && std::any_of(function_.parameters.begin(), function_.parameters.end(),
                                         [&](const ast::Parameter& p) { return p.variable == part.index; });
      if (kernel_parameter)
        fail("the kernel's parameter '" + part.name + "' cannot be passed on; load it first");
      result.push_back({static_cast<std::uint32_t>(layout_.offsets[part.index]),
                        static_cast<std::uint32_t>(variable.bytes)});
      continue;
    }
    // Registers and numbers pass through memory of their own in this frame.
    Type type = Type::none;
    if (part.kind == OperandKind::reg) {
      register_of(part, &type);
    } else if (i < sizes.size() && (sizes[i] == 1 || sizes[i] == 2 || sizes[i] == 4 || sizes[i] == 8)) {
      type = bits_type(static_cast<std::uint32_t>(sizes[i]));
    } else {
      fail("this operand cannot be passed to a function");
    }
    if (type == Type::pred) fail("a predicate cannot be passed to a function");
    frame_bytes_ = (frame_bytes_ + 15) & ~std::uint64_t{15};
    const std::uint64_t offset = frame_bytes_;
    frame_bytes_ += 16;
    result.push_back({static_cast<std::uint32_t>(offset), type_bytes(type)});
    if (!writes) emit_store(part, {local_address(offset), 0, Space::local}, type, 1);
  }
  return result;
}

void Lowering::call_builtin(const ast::Instruction& in, Builtin builtin, const Operand* returns,
                            const Operand* arguments) {
  struct Shape {
    Handler run = nullptr;
    std::vector<Type> arguments;
    Type result = Type::none;
  };
  Shape shape;
  switch (builtin) {
    case Builtin::vprintf:
      shape = {&device_printf, {Type::b64, Type::b64}, Type::b32};
      break;
    case Builtin::assertfail:
      shape = {&device_assert, {Type::b64, Type::b64, Type::b32, Type::b64}, Type::none};
      break;
    case Builtin::malloc:
      shape = {&device_malloc, {Type::b64}, Type::b64};
      break;
    case Builtin::free:
      shape = {&device_free, {Type::b64}, Type::none};
      break;
  }
  std::vector<std::size_t> sizes;
  for (const Type type : shape.arguments) sizes.push_back(type_bytes(type));
  const std::vector<CallArgument> given = call_list(arguments, false, sizes);
  if (given.size() < shape.arguments.size())
    fail(full_name(in) + " passes too few arguments to a built-in function");
  Instr instr;
  instr.run = shape.run;
  std::uint32_t* const places[] = {&instr.a, &instr.b, &instr.c, &instr.d};
  for (std::size_t i = 0; i < shape.arguments.size(); ++i) {
    if (given[i].bytes != type_bytes(shape.arguments[i])) fail("an argument of this call has the wrong size");
    const std::uint32_t value = temporary(given[i].bytes);
    Operation o{};
    o.op = Op::load;
    o.type = shape.arguments[i];
    o.space = Space::local;
    const std::uint32_t base = local_address(given[i].offset);
    Instr& load = emit_handler(o);
    load.a = base;
    load.dst = value;
    *places[i] = value;
  }
  if (shape.result != Type::none) instr.dst = temporary(type_bytes(shape.result));
  const std::uint32_t result = instr.dst;
  emit(instr);
  if (shape.result == Type::none || returns == nullptr) return;
  const std::vector<CallArgument> wanted = call_list(returns, true, {});
  if (wanted.size() != 1 || wanted[0].bytes != type_bytes(shape.result))
    fail("the result of this call has the wrong size");
  Operation o{};
  o.op = Op::store;
  o.type = shape.result;
  o.space = Space::local;
  const std::uint32_t base = local_address(wanted[0].offset);
  Instr& store = emit_handler(o);
  store.a = base;
  store.b = result;
  if (returns->parts[0].kind == OperandKind::reg)
    copy(destination(returns->parts[0], shape.result), result, wanted[0].bytes);
}

// call[.uni] [(returns),] function[, (arguments)][, prototype or targets]
void Lowering::call(const ast::Instruction& in) {
  std::size_t i = 0;
  const Operand* returns = nullptr;
  const Operand* arguments = nullptr;
  if (i < in.operands.size() && in.operands[i].kind == OperandKind::list) returns = &in.operands[i++];
  if (i >= in.operands.size()) fail("'call' names no function");
  const Operand& target = in.operands[i++];
  if (i < in.operands.size() && in.operands[i].kind == OperandKind::list) arguments = &in.operands[i++];

  CallSite site;
  Instr instr;
  std::vector<std::size_t> parameter_sizes;
  std::vector<std::size_t> return_sizes;
  if (target.kind == OperandKind::name) {
    const auto symbol = symbols_.find(module_, target.name);
    if (!symbol || symbol->kind == Symbol::Kind::variable) {
      fail("the function '" + target.name + "' is called, and no text that is linked defines it");
    }
    if (symbol->kind == Symbol::Kind::builtin) {
      call_builtin(in, static_cast<Builtin>(symbol->index), returns, arguments);
      return;
    }
    const ast::Function& callee = *symbols_.functions[symbol->index].declaration;
    if (callee.entry) fail(quoted(target.name) + " is a kernel and cannot be called");
    for (const ast::Parameter& p : callee.parameters)
      parameter_sizes.push_back(callee.variables[p.variable].bytes);
    for (const ast::Parameter& p : callee.returns) return_sizes.push_back(callee.variables[p.variable].bytes);
    instr.kind = Kind::call;
    site.function = symbol->index;
    callees_.push_back(symbol->index);
  } else {
    instr.kind = Kind::call_indirect;
    instr.a = source(target, Type::b64);
    calls_unknown_ = true;
    if (i >= in.operands.size() || in.operands[i].kind != OperandKind::label) {
      fail("a call through a pointer needs a .callprototype");
    }
    const ast::Prototype& prototype = function_.prototypes[in.operands[i].index];
    parameter_sizes = prototype.parameter_bytes;
    return_sizes = prototype.return_bytes;
  }
  site.parameters = call_list(arguments, false, parameter_sizes);
  site.returns = call_list(returns, true, return_sizes);
  const auto check = [&](const std::vector<CallArgument>& given, const std::vector<std::size_t>& wanted,
                         const char* what) {
    bool same = given.size() == wanted.size();
    for (std::size_t k = 0; same && k < given.size(); ++k) same = given[k].bytes == wanted[k];
    if (!same)
      fail(std::string("the ") + what +
           " of this call do not have the number and sizes that the function declares");
  };
  check(site.parameters, parameter_sizes, "arguments");
  check(site.returns, return_sizes, "results");
  instr.extra = static_cast<std::uint32_t>(out_.calls.size());
  const std::vector<CallArgument> results = site.returns;
  out_.calls.push_back(std::move(site));
  emit(instr);
  // Results that go to registers come through memory.
  for (std::size_t k = 0; returns != nullptr && k < returns->parts.size(); ++k) {
    if (returns->parts[k].kind != OperandKind::reg) continue;
    Type type{};
    register_of(returns->parts[k], &type);
    emit_load(returns->parts[k], {local_address(results[k].offset), 0, Space::local}, type, 1, false);
  }
}

// --- branches, barriers

bool Lowering::lower_control(const ast::Instruction& in) {
  const std::string& name = in.opcode;
  Instr instr;
  // Waiting and calling instructions cannot be guarded in the executor: a branch leads around them.
  const bool around = name == "call" || name == "bar" || name == "barrier" || name == "vote" ||
                      name == "shfl" || name == "match" || name == "redux" || name == "elect";
  if (around && guard_ != kNoRow) {
    const auto label = static_cast<std::uint32_t>(code_.label_places.size());
    code_.label_places.push_back(~std::uint32_t{0});
    instr.kind = Kind::branch;
    instr.target = label;
    guard_negated_ = !guard_negated_;
    emit(instr);
    guard_ = kNoRow;
    if (!lower_control(in) && !lower_warp(in)) unsupported(in);
    finish_destinations();
    code_.label_places[label] = static_cast<std::uint32_t>(code_.code.size());
    return true;
  }
  if (name == "bra") {
    expect_operands(in, 1, 1);
    const Operand& target = in.operands[0];
    if (target.kind != OperandKind::label)
      fail("the label '" + target.name + "' is not placed in this function");
    instr.kind = Kind::branch;
    instr.target = target.index;
    emit(instr);
  } else if (name == "brx") {
    expect_operands(in, 2, 2);
    if (in.modifiers.empty() || in.modifiers[0] != "idx") unsupported(in);
    if (in.operands[1].kind != OperandKind::label || function_.branch_targets[in.operands[1].index].empty()) {
      fail("'brx.idx' needs the name of a .branchtargets list");
    }
    instr.kind = Kind::branch_index;
    instr.a = source(in.operands[0], Type::u32);
    instr.extra = static_cast<std::uint32_t>(out_.tables.size());
    out_.tables.push_back(function_.branch_targets[in.operands[1].index]);
    emit(instr);
  } else if (name == "call") {
    call(in);
  } else if (name == "ret" || name == "exit") {
    instr.kind = name == "exit" || function_.entry ? Kind::exit : Kind::ret;
    emit(instr);
  } else if (name == "trap" || name == "brkpt") {
    instr.kind = Kind::trap;
    emit(instr);
  } else if (name == "bar" || name == "barrier") {
    std::vector<std::string> words;
    for (const std::string& word : in.modifiers) {
      if (word != "cta" && word != "aligned" && word != "pred") words.push_back(word);
    }
    if (words.empty()) unsupported(in);
    if (words[0] == "warp") {  // bar.warp.sync mask
      expect_operands(in, 1, 1);
      instr.kind = Kind::exchange;
      instr.run = &do_nothing;
      instr.collect = &collect_nothing;
      instr.d = source(in.operands[0], Type::b32);
      emit(instr);
      return true;
    }
    Barrier barrier;
    std::size_t next = 0;
    Operand id;
    id.kind = OperandKind::immediate;
    const bool reduces = words[0] == "red";
    if (reduces) {
      if (words.size() < 2) unsupported(in);
      barrier.reduction = words[1] == "popc"  ? Barrier::Reduction::popc
                          : words[1] == "and" ? Barrier::Reduction::all
                          : words[1] == "or"  ? Barrier::Reduction::any
                                              : Barrier::Reduction::none;
      if (barrier.reduction == Barrier::Reduction::none) unsupported(in);
      expect_operands(in, 3, 4);
      next = 1;
    } else if (words[0] == "arrive") {
      barrier.arrive = true;
      expect_operands(in, 2, 2);
    } else if (words[0] == "sync") {
      expect_operands(in, 1, 2);
    } else {
      unsupported(in);
    }
    instr.kind = Kind::barrier;
    instr.a = source(in.operands[next++], Type::u32);
    const std::size_t left = in.operands.size() - next;
    if (left == (reduces ? 2u : 1u)) instr.b = source(in.operands[next++], Type::u32);
    if (reduces) {
      instr.c = source(in.operands[next], Type::pred);
      instr.dst =
          destination(in.operands[0], barrier.reduction == Barrier::Reduction::popc ? Type::u32 : Type::pred);
    }
    instr.extra = static_cast<std::uint32_t>(out_.barriers.size());
    out_.barriers.push_back(barrier);
    emit(instr);
  } else {
    return false;
  }
  return true;
}

// --- warps, fences and the rest

bool Lowering::lower_warp(const ast::Instruction& in) {
  const std::string& name = in.opcode;
  const std::vector<std::string>& words = in.modifiers;
  Instr instr;
  const auto word = [&](std::size_t i) {
    return i < words.size() ? std::string_view(words[i]) : std::string_view();
  };
  if (name == "membar" || name == "fence") {
    if (word(0) == "proxy" || word(0) == "mbarrier_init") unsupported(in);
    instr.run = &full_fence;
    instr.waits = true;
    emit(instr);
    return true;
  }
  if (name == "nanosleep") {
    expect_operands(in, 1, 1);
    instr.run = &do_nothing;
    instr.waits = true;
    emit(instr);
    return true;
  }
  if (name == "griddepcontrol" || name == "pmevent" || name == "setmaxnreg") return true;
  if (name == "activemask") {
    expect_operands(in, 1, 1);
    instr.run = &read_active_mask;
    instr.dst = destination(in.operands[0], Type::b32);
    emit(instr);
    return true;
  }
  instr.kind = Kind::exchange;
  if (name == "shfl") {
    if (word(0) != "sync" || word(2) != "b32" || words.size() != 3) unsupported(in, "use the .sync form");
    static constexpr std::array<std::string_view, 4> kModes{"up", "down", "bfly", "idx"};
    std::size_t mode = 0;
    while (mode < kModes.size() && kModes[mode] != word(1)) ++mode;
    if (mode == kModes.size()) unsupported(in);
    expect_operands(in, 5, 5);
    instr.collect = &collect_words;
    instr.run = find_shuffle(static_cast<Shuffle>(mode));
    instr.a = source(in.operands[1], Type::b32);
    instr.b = source(in.operands[2], Type::b32);
    instr.c = source(in.operands[3], Type::b32);
    instr.d = source(in.operands[4], Type::b32);
    const Operand& target = in.operands[0];
    const bool two = target.kind == OperandKind::pair;
    instr.dst = destination(two ? target.parts[0] : target, Type::b32);
    if (two) instr.dst2 = destination(target.parts[1], Type::pred);
  } else if (name == "vote") {
    if (word(0) != "sync" || words.size() != 3) unsupported(in, "use the .sync form");
    const Vote mode = word(1) == "all"   ? Vote::all
                      : word(1) == "any" ? Vote::any
                      : word(1) == "uni" ? Vote::uniform
                                         : Vote::ballot;
    if (mode == Vote::ballot && word(1) != "ballot") unsupported(in);
    expect_operands(in, 3, 3);
    instr.collect = &collect_predicates;
    instr.run = find_vote(mode);
    instr.a = source(in.operands[1], Type::pred);
    instr.d = source(in.operands[2], Type::b32);
    instr.dst = destination(in.operands[0], mode == Vote::ballot ? Type::b32 : Type::pred);
  } else if (name == "match") {
    if ((word(0) != "any" && word(0) != "all") || word(1) != "sync" || words.size() != 3) unsupported(in);
    const Type type = parse_type(word(2));
    if (type != Type::b32 && type != Type::b64) unsupported(in);
    expect_operands(in, 3, 3);
    const bool all = word(0) == "all";
    instr.collect = type == Type::b64 ? &collect_long_words : &collect_words;
    instr.run = find_match(all, type_bytes(type));
    instr.a = source(in.operands[1], type);
    instr.d = source(in.operands[2], Type::b32);
    const Operand& target = in.operands[0];
    const bool two = target.kind == OperandKind::pair;
    instr.dst = destination(two ? target.parts[0] : target, Type::b32);
    if (two) instr.dst2 = destination(target.parts[1], Type::pred);
  } else if (name == "redux") {
    if (word(0) != "sync" || words.size() != 3) unsupported(in);
    static constexpr std::array<std::string_view, 6> kModes{"add", "min", "max", "and", "or", "xor"};
    std::size_t mode = 0;
    while (mode < kModes.size() && kModes[mode] != word(1)) ++mode;
    const Type type = parse_type(word(2));
    if (mode == kModes.size() || type_bytes(type) != 4 || is_float(type)) unsupported(in);
    expect_operands(in, 3, 3);
    instr.collect = &collect_words;
    instr.run = find_reduce(static_cast<Reduce>(mode), is_signed(type));
    instr.a = source(in.operands[1], type);
    instr.d = source(in.operands[2], Type::b32);
    instr.dst = destination(in.operands[0], type);
  } else if (name == "elect") {
    if (word(0) != "sync") unsupported(in);
    expect_operands(in, 2, 2);
    const Operand& target = in.operands[0];
    if (target.kind != OperandKind::pair) fail("'elect' needs a result d|p");
    instr.collect = &collect_nothing;
    instr.run = &elect;
    instr.d = source(in.operands[1], Type::b32);
    instr.dst = destination(target.parts[0], Type::b32);
    instr.dst2 = destination(target.parts[1], Type::pred);
  } else {
    return false;
  }
  emit(instr);
  return true;
}

}  // namespace tfusion::software::ptx
