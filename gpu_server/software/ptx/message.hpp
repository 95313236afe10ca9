// Pieces of the sentences that CompileErrors are made of.
#pragma once

#include <string>
#include <string_view>

namespace tfusion::software::ptx {

inline std::string quoted(std::string_view text) {
  std::string result;
  result.reserve(text.size() + 2);
  result.push_back('\'');
  result.append(text);
  result.push_back('\'');
  return result;
}

}  // namespace tfusion::software::ptx
