// What the parser makes of one PTX text: variables, functions, statements, with names resolved within
// functions.
//
// The linker joins the modules of several texts; the lowering turns functions into executor code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "types.hpp"

namespace tfusion::software::ptx::ast {

// Part of an initialiser: bytes at an offset that hold a symbol's address, or some of its bytes.
struct Relocation {
  std::size_t offset;  // in the variable
  std::size_t bytes;   // how many of the address's bytes are kept
  std::uint64_t mask;  // 0xFF00(symbol): which bits, shifted down to bit 0
  std::string symbol;
  std::int64_t addend;
  std::size_t line;
};

enum class Linkage : std::uint8_t { internal, visible, weak, common, external };

struct Variable {
  std::string name;
  Space space = Space::global;
  Linkage linkage = Linkage::internal;
  Type type = Type::none;  // of an element
  std::size_t alignment = 1;
  std::size_t bytes = 0;         // 0 for an array of unknown size
  bool unsized = false;          // extern .shared x[]
  bool texture = false;          // .texref, .samplerref, .surfref: may be declared, may not be used
  std::vector<std::byte> image;  // empty or `bytes` long
  std::vector<Relocation> relocations;
  std::size_t line = 0;
};

enum class OperandKind : std::uint8_t {
  none,
  reg,        // `index`: into Function::registers
  special,    // a special register, `name`, without %
  immediate,  // integer in `bits`
  real,       // bits of a double
  real32,     // bits of a float
  variable,   // `index` into Function::variables, plus `addend`
  name,       // a module-level symbol, plus `addend`; or a function
  label,      // `index`: a label of the function
  memory,     // [parts[0] + addend]
  list,       // {parts...} or (parts...)
  pair,       // parts[0]|parts[1]
  sink,       // _
};

struct Operand {
  OperandKind kind = OperandKind::none;
  bool negated = false;  // !%p
  int component = -1;    // of a vector register: 0 .. 3
  std::uint32_t index = 0;
  std::uint64_t bits = 0;
  std::int64_t addend = 0;
  std::string name;
  std::vector<Operand> parts;
};

struct Instruction {
  std::string opcode;
  std::vector<std::string> modifiers;  // without dots
  std::optional<Operand> guard;        // @%p, @!%p
  std::vector<Operand> operands;
  std::size_t line = 0;
};

struct Register {
  std::string name;
  Type type;
  unsigned vector;  // 1, 2 or 4
};

struct Parameter {
  std::uint32_t variable;            // index into Function::variables; its Variable says size and alignment
  std::optional<std::uint32_t> reg;  // a .reg parameter is a register that starts with (or gives) the value
};

// Either an instruction or the place of a label.
struct Statement {
  static constexpr std::uint32_t kNoLabel = ~std::uint32_t{0};
  std::uint32_t label = kNoLabel;
  Instruction instruction;
};

struct Prototype {
  std::vector<std::size_t> parameter_bytes;
  std::vector<std::size_t> return_bytes;
};

struct Function {
  std::string name;
  bool entry = false;
  bool defined = false;
  bool noreturn = false;
  Linkage linkage = Linkage::internal;
  std::vector<Parameter> parameters;
  std::vector<Parameter> returns;
  std::vector<Register> registers;
  std::vector<Variable> variables;  // parameters, .param, .local, .shared of the function
  std::vector<Statement> statements;
  std::vector<std::string> labels;
  std::vector<std::vector<std::uint32_t>> branch_targets;  // by label index of the table; empty if it is none
  std::vector<Prototype> prototypes;
  unsigned max_threads = 0;  // .maxntid's product, 0 if not given
  unsigned required_threads[3] = {0, 0, 0};
  std::size_t line = 0;
};

struct Module {
  std::vector<Variable> variables;
  std::vector<std::unique_ptr<Function>> functions;
};

}  // namespace tfusion::software::ptx::ast
