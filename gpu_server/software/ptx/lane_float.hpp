// Floating-point arithmetic on the formats of lane_formats.hpp. Included by lanes_*.cpp.

namespace tfusion::software::ptx::TFUSION_LANES {
namespace {

// --- the operations, on a format's Math type

struct FAdd {
  template <class M>
  static M run(M a, M b) {
    return a + b;
  }
};
struct FSub {
  template <class M>
  static M run(M a, M b) {
    return a - b;
  }
};
struct FMul {
  template <class M>
  static M run(M a, M b) {
    return a * b;
  }
};
struct FDiv {
  template <class M>
  static M run(M a, M b) {
    return a / b;
  }
};
struct FSqrt {
  template <class M>
  static M run(M a) {
    return std::sqrt(a);
  }
};
struct FRcp {
  template <class M>
  static M run(M a) {
    return M{1} / a;
  }
};
struct FRsqrt {
  template <class M>
  static M run(M a) {
    return M{1} / std::sqrt(a);
  }
};
struct FSin {
  template <class M>
  static M run(M a) {
    return std::sin(a);
  }
};
struct FCos {
  template <class M>
  static M run(M a) {
    return std::cos(a);
  }
};
struct FEx2 {
  template <class M>
  static M run(M a) {
    return std::exp2(a);
  }
};
struct FLg2 {
  template <class M>
  static M run(M a) {
    return std::log2(a);
  }
};
struct FTanh {
  template <class M>
  static M run(M a) {
    return std::tanh(a);
  }
};
// The smaller (greater) number; a NaN only if both are; -0 is less than +0.
struct FMin {
  template <class M>
  static M run(M a, M b) {
    const M less = a < b || (a == b && std::signbit(a)) ? a : b;
    return a != a ? b : b != b ? a : less;
  }
};
struct FMax {
  template <class M>
  static M run(M a, M b) {
    const M more = a > b || (a == b && !std::signbit(a)) ? a : b;
    return a != a ? b : b != b ? a : more;
  }
};
struct FMinNan {
  template <class M>
  static M run(M a, M b) {
    return a != a ? a : b != b ? b : FMin::run<M>(a, b);
  }
};
struct FMaxNan {
  template <class M>
  static M run(M a, M b) {
    return a != a ? a : b != b ? b : FMax::run<M>(a, b);
  }
};
struct FDivFull {
  template <class M>
  static M run(M a, M b) {
    return a / b;
  }
};

template <class F, class Math, bool Flush, bool Sat>
struct Unary {
  using Bits = typename F::Bits;
  static Bits run(Bits a) {
    return F::template store<Flush, Sat>(Math::template run<typename F::Math>(F::template load<Flush>(a)));
  }
};
template <class F, class Math, bool Flush, bool Sat>
struct Binary {
  using Bits = typename F::Bits;
  static Bits run(Bits a, Bits b) {
    return F::template store<Flush, Sat>(
        Math::template run<typename F::Math>(F::template load<Flush>(a), F::template load<Flush>(b)));
  }
};
template <class F, bool Flush, bool Sat, bool Relu>
struct Fma {
  using Bits = typename F::Bits;
  static Bits run(Bits a, Bits b, Bits c) {
    const auto x = F::template load<Flush>(a);
    const auto y = F::template load<Flush>(b);
    const auto z = F::template load<Flush>(c);
    typename F::Math value;
    if constexpr (sizeof(Bits) == 2) {
      value =
          to_odd_float(fma_to_odd(static_cast<double>(x), static_cast<double>(y), static_cast<double>(z)));
    } else {
      value = std::fma(x, y, z);
    }
    if (Relu && value < 0) value = 0;
    return F::template store<Flush, Sat>(value);
  }
};
// .relu of min and max; .xorsign.abs
template <class F, class Math>
struct XorSignAbs {
  using Bits = typename F::Bits;
  static Bits run(Bits a, Bits b) {
    const auto magnitude = static_cast<Bits>(~F::kSign);
    const Bits value = Binary<F, Math, false, false>::run(static_cast<Bits>(a & magnitude),
                                                          static_cast<Bits>(b & magnitude));
    return static_cast<Bits>(value | ((a ^ b) & F::kSign));
  }
};
template <class F, bool Flush>
struct FAbs {
  using Bits = typename F::Bits;
  static Bits run(Bits a) {
    if (Flush) a = F::template store<true, false>(F::template load<true>(a));
    return static_cast<Bits>(a & static_cast<Bits>(~F::kSign));
  }
};
template <class F, bool Flush>
struct FNeg {
  using Bits = typename F::Bits;
  static Bits run(Bits a) {
    if (Flush) a = F::template store<true, false>(F::template load<true>(a));
    return static_cast<Bits>(a ^ F::kSign);
  }
};
template <class F>
struct Copysign {  // copysign d, a, b: the sign of a, the magnitude of b
  using Bits = typename F::Bits;
  static Bits run(Bits a, Bits b) {
    return static_cast<Bits>((a & F::kSign) | (b & static_cast<Bits>(~F::kSign)));
  }
};
// The 64-bit approximations look at the upper half of their argument alone and leave the lower half of the
// result 0.
template <class Math>
struct UpperHalf {
  static std::uint64_t run(std::uint64_t a) {
    const double value = flush(std::bit_cast<double>(a & 0xFFFFFFFF00000000u));
    if (value != value) return 0x7FFFFFFF00000000u;
    return std::bit_cast<std::uint64_t>(flush(Math::template run<double>(value))) & 0xFFFFFFFF00000000u;
  }
};

template <class T, Test Asked>
struct TestValue {
  static bool run(T a) {
    if constexpr (Asked == Test::finite) return std::fabs(a) <= std::numeric_limits<T>::max();
    if constexpr (Asked == Test::infinite) return std::fabs(a) > std::numeric_limits<T>::max();
    if constexpr (Asked == Test::number) return a == a;
    if constexpr (Asked == Test::notanumber) return a != a;
    // PTX counts zero as normal.
    const bool small = std::fabs(a) < std::numeric_limits<T>::min() && a != T{0};
    if constexpr (Asked == Test::normal) return std::fabs(a) <= std::numeric_limits<T>::max() && !small;
    if constexpr (Asked == Test::subnormal) return small;
  }
};
template <class T>
Handler find_test(Test test) {
  switch (test) {
    case Test::finite:
      return &unary<TestValue<T, Test::finite>, std::uint8_t, T>;
    case Test::infinite:
      return &unary<TestValue<T, Test::infinite>, std::uint8_t, T>;
    case Test::number:
      return &unary<TestValue<T, Test::number>, std::uint8_t, T>;
    case Test::notanumber:
      return &unary<TestValue<T, Test::notanumber>, std::uint8_t, T>;
    case Test::normal:
      return &unary<TestValue<T, Test::normal>, std::uint8_t, T>;
    case Test::subnormal:
      return &unary<TestValue<T, Test::subnormal>, std::uint8_t, T>;
  }
  return nullptr;
}

// Both halves of a packed register.
template <class Scalar>
struct Packed {
  using U = std::uint32_t;
  static std::uint16_t low(U a) { return static_cast<std::uint16_t>(a); }
  static std::uint16_t high(U a) { return static_cast<std::uint16_t>(a >> 16); }
  static U join(std::uint16_t l, std::uint16_t h) { return static_cast<U>(l) | static_cast<U>(h) << 16; }
  static U run(U a) { return join(Scalar::run(low(a)), Scalar::run(high(a))); }
  static U run(U a, U b) { return join(Scalar::run(low(a), low(b)), Scalar::run(high(a), high(b))); }
  static U run(U a, U b, U c) {
    return join(Scalar::run(low(a), low(b), low(c)), Scalar::run(high(a), high(b), high(c)));
  }
};

// --- directed roundings: the machine's rounding mode is changed around the loop

enum class Arithmetic { add, sub, mul, div, rcp, sqrt, fma };

template <class F, Arithmetic Kind, bool Flush, bool Sat>
__attribute__((noinline)) void directed(Lanes& l, const Instr& in) {
  using B = typename F::Bits;
  const B* const a = l.row<B>(in.a);
  const B* const b = in.b == kNoRow ? a : l.row<B>(in.b);
  const B* const c = in.c == kNoRow ? a : l.row<B>(in.c);
  B results[kMaxLanes];
  const int before = std::fegetround();
  std::fesetround(static_cast<int>(in.imm));
  for (std::uint32_t i = 0; i < l.width; ++i) {
    // volatile: no computation may leave the changed mode
    volatile typename F::Math x = F::template load<Flush>(a[i]);
    volatile typename F::Math y = F::template load<Flush>(b[i]);
    volatile typename F::Math z = F::template load<Flush>(c[i]);
    volatile typename F::Math value;
    switch (Kind) {
      case Arithmetic::add:
        value = x + y;
        break;
      case Arithmetic::sub:
        value = x - y;
        break;
      case Arithmetic::mul:
        value = x * y;
        break;
      case Arithmetic::div:
        value = x / y;
        break;
      case Arithmetic::rcp:
        value = 1 / x;
        break;
      case Arithmetic::sqrt:
        value = std::sqrt(x);
        break;
      case Arithmetic::fma:
        value = std::fma(x, y, z);
        break;
    }
    results[i] = F::template store<Flush, Sat>(value);
  }
  std::fesetround(before);
  for_lanes<B>(l, in.dst, [&](std::uint32_t i) { return results[i]; });
}

template <class F, Arithmetic Kind>
Handler find_directed(const Operation& o) {
  if (o.flush) return o.saturate ? &directed<F, Kind, true, true> : &directed<F, Kind, true, false>;
  return o.saturate ? &directed<F, Kind, false, true> : &directed<F, Kind, false, false>;
}
template <class F>
Handler find_directed(const Operation& o) {
  switch (o.op) {
    case Op::add:
      return find_directed<F, Arithmetic::add>(o);
    case Op::sub:
      return find_directed<F, Arithmetic::sub>(o);
    case Op::mul:
      return find_directed<F, Arithmetic::mul>(o);
    case Op::div:
      return find_directed<F, Arithmetic::div>(o);
    case Op::rcp:
      return find_directed<F, Arithmetic::rcp>(o);
    case Op::sqrt:
      return find_directed<F, Arithmetic::sqrt>(o);
    case Op::fma:
      return find_directed<F, Arithmetic::fma>(o);
    default:
      return nullptr;
  }
}

// --- choice

template <class Run, class F>
Handler unary_handler(bool packed) {
  if constexpr (sizeof(typename F::Bits) == 2) {
    if (packed) return &unary<Packed<Run>, std::uint32_t, std::uint32_t>;
  }
  return &unary<Run, typename F::Bits, typename F::Bits>;
}
template <class Run, class F>
Handler binary_handler(bool packed) {
  using B = typename F::Bits;
  if constexpr (sizeof(B) == 2) {
    if (packed) return &binary<Packed<Run>, std::uint32_t, std::uint32_t, std::uint32_t>;
  }
  return &binary<Run, B, B, B>;
}
template <class Run, class F>
Handler ternary_handler(bool packed) {
  using B = typename F::Bits;
  if constexpr (sizeof(B) == 2) {
    if (packed) return &ternary<Packed<Run>, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
  }
  return &ternary<Run, B, B, B, B>;
}

template <class F, class Math>
Handler float_unary(const Operation& o, bool packed) {
  if (o.flush)
    return o.saturate ? unary_handler<Unary<F, Math, true, true>, F>(packed)
                      : unary_handler<Unary<F, Math, true, false>, F>(packed);
  return o.saturate ? unary_handler<Unary<F, Math, false, true>, F>(packed)
                    : unary_handler<Unary<F, Math, false, false>, F>(packed);
}
template <class F, class Math>
Handler float_binary(const Operation& o, bool packed) {
  if (o.flush)
    return o.saturate ? binary_handler<Binary<F, Math, true, true>, F>(packed)
                      : binary_handler<Binary<F, Math, true, false>, F>(packed);
  return o.saturate ? binary_handler<Binary<F, Math, false, true>, F>(packed)
                    : binary_handler<Binary<F, Math, false, false>, F>(packed);
}
template <class F>
Handler float_fma(const Operation& o, bool packed) {
  if (o.relu) return ternary_handler<Fma<F, false, false, true>, F>(packed);
  if (o.flush)
    return o.saturate ? ternary_handler<Fma<F, true, true, false>, F>(packed)
                      : ternary_handler<Fma<F, true, false, false>, F>(packed);
  return o.saturate ? ternary_handler<Fma<F, false, true, false>, F>(packed)
                    : ternary_handler<Fma<F, false, false, false>, F>(packed);
}
template <class F, class Plain, class Nan>
Handler float_min_max(const Operation& o, bool packed) {
  if (o.xor_sign)
    return o.nan ? binary_handler<XorSignAbs<F, Nan>, F>(packed)
                 : binary_handler<XorSignAbs<F, Plain>, F>(packed);
  return o.nan ? float_binary<F, Nan>(o, packed) : float_binary<F, Plain>(o, packed);
}

template <class F>
Handler find_float_of(const Operation& o, bool packed) {
  constexpr bool is_half = sizeof(typename F::Bits) == 2;
  constexpr bool is_double = sizeof(typename F::Bits) == 8;
  if (o.rounding == Rounding::rz || o.rounding == Rounding::rm || o.rounding == Rounding::rp) {
    if constexpr (!is_half) return find_directed<F>(o);
    return nullptr;
  }
  switch (o.op) {
    case Op::add:
      return float_binary<F, FAdd>(o, packed);
    case Op::sub:
      return float_binary<F, FSub>(o, packed);
    case Op::mul:
      return float_binary<F, FMul>(o, packed);
    case Op::div:
    case Op::div_full:
      if constexpr (!is_half) return float_binary<F, FDiv>(o, packed);
      return nullptr;
    case Op::fma:
      return float_fma<F>(o, packed);
    case Op::min:
      return float_min_max<F, FMin, FMinNan>(o, packed);
    case Op::max:
      return float_min_max<F, FMax, FMaxNan>(o, packed);
    case Op::abs:
      return o.flush ? unary_handler<FAbs<F, true>, F>(packed) : unary_handler<FAbs<F, false>, F>(packed);
    case Op::neg:
      return o.flush ? unary_handler<FNeg<F, true>, F>(packed) : unary_handler<FNeg<F, false>, F>(packed);
    case Op::ex2:
      return is_double ? nullptr : float_unary<F, FEx2>(o, packed);
    case Op::tanh:
      return is_double ? nullptr : float_unary<F, FTanh>(o, packed);
    default:
      break;
  }
  if constexpr (!is_half) {
    switch (o.op) {
      case Op::rcp:
        if constexpr (is_double) {
          if (o.approx) return &unary<UpperHalf<FRcp>, std::uint64_t, std::uint64_t>;
        }
        return float_unary<F, FRcp>(o, false);
      case Op::rsqrt:
        if constexpr (is_double) {
          if (o.flush) return &unary<UpperHalf<FRsqrt>, std::uint64_t, std::uint64_t>;
        }
        return float_unary<F, FRsqrt>(o, false);
      case Op::sqrt:
        return float_unary<F, FSqrt>(o, false);
      case Op::sin:
        return is_double ? nullptr : float_unary<F, FSin>(o, false);
      case Op::cos:
        return is_double ? nullptr : float_unary<F, FCos>(o, false);
      case Op::lg2:
        return is_double ? nullptr : float_unary<F, FLg2>(o, false);
      case Op::copysign:
        return binary_handler<Copysign<F>, F>(false);
      case Op::testp:
        return find_test<typename F::Math>(o.test);
      default:
        break;
    }
  }
  return nullptr;
}

Handler find_float(const Operation& o) {
  switch (o.type) {
    case Type::f32:
      return find_float_of<F32>(o, false);
    case Type::f64:
      return find_float_of<F64>(o, false);
    case Type::f16:
      return find_float_of<F16>(o, false);
    case Type::f16x2:
      return find_float_of<F16>(o, true);
    case Type::bf16:
      return find_float_of<BF16>(o, false);
    case Type::bf16x2:
      return find_float_of<BF16>(o, true);
    default:
      return nullptr;
  }
}

}  // namespace
}  // namespace tfusion::software::ptx::TFUSION_LANES
