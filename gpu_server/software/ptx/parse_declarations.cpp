// Variables with their types, dimensions and initialisers.

#include <bit>
#include <cstring>

#include "token_stream.hpp"

namespace tfusion::software::ptx {

namespace {

using ast::Variable;

constexpr std::size_t kMaxVariableBytes = std::size_t{1} << 40;
constexpr std::size_t kMaxInitialiserBytes = std::size_t{1} << 30;

std::size_t multiply(const TokenStream& in, std::size_t a, std::size_t b) {
  std::size_t product = 0;
  if (__builtin_mul_overflow(a, b, &product) || product > kMaxVariableBytes)
    in.fail("this variable is too large");
  return product;
}

// Fills a variable's image from {...}, level by level.
class InitialiserReader {
 public:
  InitialiserReader(TokenStream& in, Variable& variable, std::vector<std::size_t> dimensions)
      : in_(in), variable_(variable), dimensions_(std::move(dimensions)), width_(type_bytes(variable.type)) {}

  void run() {
    if (in_.is_symbol("{")) {
      level(0, 0);
    } else {
      element(0);
    }
  }

 private:
  void level(std::size_t depth, std::size_t offset) {
    in_.expect("{", "in an initialiser");
    std::size_t stride = width_;
    for (std::size_t i = depth + 1; i < dimensions_.size(); ++i) stride *= dimensions_[i];
    std::size_t position = offset;
    if (!in_.is_symbol("}")) {
      do {
        if (in_.is_symbol("{")) {
          if (depth + 1 >= dimensions_.size()) in_.fail("this initialiser has more levels than the variable");
          level(depth + 1, position);
          position += stride;
        } else {
          element(position);
          position += width_;
        }
      } while (in_.accept(","));
    }
    in_.expect("}", "at the end of an initialiser");
  }

  void element(std::size_t offset) {
    if (offset + width_ > variable_.bytes) {
      if (!variable_.unsized)
        in_.fail("there are more initial values than '" + variable_.name + "' has elements");
      variable_.bytes = offset + width_;
    }
    if (offset + width_ > kMaxInitialiserBytes) in_.fail("this initialiser is too large");
    if (variable_.image.size() < offset + width_) variable_.image.resize(offset + width_);
    if (in_.peek().kind == TokenKind::name) {
      symbol(offset, ~std::uint64_t{0});
      return;
    }
    if (in_.peek().kind == TokenKind::integer && in_.is_symbol("(", 1)) {  // 0xFF00(symbol)
      const std::uint64_t mask = in_.next().bits;
      in_.next();
      symbol(offset, mask);
      in_.expect(")", "after a masked address");
      return;
    }
    const TokenStream::Constant value = in_.constant();
    std::uint64_t bits = value.bits;
    if (variable_.type == Type::f32) {
      if (value.real && !value.single) {
        bits = std::bit_cast<std::uint32_t>(static_cast<float>(std::bit_cast<double>(bits)));
      } else if (!value.real) {
        bits = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int64_t>(bits)));
      }
    } else if (variable_.type == Type::f64) {
      if (value.single) {
        bits = std::bit_cast<std::uint64_t>(
            static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits))));
      } else if (!value.real) {
        bits = std::bit_cast<std::uint64_t>(static_cast<double>(static_cast<std::int64_t>(bits)));
      }
    } else if (value.real && !is_float(variable_.type) && !is_bits(variable_.type)) {
      in_.fail("an integer variable has a floating-point initial value");
    }
    std::memcpy(variable_.image.data() + offset, &bits, width_);
  }

  // symbol, symbol+4, generic(symbol), generic(symbol)+4
  void symbol(std::size_t offset, std::uint64_t mask) {
    ast::Relocation relocation{offset, width_, mask, {}, 0, in_.line()};
    const std::string name = in_.expect_name("a variable or function");
    if (name == "generic" && in_.accept("(")) {
      relocation.symbol = in_.expect_name("a variable or function");
      if (in_.is_symbol("+") || in_.is_symbol("-")) relocation.addend = addend();
      in_.expect(")", "after generic(");
    } else {
      relocation.symbol = name;
    }
    if (in_.is_symbol("+") || in_.is_symbol("-")) {
      relocation.addend = static_cast<std::int64_t>(static_cast<std::uint64_t>(relocation.addend) +
                                                    static_cast<std::uint64_t>(addend()));
    }
    variable_.relocations.push_back(std::move(relocation));
  }

  std::int64_t addend() {
    in_.accept("+");
    return static_cast<std::int64_t>(in_.expect_integer("an offset"));
  }

  TokenStream& in_;
  Variable& variable_;
  std::vector<std::size_t> dimensions_;
  std::size_t width_;
};

}  // namespace

ast::Variable parse_variable(TokenStream& in, Space space, bool allow_initialiser) {
  Variable variable;
  variable.space = space;
  variable.line = in.line();
  std::size_t vector = 1;
  std::size_t alignment = 0;
  while (in.peek().kind == TokenKind::dot) {
    const std::string_view word = in.peek().text;
    if (word == "align") {
      in.next();
      alignment = in.expect_integer("an alignment");
      if (!std::has_single_bit(alignment) || alignment > 4096)
        in.fail("an alignment is a power of two up to 4096");
    } else if (word == "v2" || word == "v4") {
      vector = word == "v2" ? 2 : 4;
      in.next();
    } else if (word == "ptr") {  // .ptr .global .align 8: what a kernel's pointer points at
      in.next();
      while (in.is_dot("global") || in.is_dot("const") || in.is_dot("shared") || in.is_dot("local") ||
             in.is_dot("generic")) {
        in.next();
      }
      if (in.accept_dot("align")) in.expect_integer("an alignment");
    } else if (word == "attribute") {
      in.next();
      in.expect("(", "after .attribute");
      while (!in.at_end() && !in.is_symbol(")")) in.next();
      in.expect(")", "after .attribute");
    } else if (word == "texref" || word == "samplerref" || word == "surfref") {
      in.next();
      variable.texture = true;
      variable.type = Type::b64;
    } else {
      variable.type = parse_type(word);
      if (variable.type == Type::none)
        in.fail("'." + std::string(word) + "' is not known in a variable's declaration");
      if (variable.type == Type::pred) in.fail("a predicate cannot be a variable in memory; declare it .reg");
      in.next();
    }
  }
  if (variable.type == Type::none) in.fail("a variable's type is missing before " + in.found());
  variable.name = in.expect_name("a variable");
  const std::size_t element = type_bytes(variable.type) * vector;
  variable.alignment = alignment != 0 ? alignment : element;
  variable.bytes = element;
  std::vector<std::size_t> dimensions;
  while (in.accept("[")) {
    if (in.accept("]")) {
      variable.unsized = true;
      variable.bytes = 0;
      dimensions.push_back(1);
      continue;
    }
    const std::size_t count = in.expect_integer("an array's size");
    in.expect("]", "after an array's size");
    dimensions.push_back(count);
    variable.bytes = multiply(in, variable.bytes, count);
  }
  if (vector > 1) dimensions.push_back(vector);
  if (in.is_symbol("=")) {
    if (!allow_initialiser) in.fail("this variable cannot have an initial value");
    in.next();
    InitialiserReader(in, variable, std::move(dimensions)).run();
  }
  return variable;
}

}  // namespace tfusion::software::ptx
