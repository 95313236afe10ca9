// The text of one device-side printf. Called by builtins.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace tfusion::software::ptx {

// Reads the next argument of 4 or 8 bytes, which is aligned to its size in the argument buffer, as CUDA packs
// it.
using NextArgument = std::function<std::uint64_t(std::uint32_t bytes)>;
// Reads the string at a device address.
using ReadString = std::function<std::string(std::uint64_t address)>;

// `arguments` counts the conversions done, which is what device printf returns.
std::string format_printf(std::string_view format, const NextArgument& next, const ReadString& read_string,
                          int& arguments);

}  // namespace tfusion::software::ptx
