// cvt between every pair of numeric types. Included by lanes_*.cpp.
//
// The handler's source and result rows have exactly the types' widths; in.imm is the rounding of a conversion
// that rounds to a floating-point number in a directed mode.

namespace tfusion::software::ptx::TFUSION_LANES {
namespace {

template <class S, class D, bool Sat>
struct IntToInt {
  static D run(S a) {
    if constexpr (Sat) {
      if (std::cmp_less(a, std::numeric_limits<D>::min())) return std::numeric_limits<D>::min();
      if (std::cmp_greater(a, std::numeric_limits<D>::max())) return std::numeric_limits<D>::max();
    }
    return static_cast<D>(a);
  }
};

template <Rounding R, class M>
inline M round_integral(M value) {
  if constexpr (R == Rounding::rni) return std::nearbyint(value);
  if constexpr (R == Rounding::rzi) return std::trunc(value);
  if constexpr (R == Rounding::rmi) return std::floor(value);
  if constexpr (R == Rounding::rpi) return std::ceil(value);
  return value;
}

// Out-of-range values become the nearest integer of the type. NaN becomes 0, or the type's highest bit where
// the source or the result has 64 bits (measured on hardware).
template <class F, class D, Rounding R, bool Flush>
struct FloatToInt {
  static D run(typename F::Bits a) {
    using M = double;
    const M value = round_integral<R>(static_cast<M>(F::template load<Flush>(a)));
    constexpr M low = static_cast<M>(std::numeric_limits<D>::min());
    constexpr M above = -2 * static_cast<M>(std::numeric_limits<std::make_signed_t<D>>::min()) *
                        (std::is_signed_v<D> ? M{0.5} : M{1});
    constexpr bool long_form = sizeof(D) == 8 || sizeof(typename F::Bits) == 8;
    if (value != value) return long_form ? static_cast<D>(std::uint64_t{1} << (sizeof(D) * 8 - 1)) : D{0};
    if (value <= low) return std::numeric_limits<D>::min();
    if (value >= above) return std::numeric_limits<D>::max();
    return static_cast<D>(value);
  }
};

template <class S, class F, bool Sat>
struct IntToFloat {
  static typename F::Bits run(S a) {
    if constexpr (sizeof(typename F::Bits) == 2) {
      return F::template store<false, Sat>(to_odd_float(static_cast<double>(a)));
    } else {
      return F::template store<false, Sat>(static_cast<typename F::Math>(a));
    }
  }
};

template <class S, class D, Rounding R, bool Flush, bool Sat>
struct FloatToFloat {
  static typename D::Bits run(typename S::Bits a) {
    const auto value = round_integral<R>(S::template load<Flush>(a));
    if constexpr (sizeof(typename S::Bits) == 8 && sizeof(typename D::Bits) == 2) {
      return D::template store<Flush, Sat>(to_odd_float(value));
    } else if constexpr (std::is_same_v<S, F64> && std::is_same_v<D, F32> && !Flush && !Sat) {
      return std::bit_cast<std::uint32_t>(static_cast<float>(value));  // NaNs keep their payload
    } else {
      return D::template store<Flush, Sat>(static_cast<typename D::Math>(value));
    }
  }
};

// Rounding modes that the machine has, for results of 32 and 64 bits.
template <class S, class D, bool Flush, bool Sat>
__attribute__((noinline)) void convert_directed(Lanes& l, const Instr& in) {
  const Bits<S>* const a = l.row<Bits<S>>(in.a);
  typename D::Bits results[kMaxLanes];
  const int before = std::fegetround();
  std::fesetround(static_cast<int>(in.imm));
  for (std::uint32_t i = 0; i < l.width; ++i) {
    volatile S source = value_of<S>(a[i]);
    volatile typename D::Math value = static_cast<typename D::Math>(source);
    results[i] = D::template store<Flush, Sat>(value);
  }
  std::fesetround(before);
  for_lanes<typename D::Bits>(l, in.dst, [&](std::uint32_t i) { return results[i]; });
}

// To f16 and bf16 in a directed mode: the nearest, moved by one place if it lies on the wrong side.
template <class S, class D, bool Sat>
void narrow_directed(Lanes& l, const Instr& in) {
  const Bits<S>* const a = l.row<Bits<S>>(in.a);
  for_lanes<typename D::Bits>(l, in.dst, [=](std::uint32_t i) {
    const double value = static_cast<double>(value_of<S>(a[i]));
    auto bits = D::template store<false, false>(to_odd_float(value));
    const auto near = static_cast<double>(D::template load<false>(bits));
    const bool up = near > value;
    const bool down = near < value;
    const bool negative = (bits & D::kSign) != 0;
    const bool shrink = in.imm == FE_TOWARDZERO ? (negative ? down : up)
                        : in.imm == FE_DOWNWARD ? (!negative && up)
                                                : (negative && down);
    const bool grow = in.imm == FE_DOWNWARD ? (negative && up)
                      : in.imm == FE_UPWARD ? (!negative && down)
                                            : false;
    if (shrink) bits = static_cast<typename D::Bits>(bits - 1);
    if (grow) bits = static_cast<typename D::Bits>(bits + 1);
    if constexpr (Sat) bits = D::template store<false, true>(D::template load<false>(bits));
    return bits;
  });
}

template <class Pick>
Handler by_any_integer(Type type, Pick pick) {
  switch (type) {
    case Type::u8:
    case Type::b8:
      return pick(Tag<std::uint8_t>{});
    case Type::s8:
      return pick(Tag<std::int8_t>{});
    default:
      return by_integer(type, pick);
  }
}
template <class Pick>
Handler by_float(Type type, Pick pick) {
  switch (type) {
    case Type::f16:
      return pick(Tag<F16>{});
    case Type::bf16:
      return pick(Tag<BF16>{});
    case Type::f32:
      return pick(Tag<F32>{});
    case Type::f64:
      return pick(Tag<F64>{});
    default:
      return nullptr;
  }
}
template <class Pick>
Handler by_integral_rounding(Rounding rounding, Pick pick) {
  switch (rounding) {
    case Rounding::rni:
      return pick(std::integral_constant<Rounding, Rounding::rni>{});
    case Rounding::rzi:
      return pick(std::integral_constant<Rounding, Rounding::rzi>{});
    case Rounding::rmi:
      return pick(std::integral_constant<Rounding, Rounding::rmi>{});
    case Rounding::rpi:
      return pick(std::integral_constant<Rounding, Rounding::rpi>{});
    default:
      return pick(std::integral_constant<Rounding, Rounding::none>{});
  }
}

template <class S, class D>
Handler find_directed_convert(const Operation& o) {
  if constexpr (sizeof(typename D::Bits) == 2) {
    return o.saturate ? &narrow_directed<S, D, true> : &narrow_directed<S, D, false>;
  } else {
    if (o.flush)
      return o.saturate ? &convert_directed<S, D, true, true> : &convert_directed<S, D, true, false>;
    return o.saturate ? &convert_directed<S, D, false, true> : &convert_directed<S, D, false, false>;
  }
}

Handler find_convert(const Operation& o) {
  const bool directed_mode =
      o.rounding == Rounding::rz || o.rounding == Rounding::rm || o.rounding == Rounding::rp;
  if (!is_float(o.source) && !is_float(o.type)) {
    return by_any_integer(o.source, [&](auto from) -> Handler {
      using S = typename decltype(from)::type;
      return by_any_integer(o.type, [&](auto to) -> Handler {
        using D = typename decltype(to)::type;
        return o.saturate ? &unary<IntToInt<S, D, true>, D, S> : &unary<IntToInt<S, D, false>, D, S>;
      });
    });
  }
  if (!is_float(o.source)) {
    return by_any_integer(o.source, [&](auto from) -> Handler {
      using S = typename decltype(from)::type;
      return by_float(o.type, [&](auto to) -> Handler {
        using D = typename decltype(to)::type;
        if (directed_mode) return find_directed_convert<S, D>(o);
        return o.saturate ? &unary<IntToFloat<S, D, true>, typename D::Bits, S>
                          : &unary<IntToFloat<S, D, false>, typename D::Bits, S>;
      });
    });
  }
  if (!is_float(o.type)) {
    return by_float(o.source, [&](auto from) -> Handler {
      using S = typename decltype(from)::type;
      return by_any_integer(o.type, [&](auto to) -> Handler {
        using D = typename decltype(to)::type;
        return by_integral_rounding(o.rounding, [&](auto mode) -> Handler {
          constexpr Rounding R = decltype(mode)::value;
          if constexpr (R == Rounding::none) return nullptr;
          if constexpr (!std::is_same_v<S, F32>)
            return &unary<FloatToInt<S, D, R, false>, D, typename S::Bits>;
          return o.flush ? &unary<FloatToInt<S, D, R, true>, D, typename S::Bits>
                         : &unary<FloatToInt<S, D, R, false>, D, typename S::Bits>;
        });
      });
    });
  }
  return by_float(o.source, [&](auto from) -> Handler {
    using S = typename decltype(from)::type;
    return by_float(o.type, [&](auto to) -> Handler {
      using D = typename decltype(to)::type;
      if (directed_mode) {
        if constexpr (sizeof(typename S::Bits) > sizeof(typename D::Bits)) {
          return find_directed_convert<typename S::Math, D>(o);
        }
        return nullptr;
      }
      return by_integral_rounding(o.rounding, [&](auto mode) -> Handler {
        constexpr Rounding R = decltype(mode)::value;
        using B = typename D::Bits;
        using A = typename S::Bits;
        // Rounding to an integral value goes with a conversion to the same type.
        if constexpr (R != Rounding::none && !std::is_same_v<S, D>) return nullptr;
        if (o.flush) {
          return o.saturate ? &unary<FloatToFloat<S, D, R, true, true>, B, A>
                            : &unary<FloatToFloat<S, D, R, true, false>, B, A>;
        }
        return o.saturate ? &unary<FloatToFloat<S, D, R, false, true>, B, A>
                          : &unary<FloatToFloat<S, D, R, false, false>, B, A>;
      });
    });
  });
}

}  // namespace
}  // namespace tfusion::software::ptx::TFUSION_LANES
