#include "md2.hpp"

#include <cstddef>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

namespace tfusion::hook {

namespace {

using Hash16 = std::array<std::uint8_t, 16>;

// MD2's substitution table, made as RFC 1319 says it was: the digits of pi drive a shuffle of 0..255.
// (Durstenfeld's shuffle; each random number below n takes digits of pi in groups of as many decimal places
// as n needs, rejecting those that would be biased.)
class Md2 {
 public:
  static Hash16 hash(std::span<const std::uint8_t> message) {
    const std::size_t pad = 16 - message.size() % 16;
    std::vector<std::uint8_t> text(message.begin(), message.end());
    text.insert(text.end(), pad, static_cast<std::uint8_t>(pad));
    std::array<std::uint8_t, 16> checksum{};
    std::uint8_t last = 0;
    for (std::size_t at = 0; at < text.size(); at += 16) {
      for (std::size_t j = 0; j < 16; ++j)
        last = checksum[j] = checksum[j] ^ substitution()[text[at + j] ^ last];
    }
    text.insert(text.end(), checksum.begin(), checksum.end());
    std::array<std::uint8_t, 48> x{};
    for (std::size_t at = 0; at < text.size(); at += 16) {
      for (std::size_t j = 0; j < 16; ++j) {
        x[16 + j] = text[at + j];
        x[32 + j] = x[16 + j] ^ x[j];
      }
      unsigned t = 0;
      for (unsigned round = 0; round < 18; ++round) {
        for (std::uint8_t& value : x) value = static_cast<std::uint8_t>(value ^ substitution()[t]), t = value;
        t = (t + round) % 256;
      }
    }
    Hash16 digest;
    std::memcpy(digest.data(), x.data(), 16);
    return digest;
  }

 private:
  // By Machin's formula, pi = 16 atan(1/5) - 4 atan(1/239), in fixed point. The shuffle uses the first 722.
  static std::vector<std::uint8_t> digits_of_pi() {
    constexpr std::size_t kDigits = 800;
    using Big = std::vector<std::uint32_t>;  // base 10^4, most significant first; word 0 is the whole part
    constexpr std::size_t kWords = kDigits / 4 + 6;
    auto divide = [](Big& a, std::uint32_t by) {
      std::uint64_t rest = 0;
      for (std::uint32_t& w : a) {
        const std::uint64_t v = rest * 10000 + w;
        w = static_cast<std::uint32_t>(v / by);
        rest = v % by;
      }
    };
    auto arctan = [&](std::uint32_t inverse, std::uint32_t times) {
      Big sum(kWords, 0), power(kWords, 0);
      power[0] = times;
      divide(power, inverse);
      for (std::uint32_t k = 1; k < 2600; k += 2) {
        Big term = power;
        divide(term, k);
        std::int64_t carry = 0;
        for (std::size_t i = kWords; i-- > 0;) {
          std::int64_t v = static_cast<std::int64_t>(sum[i]) +
                           (k % 4 == 1 ? 1 : -1) * static_cast<std::int64_t>(term[i]) + carry;
          carry = 0;
          while (v < 0) v += 10000, --carry;
          while (v >= 10000) v -= 10000, ++carry;
          sum[i] = static_cast<std::uint32_t>(v);
        }
        divide(power, inverse);
        divide(power, inverse);
      }
      return sum;
    };
    const Big a = arctan(5, 16), b = arctan(239, 4);
    std::vector<std::uint8_t> digits;
    Big pi(kWords, 0);
    std::int64_t borrow = 0;
    for (std::size_t i = kWords; i-- > 0;) {
      std::int64_t v = static_cast<std::int64_t>(a[i]) - static_cast<std::int64_t>(b[i]) + borrow;
      borrow = v < 0 ? -1 : 0;
      pi[i] = static_cast<std::uint32_t>(v < 0 ? v + 10000 : v);
    }
    digits.push_back(3);
    for (std::size_t i = 1; i <= kDigits / 4; ++i) {
      for (std::uint32_t place = 1000; place > 0; place /= 10)
        digits.push_back(static_cast<std::uint8_t>(pi[i] / place % 10));
    }
    return digits;
  }

  static const std::array<std::uint8_t, 256>& substitution() {
    static const std::array<std::uint8_t, 256>& table = *new std::array<std::uint8_t, 256>([] {
      const std::vector<std::uint8_t> digits = digits_of_pi();
      std::size_t next = 0;
      auto random_below = [&](unsigned n) {
        for (;;) {
          unsigned value = digits[next++], range = 10;
          if (n > 10) value = value * 10 + digits[next++], range = 100;
          if (n > 100) value = value * 10 + digits[next++], range = 1000;
          if (value < n * (range / n)) return value % n;
        }
      };
      std::array<std::uint8_t, 256> s;
      std::iota(s.begin(), s.end(), std::uint8_t{0});
      for (unsigned i = 2; i <= 256; ++i) {
        const unsigned j = random_below(i);
        std::swap(s[j], s[i - 1]);
      }
      return s;
    }());
    return table;
  }
};

}  // namespace

std::array<std::uint8_t, 16> md2(std::span<const std::uint8_t> message) {
  return Md2::hash(message);
}

}  // namespace tfusion::hook
