// The time that may go into changing mappings (gpu_server/replay/mapping_budget.hpp).
#include "replay/mapping_budget.hpp"

#include "check.hpp"

using tfusion::replay::MappingBudget;

namespace {

constexpr std::uint64_t kMs = 1'000'000;

}  // namespace

TEST(a_beginning_may_take_a_tenth_of_a_second_at_once) {
  MappingBudget budget;
  CHECK(budget.closed_for_ns(1'000 * kMs) == 0);
  budget.spend(1'100 * kMs, 100 * kMs);
  CHECK(budget.closed_for_ns(1'100 * kMs) == 0);
  budget.spend(1'101 * kMs, 1 * kMs);
  CHECK(budget.closed_for_ns(1'101 * kMs) > 0);
}

TEST(a_loop_gets_a_sixteenth_of_the_time) {
  MappingBudget budget;
  std::uint64_t now = 1'000 * kMs, spent = 0;
  const std::uint64_t end = now + 100'000 * kMs;
  while (now < end) {
    now += budget.closed_for_ns(now);
    CHECK(budget.closed_for_ns(now) == 0);
    now += 1 * kMs;
    budget.spend(now, 1 * kMs);
    spent += 1 * kMs;
  }
  CHECK(spent > 6'000 * kMs && spent < 6'500 * kMs);
}

TEST(a_wait_is_never_long_and_no_more_than_the_most_is_saved) {
  MappingBudget budget;
  budget.spend(1'000 * kMs, 60'000 * kMs);  // a program alone for a minute, or one huge piece
  CHECK(budget.closed_for_ns(1'000 * kMs) == MappingBudget::kMostWaitNs);
  budget.spend(1'000 * kMs, ~std::uint64_t{0});
  const std::uint64_t closed = budget.closed_for_ns(1'000 * kMs);
  CHECK(closed == MappingBudget::kMostWaitNs);
  CHECK(budget.closed_for_ns(1'000 * kMs + closed) == 0);
  CHECK(budget.closed_for_ns(1ull << 62) == 0);
  budget.spend((1ull << 62) + 1, 101 * kMs);
  CHECK(budget.closed_for_ns((1ull << 62) + 1) > 0);
}
