// Floating-point handlers for any machine.

#pragma GCC optimize("O2", "no-math-errno", "no-trapping-math")

#include "lane_includes.hpp"

#define TFUSION_LANES lanes_baseline
#include "lane_core.hpp"
#include "lane_float.hpp"
#include "lane_formats.hpp"

namespace tfusion::software::ptx::lanes_baseline {

Handler float_handler(const Operation& operation) {
  return find_float(operation);
}

}  // namespace tfusion::software::ptx::lanes_baseline
