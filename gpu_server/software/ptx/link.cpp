// Joins the names of several PTX texts.

#include <array>

#include "message.hpp"
#include "program.hpp"
#include "symbols.hpp"

namespace tfusion::software::ptx {

namespace {

using ast::Linkage;

constexpr std::array<std::pair<const char*, Builtin>, 4> kBuiltins{{{"vprintf", Builtin::vprintf},
                                                                    {"__assertfail", Builtin::assertfail},
                                                                    {"malloc", Builtin::malloc},
                                                                    {"free", Builtin::free}}};

class Linker {
 public:
  explicit Linker(const std::vector<ast::Module>& modules) : modules_(modules) {}

  Symbols run() {
    symbols_.by_module.resize(modules_.size());
    for (std::uint32_t m = 0; m < modules_.size(); ++m) define(m);
    for (std::uint32_t m = 0; m < modules_.size(); ++m) import(m);
    return std::move(symbols_);
  }

 private:
  static bool shared_name(Linkage linkage) {
    return linkage != Linkage::internal && linkage != Linkage::external;
  }

  void add(std::uint32_t module, const std::string& name, Symbol symbol, Linkage linkage, std::size_t line) {
    auto& names = symbols_.by_module[module];
    const auto [place, fresh] = names.emplace(name, symbol);
    if (!fresh) throw CompileError(line, quoted(name) + " is defined twice");
    if (!shared_name(linkage)) return;
    const auto [other, first] = visible_.emplace(name, Entry{symbol, linkage});
    if (first) return;
    const bool replaceable =
        other->second.linkage == Linkage::weak || other->second.linkage == Linkage::common;
    if (linkage == Linkage::weak || linkage == Linkage::common) {
      place->second = other->second.symbol;
    } else if (replaceable) {
      other->second = {symbol, linkage};
    } else {
      throw CompileError(line, quoted(name) + " is defined in two of the texts that are linked");
    }
  }

  void define(std::uint32_t m) {
    for (const ast::Variable& variable : modules_[m].variables) {
      if (variable.linkage == Linkage::external && !(variable.space == Space::shared && variable.unsized))
        continue;
      ProgramVariable entry{&variable, 0, false};
      if (variable.space == Space::shared) {
        entry.dynamic_shared = variable.unsized;
        if (!variable.unsized) {
          const std::uint64_t alignment = variable.alignment;
          entry.shared_offset = (symbols_.shared_bytes + alignment - 1) & ~(alignment - 1);
          symbols_.shared_bytes = entry.shared_offset + variable.bytes;
        }
      }
      symbols_.variables.push_back(entry);
      const Symbol symbol{Symbol::Kind::variable, static_cast<std::uint32_t>(symbols_.variables.size() - 1)};
      const Linkage linkage = entry.dynamic_shared ? Linkage::internal : variable.linkage;
      if (entry.dynamic_shared && symbols_.by_module[m].contains(variable.name)) continue;
      add(m, variable.name, symbol, linkage, variable.line);
    }
    for (const auto& function : modules_[m].functions) {
      if (!function->defined) continue;
      symbols_.functions.push_back({function.get(), m});
      add(m, function->name,
          {Symbol::Kind::function, static_cast<std::uint32_t>(symbols_.functions.size() - 1)},
          function->linkage, function->line);
    }
  }

  void import(std::uint32_t m) {
    auto& names = symbols_.by_module[m];
    for (auto& [name, symbol] : names) {  // a weak one may have been replaced by a later text's
      const auto found = visible_.find(name);
      if (found == visible_.end()) continue;
      const bool weak_function = symbol.kind == Symbol::Kind::function &&
                                 shared_name(symbols_.functions[symbol.index].declaration->linkage);
      const bool weak_variable = symbol.kind == Symbol::Kind::variable &&
                                 shared_name(symbols_.variables[symbol.index].declaration->linkage);
      if (weak_function || weak_variable) symbol = found->second.symbol;
    }
    for (const ast::Variable& variable : modules_[m].variables) {
      if (variable.linkage != Linkage::external || names.contains(variable.name)) continue;
      if (variable.texture) continue;
      const auto found = visible_.find(variable.name);
      if (found == visible_.end() || found->second.symbol.kind != Symbol::Kind::variable) {
        throw CompileError(variable.line,
                           "the variable '" + variable.name + "' is .extern, and no text defines it");
      }
      names.emplace(variable.name, found->second.symbol);
    }
    for (const auto& function : modules_[m].functions) {
      if (function->defined || names.contains(function->name)) continue;
      const auto found = visible_.find(function->name);
      if (found != visible_.end() && found->second.symbol.kind == Symbol::Kind::function) {
        names.emplace(function->name, found->second.symbol);
        continue;
      }
      for (const auto& [name, builtin] : kBuiltins) {
        if (function->name != name) continue;
        names.emplace(function->name, Symbol{Symbol::Kind::builtin, static_cast<std::uint32_t>(builtin)});
        if (builtin == Builtin::malloc) symbols_.uses_heap = true;
      }
      // A function that is declared and never defined is an error only where it is called.
    }
  }

  struct Entry {
    Symbol symbol;
    Linkage linkage;
  };

  const std::vector<ast::Module>& modules_;
  Symbols symbols_;
  std::unordered_map<std::string, Entry> visible_;
};

}  // namespace

Symbols link(const std::vector<ast::Module>& modules) {
  return Linker(modules).run();
}

}  // namespace tfusion::software::ptx
