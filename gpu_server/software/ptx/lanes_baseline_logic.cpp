// Logic, move and comparison handlers for any machine.

#pragma GCC optimize("O2", "no-math-errno", "no-trapping-math")

#include "lane_includes.hpp"

#define TFUSION_LANES lanes_baseline
#include "lane_core.hpp"
#include "lane_formats.hpp"
#include "lane_logic.hpp"

namespace tfusion::software::ptx::lanes_baseline {

Handler logic_handler(const Operation& operation) {
  return find_logic(operation);
}

}  // namespace tfusion::software::ptx::lanes_baseline
