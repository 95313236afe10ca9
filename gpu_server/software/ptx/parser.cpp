#include "parser.hpp"

#include "token_stream.hpp"

namespace tfusion::software::ptx {

namespace {

class ModuleParser {
 public:
  explicit ModuleParser(TokenStream& in) : in_(in) {}

  ast::Module run() {
    if (!in_.is_dot("version")) {
      in_.fail(
          "the text is not PTX: it does not begin with .version. Compile for compute_75 (PTX), not to a "
          "cubin");
    }
    while (!in_.at_end()) item();
    return std::move(module_);
  }

 private:
  void item() {
    if (in_.accept(";")) return;
    const Token word = in_.peek();
    if (word.kind != TokenKind::dot) in_.fail("a directive was expected here, not " + in_.found());
    if (word.text == "version" || word.text == "address_size" || word.text == "target" ||
        word.text == "file" || word.text == "loc") {
      header(word);
    } else if (word.text == "section") {
      skip_section();
    } else if (word.text == "pragma") {
      while (!in_.at_end() && !in_.is_symbol(";")) in_.next();
      in_.expect(";", "after .pragma");
    } else {
      declaration();
    }
  }

  void header(const Token& word) {
    in_.next();
    if (word.text == "address_size") {
      if (in_.expect_integer(".address_size") != 64) in_.fail("only .address_size 64 is supported");
    } else if (word.text == "version") {
      if (in_.peek().kind != TokenKind::real && in_.peek().kind != TokenKind::integer) {
        in_.fail(".version needs a number such as 9.0");
      }
      in_.next();
    } else if (word.text == "target") {
      do {
        in_.expect_name("a target");
      } while (in_.accept(","));
    } else {
      in_.skip_line(word.line);
    }
  }

  void skip_section() {
    const std::size_t first = in_.line();
    in_.next();
    while (!in_.at_end() && !in_.is_symbol("{")) in_.next();
    std::size_t depth = 0;
    do {
      if (in_.at_end()) throw CompileError(first, "the .section that begins here has no end");
      if (in_.is_symbol("{")) ++depth;
      if (in_.is_symbol("}")) --depth;
      in_.next();
    } while (depth > 0);
  }

  void declaration() {
    ast::Linkage linkage = ast::Linkage::internal;
    for (;;) {
      if (in_.accept_dot("visible")) {
        linkage = ast::Linkage::visible;
      } else if (in_.accept_dot("extern")) {
        linkage = ast::Linkage::external;
      } else if (in_.accept_dot("weak")) {
        linkage = ast::Linkage::weak;
      } else if (in_.accept_dot("common")) {
        linkage = ast::Linkage::common;
      } else {
        break;
      }
    }
    const std::string word = in_.peek().kind == TokenKind::dot ? std::string(in_.peek().text) : std::string();
    if (word == "entry" || word == "func") {
      in_.next();
      module_.functions.push_back(parse_function(in_, word == "entry", linkage));
    } else if (word == "global" || word == "const" || word == "shared") {
      in_.next();
      const Space space = word == "global"  ? Space::global
                          : word == "const" ? Space::constant
                                            : Space::shared;
      do {
        ast::Variable variable = parse_variable(in_, space, space != Space::shared);
        variable.linkage = linkage;
        if (variable.unsized && variable.bytes == 0 && linkage != ast::Linkage::external) {
          in_.fail("the array '" + variable.name + "' has no size");
        }
        module_.variables.push_back(std::move(variable));
      } while (in_.accept(","));
      in_.expect(";", "after a variable");
    } else if (word == "tex") {  // the old form of a texture reference
      in_.next();
      ast::Variable variable = parse_variable(in_, Space::global, false);
      variable.texture = true;
      module_.variables.push_back(std::move(variable));
      in_.expect(";", "after a variable");
    } else {
      in_.fail(in_.found() + " is not supported at module level");
    }
  }

  TokenStream& in_;
  ast::Module module_;
};

}  // namespace

ast::Module parse(std::string_view text) {
  const std::vector<Token> tokens = tokenize(text);
  TokenStream in(tokens);
  return ModuleParser(in).run();
}

}  // namespace tfusion::software::ptx
