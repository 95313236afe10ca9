// The parser's cursor over tokens, and constant expressions. Used by parser.cpp and parse_function.cpp alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ast.hpp"
#include "lexer.hpp"
#include "message.hpp"
#include "program.hpp"

namespace tfusion::software::ptx {

class TokenStream {
 public:
  explicit TokenStream(std::span<const Token> tokens) : tokens_(tokens) {}

  const Token& peek(std::size_t ahead = 0) const {
    return tokens_[pos_ + ahead < tokens_.size() ? pos_ + ahead : tokens_.size() - 1];
  }
  const Token& next() {
    const Token& token = peek();
    if (pos_ + 1 < tokens_.size()) ++pos_;
    return token;
  }
  bool at_end() const { return peek().kind == TokenKind::end; }
  std::size_t line() const { return peek().line; }

  bool is_symbol(std::string_view text, std::size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::symbol && peek(ahead).text == text;
  }
  bool is_dot(std::string_view text, std::size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::dot && peek(ahead).text == text;
  }
  bool accept(std::string_view symbol) {
    if (!is_symbol(symbol)) return false;
    next();
    return true;
  }
  bool accept_dot(std::string_view name) {
    if (!is_dot(name)) return false;
    next();
    return true;
  }
  void expect(std::string_view symbol, std::string_view where) {
    if (!accept(symbol))
      fail(quoted(std::string(symbol)) + " is missing " + std::string(where) + " before " + found());
  }
  std::string expect_name(std::string_view what) {
    if (peek().kind != TokenKind::name)
      fail("the name of " + std::string(what) + " is missing before " + found());
    return std::string(next().text);
  }
  std::uint64_t expect_integer(std::string_view what) {
    const std::size_t at = line();
    const Constant value = constant();
    if (value.real) throw CompileError(at, std::string(what) + " must be an integer");
    return value.bits;
  }

  // Skips what stands on the line of the token before the cursor (.loc and .file have no other end).
  void skip_line(std::size_t line_number) {
    while (!at_end() && line() == line_number) next();
  }

  std::string found() const {
    if (at_end()) return "the end of the text";
    std::string text(peek().kind == TokenKind::dot ? "." : "");
    return quoted(text.append(peek().text));
  }
  [[noreturn]] void fail(const std::string& sentence) const { throw CompileError(line(), sentence); }

  // A constant expression of integers, or one real literal with an optional sign.
  struct Constant {
    bool real = false;
    bool single = false;  // bits of a float
    std::uint64_t bits = 0;
  };
  Constant constant() { return binary(0, 0); }

 private:
  static constexpr int kMaxDepth = 64;

  static int precedence(std::string_view text) {
    static constexpr std::string_view kLevels[][4] = {
        {"||"},       {"&&"},     {"|"},          {"^"}, {"&"}, {"==", "!="}, {"<", ">", "<=", ">="},
        {"<<", ">>"}, {"+", "-"}, {"*", "/", "%"}};
    int level = 1;
    for (const auto& names : kLevels) {
      for (const std::string_view name : names) {
        if (!name.empty() && name == text) return level;
      }
      ++level;
    }
    return 0;
  }

  Constant unary(int depth) {
    if (depth > kMaxDepth) fail("a constant expression is nested too deeply");
    const auto integer_of = [this](Constant value) {
      if (value.real) fail("this operator needs an integer");
      return value.bits;
    };
    if (accept("-")) {
      Constant value = unary(depth + 1);
      if (value.real) {
        value.bits ^= value.single ? std::uint64_t{1} << 31 : std::uint64_t{1} << 63;
      } else {
        value.bits = std::uint64_t{0} - value.bits;
      }
      return value;
    }
    if (accept("+")) return unary(depth + 1);
    if (accept("~")) return {false, false, ~integer_of(unary(depth + 1))};
    if (accept("!")) return {false, false, integer_of(unary(depth + 1)) == 0 ? 1u : 0u};
    if (accept("(")) {
      if (peek().kind == TokenKind::dot && is_symbol(")", 1)) {  // a cast: (.s64)
        next();
        next();
        return unary(depth + 1);
      }
      const Constant value = binary(0, depth + 1);
      expect(")", "in a constant expression");
      return value;
    }
    const Token& token = peek();
    switch (token.kind) {
      case TokenKind::integer:
        return {false, false, next().bits};
      case TokenKind::real:
        return {true, false, next().bits};
      case TokenKind::real32:
        return {true, true, next().bits};
      default:
        fail("a number is missing before " + found());
    }
  }

  Constant binary(int minimum, int depth) {
    Constant left = unary(depth);
    for (;;) {
      if (peek().kind != TokenKind::symbol) return left;
      const std::string_view op = peek().text;
      const int level = precedence(op);
      if (level == 0 || level <= minimum) return left;
      // a + symbol is no constant: the caller reads it
      if (left.real) return left;
      next();
      const Constant right = binary(level, depth + 1);
      if (right.real) fail("a constant expression mixes integers and floating-point numbers");
      left.bits = combine(op, left.bits, right.bits);
    }
  }

  std::uint64_t combine(std::string_view op, std::uint64_t a, std::uint64_t b) const {
    const auto sa = static_cast<std::int64_t>(a);
    const auto sb = static_cast<std::int64_t>(b);
    if (op == "+") return a + b;
    if (op == "-") return a - b;
    if (op == "*") return a * b;
    if (op == "/" || op == "%") {
      if (b == 0) fail("a constant expression divides by zero");
      if (sb == -1) return op == "/" ? std::uint64_t{0} - a : 0;
      return static_cast<std::uint64_t>(op == "/" ? sa / sb : sa % sb);
    }
    if (op == "<<") return b < 64 ? a << b : 0;
    if (op == ">>") return static_cast<std::uint64_t>(sa >> (b < 64 ? b : 63));
    if (op == "&") return a & b;
    if (op == "|") return a | b;
    if (op == "^") return a ^ b;
    if (op == "&&") return (a && b) ? 1 : 0;
    if (op == "||") return (a || b) ? 1 : 0;
    if (op == "==") return a == b ? 1 : 0;
    if (op == "!=") return a != b ? 1 : 0;
    if (op == "<") return sa < sb ? 1 : 0;
    if (op == ">") return sa > sb ? 1 : 0;
    if (op == "<=") return sa <= sb ? 1 : 0;
    return sa >= sb ? 1 : 0;
  }

  std::span<const Token> tokens_;
  std::size_t pos_ = 0;
};

// Declarations that both levels share; defined in parse_declarations.cpp.

// Reads ".align 4 .b8 name[16] = {...}" after its state space; the cursor stands behind the declaration,
// before
// ',' or ';'. Functions' parameters have no initialiser.
ast::Variable parse_variable(TokenStream& in, Space space, bool allow_initialiser);

// The reader of function bodies, in parse_function.cpp. The cursor stands behind .func or .entry.
std::unique_ptr<ast::Function> parse_function(TokenStream& in, bool entry, ast::Linkage linkage);

}  // namespace tfusion::software::ptx
