// Integer handlers for any machine.

#pragma GCC optimize("O2", "no-math-errno", "no-trapping-math")

#include "lane_includes.hpp"

#define TFUSION_LANES lanes_baseline
// These build on each other, in this order.
// clang-format off
#include "lane_core.hpp"
#include "lane_bits.hpp"
#include "lane_integer.hpp"
// clang-format on

namespace tfusion::software::ptx::lanes_baseline {

Handler integer_handler(const Operation& operation) {
  return find_integer(operation);
}

}  // namespace tfusion::software::ptx::lanes_baseline
