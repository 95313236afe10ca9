// Splits a PTX text into tokens. Called by the parser alone.
//
// A token keeps the 1-based line it starts on; names are views into the text, which must outlive the tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tfusion::software::ptx {

enum class TokenKind : std::uint8_t {
  end,
  name,     // identifier or register: add, %r1, $L__BB0_1
  dot,      // .name, without its dot in `text`: u32, L2::128B
  integer,  // value in `bits`
  real,     // a decimal literal or 0d...; bits of the double
  real32,   // 0f...; bits of the float
  string,   // without its quotes
  symbol,   // one character, or one of << >> == != <= >= && ||
};

struct Token {
  TokenKind kind;
  std::string_view text;
  std::uint64_t bits;
  std::size_t line;
};

// Throws CompileError for characters that PTX does not know and for text that ends within a comment or
// string.
std::vector<Token> tokenize(std::string_view text);

}  // namespace tfusion::software::ptx
