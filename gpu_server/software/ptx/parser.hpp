// Reads one PTX text into its syntax tree. Called by compile(), once for each text.
#pragma once

#include <string_view>

#include "ast.hpp"

namespace tfusion::software::ptx {

// Throws CompileError.
ast::Module parse(std::string_view text);

}  // namespace tfusion::software::ptx
