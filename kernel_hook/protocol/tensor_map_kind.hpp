// The values of TensorMapEncode's `kind`.
#pragma once

#include <cstdint>

namespace tfusion::wire {

inline constexpr std::uint32_t kTensorMapTiled = 0;
inline constexpr std::uint32_t kTensorMapIm2col = 1;

}  // namespace tfusion::wire
