// Functions: their parameters, declarations and statements, with registers, variables and labels resolved by
// scope.

#include <charconv>
#include <unordered_map>

#include "token_stream.hpp"

namespace tfusion::software::ptx {

namespace {

using ast::Function;
using ast::Operand;
using ast::OperandKind;

constexpr int kMaxScopeDepth = 200;
constexpr int kMaxOperandDepth = 8;

// `.reg .b32 %r<100>` names %r0 .. %r99; the registers come to be when they are first used.
struct RegisterRange {
  Type type;
  unsigned vector;
  std::uint64_t count;
};

struct Scope {
  std::size_t parent;
  std::unordered_map<std::string, std::uint32_t> registers;
  std::unordered_map<std::string, RegisterRange> ranges;
  std::unordered_map<std::string, std::uint32_t> variables;
  std::unordered_map<std::string, std::uint32_t> labels;
};

class FunctionParser {
 public:
  FunctionParser(TokenStream& in, bool entry, ast::Linkage linkage)
      : in_(in), function_(std::make_unique<Function>()) {
    function_->entry = entry;
    function_->linkage = linkage;
    function_->line = in.line();
    scopes_.push_back({0, {}, {}, {}, {}});
  }

  std::unique_ptr<Function> run() {
    skip_attributes();
    if (in_.is_symbol("(")) parameters(function_->returns);
    function_->name = in_.expect_name("a function");
    if (in_.is_symbol("(")) parameters(function_->parameters);
    performance_directives();
    if (in_.accept(";")) return std::move(function_);
    function_->defined = true;
    if (!in_.is_symbol("{"))
      in_.fail("'{' or ';' is missing after the head of '" + function_->name + "' before " + in_.found());
    block(0, 0);
    resolve_labels();
    return std::move(function_);
  }

 private:
  void skip_attributes() {
    if (!in_.accept_dot("attribute")) return;
    in_.expect("(", "after .attribute");
    while (!in_.at_end() && !in_.is_symbol(")")) in_.next();
    in_.expect(")", "after .attribute");
  }

  void parameters(std::vector<ast::Parameter>& list) {
    in_.expect("(", "before parameters");
    if (in_.accept(")")) return;
    do {
      ast::Parameter parameter{};
      if (in_.accept_dot("reg")) {
        ast::Variable variable = parse_variable(in_, Space::param, false);
        parameter.reg = add_register(scopes_[0], variable.name, variable.type, 1);
        variable.name = "register parameter " + variable.name;
        parameter.variable = static_cast<std::uint32_t>(function_->variables.size());
        function_->variables.push_back(std::move(variable));
      } else {
        if (!in_.accept_dot("param")) in_.fail("'.param' or '.reg' is missing before " + in_.found());
        ast::Variable variable = parse_variable(in_, Space::param, false);
        parameter.variable = add_variable(scopes_[0], std::move(variable));
      }
      list.push_back(parameter);
    } while (in_.accept(","));
    in_.expect(")", "after parameters");
  }

  void performance_directives() {
    for (;;) {
      if (in_.accept_dot("maxntid")) {
        std::uint64_t product = 1;
        unsigned sizes[3] = {1, 1, 1};
        three(sizes);
        for (const unsigned size : sizes) product *= size;
        if (product == 0 || product > 1024) in_.fail(".maxntid must name 1 to 1024 threads");
        function_->max_threads = static_cast<unsigned>(product);
      } else if (in_.accept_dot("reqntid")) {
        unsigned sizes[3] = {1, 1, 1};
        three(sizes);
        for (int i = 0; i < 3; ++i) function_->required_threads[i] = sizes[i];
      } else if (in_.accept_dot("minnctapersm") || in_.accept_dot("maxnreg") ||
                 in_.accept_dot("maxclusterrank")) {
        in_.expect_integer("the directive's value");
      } else if (in_.accept_dot("reqnctapercluster")) {
        unsigned sizes[3] = {1, 1, 1};
        three(sizes);
      } else if (in_.accept_dot("noreturn")) {
        function_->noreturn = true;
      } else if (in_.accept_dot("explicitcluster") || in_.accept_dot("blocksareclusters")) {
      } else if (in_.accept_dot("pragma")) {
        if (in_.next().kind != TokenKind::string) in_.fail(".pragma needs a string");
        in_.expect(";", "after .pragma");
      } else {
        return;
      }
    }
  }

  void three(unsigned (&sizes)[3]) {
    int count = 0;
    do {
      if (count == 3) in_.fail("a block has three dimensions at most");
      const std::uint64_t size = in_.expect_integer("a block's size");
      if (size > 1024) in_.fail("a block's size is 1024 at most");
      sizes[count++] = static_cast<unsigned>(size);
    } while (in_.accept(","));
  }

  // --- scopes

  std::uint32_t add_register(Scope& scope, const std::string& name, Type type, unsigned vector) {
    const auto index = static_cast<std::uint32_t>(function_->registers.size());
    if (!scope.registers.emplace(name, index).second)
      in_.fail("the register '" + name + "' is declared twice");
    function_->registers.push_back({name, type, vector});
    return index;
  }

  std::uint32_t add_variable(Scope& scope, ast::Variable variable) {
    const auto index = static_cast<std::uint32_t>(function_->variables.size());
    if (!scope.variables.emplace(variable.name, index).second) {
      in_.fail("the variable '" + variable.name + "' is declared twice");
    }
    function_->variables.push_back(std::move(variable));
    return index;
  }

  std::optional<std::uint32_t> find_register(std::size_t scope, const std::string& name) {
    for (;; scope = scopes_[scope].parent) {
      Scope& s = scopes_[scope];
      if (const auto found = s.registers.find(name); found != s.registers.end()) return found->second;
      if (const auto found = find_in_range(s, name)) return found;
      if (scope == 0) return std::nullopt;
    }
  }

  std::optional<std::uint32_t> find_in_range(Scope& scope, const std::string& name) {
    if (scope.ranges.empty()) return std::nullopt;
    std::size_t stem = name.size();
    while (stem > 0 && name[stem - 1] >= '0' && name[stem - 1] <= '9') --stem;
    // A stem may itself end in digits (%r1<4>), so every split is tried.
    for (std::size_t split = stem; split < name.size(); ++split) {
      if (name[split] == '0' && split + 1 != name.size()) continue;
      const auto range = scope.ranges.find(name.substr(0, split));
      if (range == scope.ranges.end()) continue;
      std::uint64_t number = 0;
      const auto parsed = std::from_chars(name.data() + split, name.data() + name.size(), number);
      if (parsed.ec != std::errc() || number >= range->second.count) continue;
      return add_register(scope, name, range->second.type, range->second.vector);
    }
    return std::nullopt;
  }

  std::optional<std::uint32_t> find_variable(std::size_t scope, const std::string& name) const {
    for (;; scope = scopes_[scope].parent) {
      if (const auto found = scopes_[scope].variables.find(name); found != scopes_[scope].variables.end()) {
        return found->second;
      }
      if (scope == 0) return std::nullopt;
    }
  }

  // --- statements

  void block(std::size_t scope, int depth) {
    if (depth > kMaxScopeDepth) in_.fail("blocks are nested too deeply");
    const std::size_t first = in_.line();
    in_.expect("{", "before a block");
    while (!in_.accept("}")) {
      if (in_.at_end()) throw CompileError(first, "the block that begins here has no end");
      statement(scope, depth);
    }
  }

  void statement(std::size_t scope, int depth) {
    if (in_.accept(";")) return;
    if (in_.is_symbol("{")) {
      scopes_.push_back({scope, {}, {}, {}, {}});
      block(scopes_.size() - 1, depth + 1);
      return;
    }
    if (in_.peek().kind == TokenKind::dot) {
      directive(scope);
      return;
    }
    if (in_.peek().kind == TokenKind::name && in_.is_symbol(":", 1)) {
      label(scope);
      return;
    }
    instruction(scope);
  }

  void directive(std::size_t scope) {
    const Token word = in_.next();
    if (word.text == "loc" || word.text == "file") {
      in_.skip_line(word.line);
    } else if (word.text == "reg") {
      registers(scope);
    } else if (word.text == "pragma") {
      if (in_.next().kind != TokenKind::string) in_.fail(".pragma needs a string");
      in_.expect(";", "after .pragma");
    } else if (word.text == "param" || word.text == "local" || word.text == "shared" ||
               word.text == "global" || word.text == "const") {
      if (word.text == "global" || word.text == "const") {
        throw CompileError(word.line,
                           "'." + std::string(word.text) + "' variables are declared at module level");
      }
      const Space space = word.text == "param"   ? Space::param
                          : word.text == "local" ? Space::local
                                                 : Space::shared;
      do {
        add_variable(scopes_[scope], parse_variable(in_, space, false));
      } while (in_.accept(","));
      in_.expect(";", "after a variable");
    } else {
      throw CompileError(word.line,
                         "the directive '." + std::string(word.text) + "' is not supported in a function");
    }
  }

  void registers(std::size_t scope) {
    unsigned vector = 1;
    if (in_.is_dot("v2") || in_.is_dot("v4")) vector = in_.next().text == "v2" ? 2 : 4;
    if (in_.peek().kind != TokenKind::dot) in_.fail("a register's type is missing before " + in_.found());
    const Type type = parse_type(in_.peek().text);
    if (type == Type::none)
      in_.fail("registers of type '." + std::string(in_.peek().text) + "' are not supported");
    in_.next();
    do {
      const std::string name = in_.expect_name("a register");
      if (in_.accept("<")) {
        if (in_.peek().kind != TokenKind::integer)
          in_.fail("the number of registers is missing before " + in_.found());
        const std::uint64_t count = in_.next().bits;
        in_.expect(">", "after the number of registers");
        if (!scopes_[scope].ranges.emplace(name, RegisterRange{type, vector, count}).second) {
          in_.fail("the registers '" + name + "' are declared twice");
        }
      } else {
        add_register(scopes_[scope], name, type, vector);
      }
    } while (in_.accept(","));
    in_.expect(";", "after registers");
  }

  void label(std::size_t scope) {
    const std::size_t at = in_.line();
    const std::string name(in_.next().text);
    in_.next();  // :
    const auto index = static_cast<std::uint32_t>(function_->labels.size());
    if (!scopes_[scope].labels.emplace(name, index).second) {
      throw CompileError(at, "the label '" + name + "' is placed twice");
    }
    function_->labels.push_back(name);
    function_->branch_targets.emplace_back();
    function_->prototypes.emplace_back();
    if (in_.accept_dot("branchtargets")) {
      std::vector<std::pair<std::string, std::size_t>> names;
      do {
        names.emplace_back(in_.expect_name("a label"), in_.line());
      } while (in_.accept(","));
      in_.expect(";", "after .branchtargets");
      pending_tables_.push_back({index, scope, std::move(names)});
    } else if (in_.accept_dot("calltargets")) {
      while (!in_.at_end() && !in_.is_symbol(";")) in_.next();
      in_.expect(";", "after .calltargets");
    } else if (in_.accept_dot("callprototype")) {
      prototype(function_->prototypes[index]);
    } else {
      ast::Statement statement;
      statement.label = index;
      statement.instruction.line = at;
      function_->statements.push_back(std::move(statement));
      statement_scopes_.push_back(scope);
    }
  }

  void prototype(ast::Prototype& prototype) {
    if (in_.is_symbol("(")) prototype_list(prototype.return_bytes);
    in_.expect_name("a prototype (or _)");
    if (in_.is_symbol("(")) prototype_list(prototype.parameter_bytes);
    while (in_.accept_dot("noreturn")) {
    }
    in_.expect(";", "after .callprototype");
  }

  void prototype_list(std::vector<std::size_t>& sizes) {
    in_.expect("(", "before parameters");
    if (in_.accept(")")) return;
    do {
      if (!in_.accept_dot("param") && !in_.accept_dot("reg"))
        in_.fail("'.param' is missing before " + in_.found());
      sizes.push_back(parse_variable(in_, Space::param, false).bytes);
    } while (in_.accept(","));
    in_.expect(")", "after parameters");
  }

  void instruction(std::size_t scope) {
    ast::Statement statement;
    ast::Instruction& instruction = statement.instruction;
    instruction.line = in_.line();
    if (in_.accept("@")) {
      const bool negated = in_.accept("!");
      Operand guard = operand(scope, 0);
      if (guard.kind != OperandKind::reg) in_.fail("a guard must be a predicate register");
      guard.negated = negated;
      instruction.guard = std::move(guard);
    }
    instruction.line = in_.line();
    instruction.opcode = in_.expect_name("an instruction");
    while (in_.peek().kind == TokenKind::dot) instruction.modifiers.emplace_back(in_.next().text);
    if (!in_.is_symbol(";")) {
      do {
        instruction.operands.push_back(operand(scope, 0));
      } while (in_.accept(","));
    }
    in_.expect(";", "after the instruction '" + instruction.opcode + "'");
    function_->statements.push_back(std::move(statement));
    statement_scopes_.push_back(scope);
  }

  // --- operands

  Operand operand(std::size_t scope, int depth) {
    if (depth > kMaxOperandDepth) in_.fail("operands are nested too deeply");
    Operand first = single(scope, depth);
    if (!in_.accept("|")) return first;
    Operand pair;
    pair.kind = OperandKind::pair;
    pair.parts.push_back(std::move(first));
    pair.parts.push_back(single(scope, depth + 1));
    return pair;
  }

  Operand single(std::size_t scope, int depth) {
    Operand result;
    if (in_.accept("{")) return list(scope, depth, "}");
    if (in_.is_symbol("(")) {
      in_.next();
      return list(scope, depth, ")");
    }
    if (in_.accept("[")) return memory(scope, depth);
    if (in_.accept("!")) {
      result = single(scope, depth + 1);
      result.negated = !result.negated;
      return result;
    }
    if (in_.peek().kind == TokenKind::name) return named(scope);
    const TokenStream::Constant value = in_.constant();
    result.kind = !value.real    ? OperandKind::immediate
                  : value.single ? OperandKind::real32
                                 : OperandKind::real;
    result.bits = value.bits;
    return result;
  }

  Operand list(std::size_t scope, int depth, std::string_view end) {
    Operand result;
    result.kind = OperandKind::list;
    if (in_.accept(end)) return result;
    do {
      result.parts.push_back(operand(scope, depth + 1));
    } while (in_.accept(","));
    in_.expect(end, "after a list of operands");
    return result;
  }

  Operand memory(std::size_t scope, int depth) {
    Operand result;
    result.kind = OperandKind::memory;
    result.parts.push_back(operand(scope, depth + 1));
    Operand& base = result.parts[0];
    if (in_.is_symbol("+") || in_.is_symbol("-")) {
      in_.accept("+");
      result.addend = static_cast<std::int64_t>(in_.expect_integer("an offset"));
    }
    result.addend = static_cast<std::int64_t>(static_cast<std::uint64_t>(result.addend) +
                                              static_cast<std::uint64_t>(base.addend));
    base.addend = 0;
    while (in_.accept(",")) result.parts.push_back(operand(scope, depth + 1));
    in_.expect("]", "after an address");
    return result;
  }

  Operand named(std::size_t scope) {
    Operand result;
    result.name = std::string(in_.next().text);
    if (result.name == "_") {
      result.kind = OperandKind::sink;
      return result;
    }
    if (result.name == "WARP_SZ") {
      result.kind = OperandKind::immediate;
      result.bits = 32;
      return result;
    }
    if (const auto reg = find_register(scope, result.name)) {
      result.kind = OperandKind::reg;
      result.index = *reg;
      component(result);
      return result;
    }
    if (const auto variable = find_variable(scope, result.name)) {
      result.kind = OperandKind::variable;
      result.index = *variable;
    } else if (result.name.front() == '%') {
      result.kind = OperandKind::special;
      component(result);
      return result;
    } else if (result.name == "generic" && in_.accept("(")) {
      Operand inner = operand(scope, kMaxOperandDepth);
      in_.expect(")", "after generic(");
      return inner;
    } else {
      result.kind = OperandKind::name;
    }
    if (in_.is_symbol("+") || in_.is_symbol("-")) {
      in_.accept("+");
      result.addend = static_cast<std::int64_t>(in_.expect_integer("an offset"));
    }
    return result;
  }

  void component(Operand& operand) {
    static constexpr std::string_view kNames[] = {"x", "y", "z", "w", "r", "g", "b", "a"};
    for (int i = 0; i < 8; ++i) {
      if (in_.is_dot(kNames[i])) {
        in_.next();
        operand.component = i % 4;
        return;
      }
    }
  }

  // --- labels, after the whole body is read

  std::optional<std::uint32_t> find_label(std::size_t scope, const std::string& name) const {
    for (;; scope = scopes_[scope].parent) {
      if (const auto found = scopes_[scope].labels.find(name); found != scopes_[scope].labels.end()) {
        return found->second;
      }
      if (scope == 0) return std::nullopt;
    }
  }

  void resolve_labels() {
    for (std::size_t i = 0; i < function_->statements.size(); ++i) {
      for (Operand& operand : function_->statements[i].instruction.operands) {
        if (operand.kind != OperandKind::name) continue;
        if (const auto label = find_label(statement_scopes_[i], operand.name)) {
          operand.kind = OperandKind::label;
          operand.index = *label;
        }
      }
    }
    for (const PendingTable& table : pending_tables_) {
      for (const auto& [name, at] : table.names) {
        const auto label = find_label(table.scope, name);
        if (!label) throw CompileError(at, "the label '" + name + "' is not placed in this function");
        function_->branch_targets[table.label].push_back(*label);
      }
    }
  }

  struct PendingTable {
    std::uint32_t label;
    std::size_t scope;
    std::vector<std::pair<std::string, std::size_t>> names;
  };

  TokenStream& in_;
  std::unique_ptr<Function> function_;
  std::vector<Scope> scopes_;
  std::vector<std::size_t> statement_scopes_;
  std::vector<PendingTable> pending_tables_;
};

}  // namespace

std::unique_ptr<ast::Function> parse_function(TokenStream& in, bool entry, ast::Linkage linkage) {
  return FunctionParser(in, entry, linkage).run();
}

}  // namespace tfusion::software::ptx
