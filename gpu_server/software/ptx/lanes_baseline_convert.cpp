// Conversion handlers for any machine.

#pragma GCC optimize("O2", "no-math-errno", "no-trapping-math")

#include "lane_includes.hpp"

#define TFUSION_LANES lanes_baseline
// These build on each other, in this order.
// clang-format off
#include "lane_core.hpp"
#include "lane_formats.hpp"
#include "lane_convert.hpp"
// clang-format on

namespace tfusion::software::ptx::lanes_baseline {

Handler convert_handler(const Operation& operation) {
  return find_convert(operation);
}

}  // namespace tfusion::software::ptx::lanes_baseline
