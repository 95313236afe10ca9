#include "printf_format.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>

namespace tfusion::software::ptx {

namespace {

constexpr int kMaxWidth = 4096;    // of one conversion: a kernel must not fill the host's memory
constexpr int kMaxArguments = 32;  // CUDA's limit

// One value through the host's printf, with a specification that holds nothing but flags, width and
// precision.
template <class T>
std::string print_one(const std::string& specification, T value) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const int length = std::snprintf(nullptr, 0, specification.c_str(), value);
  if (length < 0) return {};
  std::string text(static_cast<std::size_t>(length) + 1, '\0');
  std::snprintf(text.data(), text.size(), specification.c_str(), value);
#pragma GCC diagnostic pop
  text.pop_back();
  return text;
}

struct Specification {
  std::string text = "%";  // flags, width, precision
  std::string length;      // h, hh, l, ll, z, j, t, L
  char conversion = 0;
  std::size_t end = 0;  // index behind it in the format
};

bool is_one_of(char c, std::string_view set) {
  return c != '\0' && set.find(c) != std::string_view::npos;
}

// A number of at most four digits, so that no width is absurd.
void read_number(std::string_view format, std::size_t& i, std::string& out) {
  int value = 0;
  bool any = false;
  while (i < format.size() && format[i] >= '0' && format[i] <= '9') {
    value = std::min(kMaxWidth, value * 10 + (format[i] - '0'));
    any = true;
    ++i;
  }
  if (any) out += std::to_string(value);
}

Specification read_specification(std::string_view format, std::size_t start, const NextArgument& next) {
  Specification result;
  std::size_t i = start;
  while (i < format.size() && is_one_of(format[i], "-+ #0")) {
    if (result.text.find(format[i], 1) == std::string::npos) result.text += format[i];
    ++i;
  }
  const auto star = [&](bool precision) {
    const auto value = static_cast<int>(static_cast<std::uint32_t>(next(4)));
    ++i;
    if (precision && value < 0) return;
    result.text += std::to_string(std::clamp(value, -kMaxWidth, kMaxWidth));
  };
  if (i < format.size() && format[i] == '*') {
    star(false);
  } else {
    read_number(format, i, result.text);
  }
  if (i < format.size() && format[i] == '.') {
    result.text += '.';
    ++i;
    if (i < format.size() && format[i] == '*') {
      star(true);
    } else {
      read_number(format, i, result.text);
    }
  }
  while (i < format.size() && is_one_of(format[i], "hlLzjtq")) result.length += format[i++];
  if (i < format.size()) result.conversion = format[i++];
  result.end = i;
  return result;
}

}  // namespace

std::string format_printf(std::string_view format, const NextArgument& next, const ReadString& read_string,
                          int& arguments) {
  std::string out;
  arguments = 0;
  for (std::size_t i = 0; i < format.size();) {
    if (format[i] != '%') {
      const std::size_t end = std::min(format.find('%', i), format.size());
      out.append(format.substr(i, end - i));
      i = end;
      continue;
    }
    if (i + 1 < format.size() && format[i + 1] == '%') {
      out += '%';
      i += 2;
      continue;
    }
    const Specification what = read_specification(format, i + 1, next);
    const bool wide = what.length == "l" || what.length == "ll" || what.length == "z" || what.length == "j" ||
                      what.length == "t" || what.length == "q" || what.length == "L";
    if (arguments >= kMaxArguments) return out;
    switch (what.conversion) {
      case 'd':
      case 'i': {
        const std::uint64_t bits = next(wide ? 8 : 4);
        long long value = wide ? static_cast<long long>(bits) : static_cast<std::int32_t>(bits);
        if (what.length == "h") value = static_cast<std::int16_t>(value);
        if (what.length == "hh") value = static_cast<std::int8_t>(value);
        out += print_one(what.text + "lld", value);
        break;
      }
      case 'u':
      case 'x':
      case 'X':
      case 'o': {
        std::uint64_t bits = next(wide ? 8 : 4);
        if (!wide) bits = static_cast<std::uint32_t>(bits);
        if (what.length == "h") bits = static_cast<std::uint16_t>(bits);
        if (what.length == "hh") bits = static_cast<std::uint8_t>(bits);
        out += print_one(what.text + "ll" + what.conversion, static_cast<unsigned long long>(bits));
        break;
      }
      case 'c':
        out += print_one(what.text + "c", static_cast<int>(static_cast<std::uint8_t>(next(4))));
        break;
      case 'f':
      case 'F':
      case 'e':
      case 'E':
      case 'g':
      case 'G':
      case 'a':
      case 'A':
        out += print_one(what.text + what.conversion, std::bit_cast<double>(next(8)));
        break;
      case 's':
        out += print_one(what.text + "s", read_string(next(8)).c_str());
        break;
      case 'p': {
        const std::uint64_t address = next(8);
        out += address == 0 ? print_one(what.text + "s", "(nil)")
                            : print_one(what.text + "p", reinterpret_cast<void*>(address));
        break;
      }
      default:  // as CUDA does with what it does not know: the text itself
        out.append(format.substr(i, what.end - i));
        i = what.end;
        continue;
    }
    ++arguments;
    i = what.end;
  }
  return out;
}

}  // namespace tfusion::software::ptx
