// The handlers of the instruction sets that this library was built for, by family.
#pragma once

#include "operation.hpp"

namespace tfusion::software::ptx {

namespace lanes_baseline {
Handler float_handler(const Operation& operation);
Handler integer_handler(const Operation& operation);
Handler logic_handler(const Operation& operation);
Handler convert_handler(const Operation& operation);
Handler memory_handler(const Operation& operation);
}  // namespace lanes_baseline
#if defined(__x86_64__)
namespace lanes_avx2 {
Handler float_handler(const Operation& operation);
Handler integer_handler(const Operation& operation);
Handler logic_handler(const Operation& operation);
Handler convert_handler(const Operation& operation);
Handler memory_handler(const Operation& operation);
}  // namespace lanes_avx2
#endif

}  // namespace tfusion::software::ptx
