#include "lexer.hpp"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

#include "program.hpp"

namespace tfusion::software::ptx {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%';
}
bool is_name(char c) {
  return is_name_start(c) || is_digit(c);
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text.substr(0, text.find('\0'))) {}

  std::vector<Token> run() {
    std::vector<Token> tokens;
    tokens.reserve(text_.size() / 4 + 1);
    while (skip_blank()) tokens.push_back(next());
    tokens.push_back({TokenKind::end, {}, 0, line_});
    return tokens;
  }

 private:
  char at(std::size_t offset = 0) const { return pos_ + offset < text_.size() ? text_[pos_ + offset] : '\0'; }

  // False at the end of the text.
  bool skip_blank() {
    while (pos_ < text_.size()) {
      const char c = text_[pos_];
      if (c == '\n') {
        ++line_;
        ++pos_;
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
        ++pos_;
      } else if (c == '/' && at(1) == '/') {
        while (pos_ < text_.size() && text_[pos_] != '\n') ++pos_;
      } else if (c == '/' && at(1) == '*') {
        skip_comment();
      } else {
        return true;
      }
    }
    return false;
  }

  void skip_comment() {
    const std::size_t first = line_;
    pos_ += 2;
    while (!(at() == '*' && at(1) == '/')) {
      if (pos_ >= text_.size()) throw CompileError(first, "the comment that begins here has no end");
      if (text_[pos_] == '\n') ++line_;
      ++pos_;
    }
    pos_ += 2;
  }

  Token next() {
    const char c = at();
    if (is_name_start(c)) return name(TokenKind::name);
    // A digit may follow the dot of a modifier: tex.2d
    if (c == '.' && (is_name_start(at(1)) || (is_digit(at(1)) && pos_ > 0 && is_name(text_[pos_ - 1])))) {
      ++pos_;
      return name(TokenKind::dot);
    }
    if (is_digit(c) || (c == '.' && is_digit(at(1)))) return number();
    if (c == '"') return quoted();
    static constexpr std::string_view kPairs[] = {"<<", ">>", "==", "!=", "<=", ">=", "&&", "||"};
    for (const std::string_view pair : kPairs) {
      if (text_.substr(pos_, 2) == pair) return take(TokenKind::symbol, 2);
    }
    if (std::string_view("{}()[]<>,;:=+-*/%&|^~!@?.").find(c) != std::string_view::npos) {
      return take(TokenKind::symbol, 1);
    }
    if (c >= ' ' && c <= '~')
      throw CompileError(line_, std::string("the character '") + c + "' is not part of PTX");
    throw CompileError(line_, "a byte that is no printable character stands in the text");
  }

  Token take(TokenKind kind, std::size_t length) {
    const Token token{kind, text_.substr(pos_, length), 0, line_};
    pos_ += length;
    return token;
  }

  Token name(TokenKind kind) {
    std::size_t length = 1;
    while (is_name(at(length))) ++length;
    // .L2::128B, .shared::cta
    while (kind == TokenKind::dot && at(length) == ':' && at(length + 1) == ':') {
      length += 2;
      while (is_name(at(length))) ++length;
    }
    return take(kind, length);
  }

  Token quoted() {
    const std::size_t first = line_;
    std::size_t length = 1;
    while (at(length) != '"') {
      if (at(length) == '\\') ++length;
      if (pos_ + length >= text_.size() || at(length) == '\n') {
        throw CompileError(first, "the string that begins here has no end");
      }
      ++length;
    }
    Token token{TokenKind::string, text_.substr(pos_ + 1, length - 1), 0, line_};
    pos_ += length + 1;
    return token;
  }

  Token number() {
    const char second = at(1);
    if (at() == '0' && (second == 'f' || second == 'F' || second == 'd' || second == 'D')) {
      const std::size_t digits = second == 'f' || second == 'F' ? 8 : 16;
      Token token = take(digits == 8 ? TokenKind::real32 : TokenKind::real, 2);
      std::size_t count = 0;
      while (is_hex(at(count))) ++count;
      if (count != digits)
        throw CompileError(line_, "a hexadecimal floating-point number has 8 or 16 digits");
      token.bits = integer(digits, 16);
      return token;
    }
    std::size_t length = 0;
    bool real = false;
    int base = 10;
    std::size_t prefix = 0;
    if (at() == '0' && (second == 'x' || second == 'X')) {
      base = 16;
      prefix = 2;
      while (is_hex(at(prefix + length))) ++length;
    } else if (at() == '0' && (second == 'b' || second == 'B')) {
      base = 2;
      prefix = 2;
      while (at(prefix + length) == '0' || at(prefix + length) == '1') ++length;
    } else {
      while (is_digit(at(length))) ++length;
      if (at(length) == '.') {
        real = true;
        ++length;
        while (is_digit(at(length))) ++length;
      }
      if (at(length) == 'e' || at(length) == 'E') {
        std::size_t after = length + 1;
        if (at(after) == '+' || at(after) == '-') ++after;
        if (is_digit(at(after))) {
          real = true;
          length = after;
          while (is_digit(at(length))) ++length;
        }
      }
      if (!real && at() == '0' && length > 1) {
        base = 8;
        prefix = 1;
        --length;
      }
    }
    if (length == 0) throw CompileError(line_, "a number has no digits");
    Token token{real ? TokenKind::real : TokenKind::integer, text_.substr(pos_, prefix + length), 0, line_};
    if (real) {
      const std::string digits(token.text);
      token.bits = std::bit_cast<std::uint64_t>(std::strtod(digits.c_str(), nullptr));
      pos_ += length;
    } else {
      pos_ += prefix;
      token.bits = integer(length, base);
      if (at() == 'U') ++pos_;
    }
    return token;
  }

  std::uint64_t integer(std::size_t length, int base) {
    std::uint64_t value = 0;
    const char* const first = text_.data() + pos_;
    const auto [end, error] = std::from_chars(first, first + length, value, base);
    if (error != std::errc() || end != first + length) {
      throw CompileError(line_, "the number '" + std::string(first, length) + "' does not fit 64 bits");
    }
    pos_ += length;
    return value;
  }

  std::string_view text_;
  std::size_t pos_ = 0;
  std::size_t line_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view text) {
  return Lexer(text).run();
}

}  // namespace tfusion::software::ptx
