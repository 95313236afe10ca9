// Chooses handlers by what the machine can do. TFUSION_PTX_BASELINE leaves the baseline alone, to test it
// anywhere.

#include "lane_tables.hpp"

namespace tfusion::software::ptx {

namespace {

using Family = Handler (*)(const Operation&);

// nullptr in the end: no family knows the operation.
Handler search(const Operation& operation, Family memory, Family convert, Family logic, Family integer,
               Family real) {
  if (const Handler handler = memory(operation)) return handler;
  if (operation.op == Op::convert) return convert(operation);
  if (const Handler handler = logic(operation)) return handler;
  if (const Handler handler = integer(operation)) return handler;
  return real(operation);
}

}  // namespace

Handler find_handler(const Operation& operation) {
#if defined(__x86_64__) && !defined(TFUSION_PTX_BASELINE)
  static const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                           __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2") &&
                           __builtin_cpu_supports("lzcnt");
  if (wide) {
    using namespace lanes_avx2;
    return search(operation, &memory_handler, &convert_handler, &logic_handler, &integer_handler,
                  &float_handler);
  }
#endif
  using namespace lanes_baseline;
  return search(operation, &memory_handler, &convert_handler, &logic_handler, &integer_handler,
                &float_handler);
}

}  // namespace tfusion::software::ptx
