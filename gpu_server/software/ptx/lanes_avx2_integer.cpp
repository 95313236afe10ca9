// Integer handlers for x86-64 machines with AVX2, FMA and F16C.

#if defined(__x86_64__)
// Neither errno nor floating-point traps are looked at: the compiler may turn branches into selections.
#pragma GCC optimize("O3", "no-math-errno", "no-trapping-math")

#include "lane_includes.hpp"

#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt")
#define TFUSION_LANES lanes_avx2
// These build on each other, in this order.
// clang-format off
#include "lane_core.hpp"
#include "lane_bits.hpp"
#include "lane_integer.hpp"
// clang-format on

namespace tfusion::software::ptx::lanes_avx2 {

Handler integer_handler(const Operation& operation) {
  return find_integer(operation);
}

}  // namespace tfusion::software::ptx::lanes_avx2
#endif
