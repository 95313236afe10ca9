// Conversion handlers for any machine.

#pragma GCC optimize("O2", "no-math-errno", "no-trapping-math")

#include "lane_includes.hpp"

#define TFUSION_LANES lanes_baseline
#include "lane_convert.hpp"
#include "lane_core.hpp"
#include "lane_formats.hpp"

namespace tfusion::software::ptx::lanes_baseline {

Handler convert_handler(const Operation& operation) {
  return find_convert(operation);
}

}  // namespace tfusion::software::ptx::lanes_baseline
