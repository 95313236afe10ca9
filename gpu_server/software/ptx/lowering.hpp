// Turns one function's syntax tree into executor code. Called by compile(), once for each defined function.
//
// The work is shared by lower_*.cpp (one instruction family each) and flow.cpp (blocks, liveness, rows).
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "ast.hpp"
#include "instruction.hpp"
#include "operation.hpp"
#include "program.hpp"
#include "symbols.hpp"

namespace tfusion::software::ptx {

// Virtual registers of the code under work. `temporary` ones are written once, by the statement that made
// them.
struct VirtualRegister {
  std::uint32_t bytes;
  bool constant = false;
  bool temporary = false;
};

// Code whose operands are virtual registers and whose branch targets are labels.
struct VirtualCode {
  std::vector<Instr> code;
  std::vector<std::uint32_t> rows;
  std::vector<VirtualRegister> registers;
  std::vector<std::uint32_t> label_places;  // instruction that a label stands before
};

// Orders the blocks, gives registers their rows, and fills `out` with the final code.
void finish(VirtualCode&& code, FunctionCode& out);

// What an instruction's modifiers say, for the families that share them.
struct Modifiers {
  std::vector<Type> types;
  Rounding rounding = Rounding::none;
  bool flush = false, saturate = false, approx = false, full = false, carry = false;
  bool lo = false, hi = false, wide = false, nan = false, xor_sign = false, absolute = false, relu = false;
  bool wrap = false, clamp = false, left = false, right = false, shift_amount = false, uniform = false;
};

// Where a kernel's or function's parameters and variables lie.
struct FunctionLayout {
  std::vector<std::uint64_t> offsets;  // by ast variable: in the frame, the parameter block or shared memory
  std::uint64_t param_bytes = 0;       // of a kernel
  std::uint64_t local_bytes = 0;
  std::uint64_t shared_bytes = 0;         // end of the static shared memory, the module's included
  std::vector<ParameterInfo> parameters;  // of a kernel
};
FunctionLayout lay_out(const ast::Function& function, std::uint64_t shared_start);

class Lowering {
 public:
  Lowering(const ast::Function& function, std::uint32_t module, const Symbols& symbols,
           const FunctionLayout& layout);

  FunctionCode run();
  const std::vector<std::uint32_t>& callees() const { return callees_; }
  bool calls_unknown() const { return calls_unknown_; }

 private:
  // --- families: true if the opcode is theirs
  bool lower_arithmetic(const ast::Instruction& in);
  bool lower_logic(const ast::Instruction& in);
  bool lower_move(const ast::Instruction& in);
  bool lower_convert(const ast::Instruction& in);
  bool lower_compare(const ast::Instruction& in);
  bool lower_memory(const ast::Instruction& in);
  bool lower_atomic(const ast::Instruction& in);
  bool lower_warp(const ast::Instruction& in);
  bool lower_texture(const ast::Instruction& in);
  bool lower_control(const ast::Instruction& in);

  void statement(const ast::Instruction& in);

  // arithmetic
  void carry_chain(const ast::Instruction& in, const Modifiers& m, Operation o, bool multiply);
  void emit_operation(const ast::Instruction& in, const Operation& operation, std::span<const Type> sources,
                      std::int64_t imm = 0);
  // compare
  std::uint32_t compare(const ast::Instruction& in, Type type, bool flush, std::string_view name,
                        const ast::Operand& a, const ast::Operand& b);
  // moves
  void move_vector(const ast::Instruction& in, Type type);
  std::uint32_t special_register(const ast::Operand& operand, Type type);
  // memory
  struct Address {
    std::uint32_t base;  // virtual register of 8 bytes
    std::int64_t offset;
    Space space;
    bool kernel_param = false;  // a kernel's parameter at a fixed place
  };
  Address address(const ast::Instruction& in, const ast::Operand& operand, Space space, std::uint32_t bytes);
  void emit_load(const ast::Operand& dst, const Address& from, Type type, std::uint8_t count, bool waits);
  void emit_store(const ast::Operand& src, const Address& to, Type type, std::uint8_t count);
  // textures and surfaces
  void lower_fetch(const ast::Instruction& in);
  void lower_surface(const ast::Instruction& in);
  void lower_query(const ast::Instruction& in);
  std::uint32_t object_operand(const ast::Instruction& in, const ast::Operand& memory, std::size_t parts);
  std::vector<std::uint32_t> coordinates(const ast::Instruction& in, const ast::Operand& given,
                                         std::size_t count);
  // control
  void call(const ast::Instruction& in);
  void call_builtin(const ast::Instruction& in, Builtin builtin, const ast::Operand* returns,
                    const ast::Operand* arguments);
  std::vector<CallArgument> call_list(const ast::Operand* list, bool writes,
                                      std::span<const std::size_t> sizes);
  std::uint32_t local_address(std::uint64_t offset);

  // --- operands
  // Virtual register that holds the operand as `type`. `relaxed`: a wider register may be given, its low part
  // counts.
  std::uint32_t source(const ast::Operand& operand, Type type, bool relaxed = false);
  // Virtual register to write a result of `type` to. `relaxed`: a wider register may be given, it is extended
  // after.
  std::uint32_t destination(const ast::Operand& operand, Type type, bool relaxed = false);
  std::uint32_t predicate_source(const ast::Operand& operand);
  std::uint32_t register_of(const ast::Operand& operand, Type* type = nullptr);
  std::uint32_t temporary(std::uint32_t bytes);
  std::uint32_t constant(std::uint64_t value, std::uint32_t bytes, std::int32_t symbol = -1);
  std::uint64_t immediate_bits(const ast::Operand& operand, Type type) const;
  std::uint32_t symbol_address(const ast::Operand& operand, std::uint32_t bytes);

  // --- emission
  Instr& emit(Instr instr);  // with the statement's line and guard
  Instr& emit_handler(const Operation& operation);
  void copy(std::uint32_t to, std::uint32_t from, std::uint32_t bytes);
  std::uint32_t resize(std::uint32_t from, Type from_type, Type to_type);
  void finish_destinations();

  Modifiers modifiers(const ast::Instruction& in, std::size_t first = 0) const;
  [[noreturn]] void unsupported(const ast::Instruction& in, const std::string& why = {}) const;
  [[noreturn]] void fail(const std::string& sentence) const { throw CompileError(line_, sentence); }
  void expect_operands(const ast::Instruction& in, std::size_t least, std::size_t most) const;

  const ast::Function& function_;
  std::uint32_t module_;
  const Symbols& symbols_;
  const FunctionLayout& layout_;
  FunctionCode out_;
  VirtualCode code_;
  std::vector<std::uint32_t> register_base_;
  std::map<std::tuple<std::uint64_t, std::uint32_t, std::int32_t>, std::uint32_t> constants_;
  struct PendingExtension {
    std::uint32_t to, from;
    Type to_type, from_type;
  };
  std::vector<PendingExtension> pending_;
  std::vector<std::uint32_t> callees_;
  bool calls_unknown_ = false;
  std::uint64_t frame_bytes_ = 0;
  std::uint32_t carry_ = kNoRow;  // the condition code register
  std::size_t line_ = 0;
  std::uint32_t guard_ = kNoRow;
  bool guard_negated_ = false;
};

std::string full_name(const ast::Instruction& in);

}  // namespace tfusion::software::ptx
