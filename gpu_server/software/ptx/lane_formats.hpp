// Floating-point formats: how the bits of a row become a number to compute with, and back.
//
// Included by lanes_*.cpp for each instruction set, and by atomics.cpp. f16 and bf16 are computed in a wider
// format that makes the second rounding harmless.

namespace tfusion::software::ptx::TFUSION_LANES {
namespace {

inline float half_to_float(std::uint16_t half) {
  const std::uint32_t magnitude = half & 0x7FFFu;
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const std::uint32_t special = 0x7F800000u | (magnitude << 13);
  const std::uint32_t bits = magnitude >= 0x7C00u ? special : std::bit_cast<std::uint32_t>(scaled);
  return std::bit_cast<float>(bits | static_cast<std::uint32_t>(half & 0x8000u) << 16);
}

inline std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  const std::uint32_t normal = (magnitude + 0xC8000FFFu + ((magnitude >> 13) & 1)) >> 13;
  const std::uint32_t small =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
  std::uint32_t half = magnitude < 0x38800000u ? small : normal;
  half = magnitude >= 0x477FF000u ? 0x7C00u : half;
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  return static_cast<std::uint16_t>(magnitude > 0x7F800000u ? 0x7FFFu : half | sign);
}

inline float bfloat_to_float(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}
inline std::uint16_t float_to_bfloat(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1)) >> 16;
  return static_cast<std::uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FFFu : rounded);
}

// The float next to `value` that is odd in its last place unless it is exact: a further rounding is then
// correct.
inline float to_odd_float(double value) {
  const float near = static_cast<float>(value);
  const double back = static_cast<double>(near);
  std::uint32_t bits = std::bit_cast<std::uint32_t>(near);
  if (std::fabs(back) > std::fabs(value)) --bits;
  if (back != value) bits |= 1;
  return std::bit_cast<float>(bits);
}

// a * b + c in double, odd in its last place unless exact; exact products (a, b of at most 24 bits) are
// required.
inline double fma_to_odd(double a, double b, double c) {
  const double product = a * b;
  const double sum = product + c;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (c - part);
  std::uint64_t bits = std::bit_cast<std::uint64_t>(sum);
  const bool inexact = error != 0.0 && std::isfinite(sum);
  if (inexact && (bits & 1) == 0) bits += (error > 0.0) == (sum > 0.0) ? std::uint64_t{1} : ~std::uint64_t{0};
  return std::bit_cast<double>(bits);
}

template <class T>
inline T flush(T value) {
  return std::fabs(value) < std::numeric_limits<T>::min() ? std::copysign(T{0}, value) : value;
}
template <class T>
inline T saturate(T value) {  // NaN becomes 0
  value = value > T{0} ? value : T{0};
  return value < T{1} ? value : T{1};
}

struct F32 {
  using Bits = std::uint32_t;
  using Math = float;
  static constexpr Bits kSign = 0x80000000u;
  template <bool Flush>
  static Math load(Bits bits) {
    const float value = std::bit_cast<float>(bits);
    return Flush ? flush(value) : value;
  }
  template <bool Flush, bool Sat>
  static Bits store(Math value) {
    if (Flush) value = flush(value);
    if (Sat) value = saturate(value);
    return value == value ? std::bit_cast<Bits>(value) : 0x7FFFFFFFu;
  }
};
struct F64 {
  using Bits = std::uint64_t;
  using Math = double;
  static constexpr Bits kSign = std::uint64_t{1} << 63;
  template <bool>
  static Math load(Bits bits) {
    return std::bit_cast<double>(bits);
  }
  template <bool, bool Sat>
  static Bits store(Math value) {
    if (Sat) value = saturate(value);
    return std::bit_cast<Bits>(value);
  }
};
struct F16 {
  using Bits = std::uint16_t;
  using Math = float;
  static constexpr Bits kSign = 0x8000u;
  template <bool Flush>
  static Math load(Bits bits) {
    if (Flush && (bits & 0x7C00u) == 0) bits = static_cast<Bits>(bits & kSign);
    return half_to_float(bits);
  }
  template <bool Flush, bool Sat>
  static Bits store(Math value) {
    if (Sat) value = saturate(value);
    Bits bits = float_to_half(value);
    if (Flush && (bits & 0x7C00u) == 0) bits = static_cast<Bits>(bits & kSign);
    return bits;
  }
};
struct BF16 {
  using Bits = std::uint16_t;
  using Math = float;
  static constexpr Bits kSign = 0x8000u;
  template <bool>
  static Math load(Bits bits) {
    return bfloat_to_float(bits);
  }
  template <bool, bool Sat>
  static Bits store(Math value) {
    return float_to_bfloat(Sat ? saturate(value) : value);
  }
};

}  // namespace
}  // namespace tfusion::software::ptx::TFUSION_LANES
