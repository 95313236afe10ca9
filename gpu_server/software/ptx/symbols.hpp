// The linked names of a program: variables and functions of all its texts. Made by link(), used by the
// lowering.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ast.hpp"

namespace tfusion::software::ptx {

struct ProgramVariable {
  const ast::Variable* declaration;
  std::uint64_t shared_offset = 0;  // .shared variables
  bool dynamic_shared = false;      // extern .shared x[]: begins behind the static ones
};

// Functions that the software GPU itself provides to kernels.
enum class Builtin : std::uint8_t { vprintf, assertfail, malloc, free };

struct Symbol {
  enum class Kind : std::uint8_t { variable, function, builtin } kind;
  std::uint32_t index;  // into Symbols::variables or functions, or a Builtin
};

struct ProgramFunction {
  const ast::Function* declaration;
  std::uint32_t module;
};

struct Symbols {
  std::vector<ProgramVariable> variables;
  std::vector<ProgramFunction> functions;  // the defined ones
  std::vector<std::unordered_map<std::string, Symbol>> by_module;
  std::uint64_t shared_bytes = 0;  // of module-level static .shared variables
  bool uses_heap = false;

  std::optional<Symbol> find(std::uint32_t module, const std::string& name) const {
    const auto found = by_module[module].find(name);
    if (found == by_module[module].end()) return std::nullopt;
    return found->second;
  }
};

// Throws CompileError for names that are missing or defined twice. The modules must outlive the result.
Symbols link(const std::vector<ast::Module>& modules);

}  // namespace tfusion::software::ptx
