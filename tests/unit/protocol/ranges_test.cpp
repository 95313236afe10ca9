// The free ranges of both heaps (src/ranges.hpp) against a model that knows each unit by itself.
#include "src/ranges.hpp"

#include <cstdint>
#include <random>
#include <vector>

#include "check.hpp"

using namespace tfusion::hook;

namespace {

constexpr std::uint64_t kUnits = 200;

// Whether the ranges are exactly the free units, in order, apart, none empty.
bool same(const Ranges& ranges, const std::vector<bool>& free) {
  std::vector<bool> seen(kUnits, false);
  std::uint64_t reached = 0;
  bool first = true;
  for (const auto& [start, bytes] : ranges) {
    if (bytes == 0 || start + bytes > kUnits || (!first && start <= reached))
      return false;  // neighbours are joined
    for (std::uint64_t unit = start; unit < start + bytes; ++unit) seen[unit] = true;
    reached = start + bytes;
    first = false;
  }
  return seen == free;
}

}  // namespace

TEST(random_operations_against_a_model) {
  std::mt19937 random(7);
  auto below = [&](std::uint64_t n) { return std::uint64_t{random()} % n; };
  for (int round = 0; round < 50; ++round) {
    Ranges ranges{{0, kUnits}};
    std::vector<bool> free(kUnits, true);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
    for (int step = 0; step < 400; ++step) {
      const std::uint64_t bytes = 1 + below(step % 7 == 0 ? 60 : 8);
      const auto what = below(5);
      if (what < 2) {
        // First fit: the lowest place that holds it.
        std::uint64_t expected = kUnits, run = 0;
        for (std::uint64_t unit = 0; unit < kUnits && expected == kUnits; ++unit) {
          run = free[unit] ? run + 1 : 0;
          if (run == bytes) expected = unit + 1 - bytes;
        }
        std::uint64_t start = 0;
        CHECK_EQ(take_first(ranges, bytes, &start), expected != kUnits);
        if (expected != kUnits) {
          CHECK_EQ(start, expected);
          for (std::uint64_t unit = start; unit < start + bytes; ++unit) free[unit] = false;
          taken.emplace_back(start, bytes);
        }
      } else if (what < 4 && !taken.empty()) {
        const auto which = static_cast<std::ptrdiff_t>(below(taken.size()));
        const auto [start, length] = taken[static_cast<std::size_t>(which)];
        taken.erase(taken.begin() + which);
        for (std::uint64_t unit = start; unit < start + length; ++unit) free[unit] = true;
        const auto joined = give_back(ranges, start, length);
        CHECK(joined->first <= start && start + length <= joined->first + joined->second);
      } else if (!ranges.empty()) {
        const auto range = std::next(ranges.begin(), static_cast<std::ptrdiff_t>(below(ranges.size())));
        const std::uint64_t length = 1 + below(range->second);
        const std::uint64_t start = range->first + below(range->second - length + 1);
        cut(ranges, range, start, length);
        for (std::uint64_t unit = start; unit < start + length; ++unit) free[unit] = false;
        taken.emplace_back(start, length);
      }
      CHECK(same(ranges, free));
      if (check::failures > 0) return;
    }
    while (!taken.empty()) give_back(ranges, taken.back().first, taken.back().second), taken.pop_back();
    CHECK(ranges == (Ranges{{0, kUnits}}));
  }
}

TEST(nothing_fits_into_nothing) {
  Ranges none;
  std::uint64_t start = 5;
  CHECK(!take_first(none, 1, &start));
  CHECK_EQ(start, 5u);
}
