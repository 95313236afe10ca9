// Integer arithmetic. Included by lanes_*.cpp.

namespace tfusion::software::ptx::TFUSION_LANES {
namespace {

// Arithmetic is done on unsigned integers at least 32 bits wide: signed overflow wraps in PTX.
template <class T>
using Work = std::conditional_t<(sizeof(T) < 4), std::uint32_t, Unsigned<T>>;

struct Add {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(Work<T>(a) + Work<T>(b));
  }
};
struct Sub {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(Work<T>(a) - Work<T>(b));
  }
};
struct MulLo {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(Work<T>(a) * Work<T>(b));
  }
};

template <class T>
T clamp_wide(typename Wide<T>::type value) {
  using W = typename Wide<T>::type;
  const W low = std::numeric_limits<T>::min();
  const W high = std::numeric_limits<T>::max();
  return static_cast<T>(value < low ? low : value > high ? high : value);
}
struct AddSat {
  template <class T>
  static T run(T a, T b) {
    return clamp_wide<T>(static_cast<typename Wide<T>::type>(a) + static_cast<typename Wide<T>::type>(b));
  }
};
struct SubSat {
  template <class T>
  static T run(T a, T b) {
    return clamp_wide<T>(static_cast<typename Wide<T>::type>(a) - static_cast<typename Wide<T>::type>(b));
  }
};
struct MulWide {
  template <class T>
  static typename Wide<T>::type run(T a, T b) {
    using W = typename Wide<T>::type;
    return static_cast<W>(static_cast<W>(a) * static_cast<W>(b));
  }
};
// Unsigned 16-bit factors are promoted to a signed int otherwise.
template <>
inline std::uint32_t MulWide::run<std::uint16_t>(std::uint16_t a, std::uint16_t b) {
  return static_cast<std::uint32_t>(a) * static_cast<std::uint32_t>(b);
}
struct MulHi {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(MulWide::run<T>(a, b) >> (sizeof(T) * 8));
  }
};
struct MadLo {
  template <class T>
  static T run(T a, T b, T c) {
    return static_cast<T>(Work<T>(a) * Work<T>(b) + Work<T>(c));
  }
};
struct MadHi {
  template <class T>
  static T run(T a, T b, T c) {
    return static_cast<T>(Work<T>(MulHi::run<T>(a, b)) + Work<T>(c));
  }
};
struct MadHiSat {
  template <class T>
  static T run(T a, T b, T c) {
    return AddSat::run<T>(MulHi::run<T>(a, b), c);
  }
};
template <class T>
struct MadWide {
  static typename Wide<T>::type run(T a, T b, typename Wide<T>::type c) {
    using U = Unsigned<typename Wide<T>::type>;
    return static_cast<typename Wide<T>::type>(static_cast<U>(MulWide::run<T>(a, b)) + static_cast<U>(c));
  }
};
template <class T>
inline std::int64_t low24(T a) {
  if constexpr (std::is_signed_v<T>)
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) << 40) >> 40;
  return static_cast<std::int64_t>(a & 0xFFFFFFu);
}
struct Mul24Lo {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(low24(a) * low24(b));
  }
};
struct Mul24Hi {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>((low24(a) * low24(b)) >> 16);
  }
};
struct Mad24Lo {
  template <class T>
  static T run(T a, T b, T c) {
    return Add::run<T>(Mul24Lo::run<T>(a, b), c);
  }
};
struct Mad24Hi {
  template <class T>
  static T run(T a, T b, T c) {
    return Add::run<T>(Mul24Hi::run<T>(a, b), c);
  }
};
struct Mad24HiSat {
  template <class T>
  static T run(T a, T b, T c) {
    return AddSat::run<T>(Mul24Hi::run<T>(a, b), c);
  }
};
struct Sad {
  template <class T>
  static T run(T a, T b, T c) {
    const Work<T> difference = a < b ? Work<T>(b) - Work<T>(a) : Work<T>(a) - Work<T>(b);
    return static_cast<T>(difference + Work<T>(c));
  }
};

// A zero divisor gives all ones, quotient and remainder, as the hardware does.
struct Div {
  template <class T>
  static T run(T a, T b) {
    if constexpr (sizeof(T) <= 4) {
      // 53 bits of quotient are enough to make the truncated 32-bit quotient exact.
      const double quotient = static_cast<double>(a) / static_cast<double>(b == 0 ? T{1} : b);
      const T exact = static_cast<T>(static_cast<std::int64_t>(quotient));
      return b == 0 ? static_cast<T>(-1) : exact;
    } else {
      if (b == 0) return static_cast<T>(-1);
      if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(Work<T>{0} - Work<T>(a));
      return static_cast<T>(a / b);
    }
  }
};
struct Rem {
  template <class T>
  static T run(T a, T b) {
    const T quotient = Div::run<T>(a, b);
    const T rest = static_cast<T>(Work<T>(a) - Work<T>(quotient) * Work<T>(b));
    return b == 0 ? static_cast<T>(-1) : rest;
  }
};
struct Abs {
  template <class T>
  static T run(T a) {
    return a < 0 ? static_cast<T>(Work<T>{0} - Work<T>(a)) : a;
  }
};
struct Neg {
  template <class T>
  static T run(T a) {
    return static_cast<T>(Work<T>{0} - Work<T>(a));
  }
};
struct Min {
  template <class T>
  static T run(T a, T b) {
    return a < b ? a : b;
  }
};
struct Max {
  template <class T>
  static T run(T a, T b) {
    return a > b ? a : b;
  }
};
struct MinRelu {
  template <class T>
  static T run(T a, T b) {
    return Max::run<T>(Min::run<T>(a, b), T{0});
  }
};
struct MaxRelu {
  template <class T>
  static T run(T a, T b) {
    return Max::run<T>(Max::run<T>(a, b), T{0});
  }
};
// The carry chain. `d` is the row of the carry that comes in, `dst2` of the one that goes out.
enum class Chain { add, sub, mad_lo, mad_hi };
template <class T, Chain Kind, bool In, bool Out>
void chain(Lanes& l, const Instr& in) {
  using U = Unsigned<T>;
  using W = typename Wide<U>::type;
  const Bits<T>* const a = l.row<Bits<T>>(in.a);
  const Bits<T>* const b = l.row<Bits<T>>(in.b);
  const Bits<T>* const c = Kind == Chain::mad_lo || Kind == Chain::mad_hi ? l.row<Bits<T>>(in.c) : nullptr;
  const std::uint8_t* const carry = In ? l.row<std::uint8_t>(in.d) : nullptr;
  U sums[kMaxLanes];
  std::uint8_t carries[kMaxLanes];
  for (std::uint32_t i = 0; i < l.width; ++i) {
    const W extra = In ? carry[i] : 0;
    W sum;
    if constexpr (Kind == Chain::add) {
      sum = static_cast<W>(static_cast<W>(U(a[i])) + U(b[i]) + extra);
    } else if constexpr (Kind == Chain::sub) {
      sum = static_cast<W>(static_cast<W>(U(a[i])) - U(b[i]) - extra);
    } else if constexpr (Kind == Chain::mad_lo) {
      sum = static_cast<W>(static_cast<W>(U(MulLo::run<T>(T(a[i]), T(b[i])))) + U(c[i]) + extra);
    } else {
      sum = static_cast<W>(static_cast<W>(U(MulHi::run<T>(T(a[i]), T(b[i])))) + U(c[i]) + extra);
    }
    sums[i] = static_cast<U>(sum);
    carries[i] = static_cast<std::uint8_t>((sum >> (sizeof(T) * 8)) & 1);
  }
  for_lanes<U>(l, in.dst, [&](std::uint32_t i) { return sums[i]; });
  if constexpr (Out) for_lanes<std::uint8_t>(l, in.dst2, [&](std::uint32_t i) { return carries[i]; });
}
template <class T, Chain Kind>
Handler pick_chain(const Operation& o) {
  if (o.carry_in) return o.carry_out ? &chain<T, Kind, true, true> : &chain<T, Kind, true, false>;
  return &chain<T, Kind, false, true>;
}
template <Chain Kind>
Handler find_chain(const Operation& o) {
  return by_integer(o.type, [&](auto tag) -> Handler {
    using T = typename decltype(tag)::type;
    if constexpr (sizeof(T) >= 4) return pick_chain<T, Kind>(o);
    return nullptr;
  });
}

template <class F>
Handler int_unary(Type type) {
  return by_integer(type, [](auto tag) -> Handler {
    using T = typename decltype(tag)::type;
    return &unary<F, T, T>;
  });
}
template <class F>
Handler int_binary(Type type) {
  return by_integer(type, [](auto tag) -> Handler {
    using T = typename decltype(tag)::type;
    struct Run {
      static T run(T a, T b) { return F::template run<T>(a, b); }
    };
    return &binary<Run, T, T, T>;
  });
}
template <class F>
Handler int_ternary(Type type) {
  return by_integer(type, [](auto tag) -> Handler {
    using T = typename decltype(tag)::type;
    struct Run {
      static T run(T a, T b, T c) { return F::template run<T>(a, b, c); }
    };
    return &ternary<Run, T, T, T, T>;
  });
}

template <class F>
Handler only32(Type type) {  // the instructions that exist for 32 bits alone
  if (type == Type::u32 || type == Type::b32) return int_binary<F>(Type::u32);
  if (type == Type::s32) return int_binary<F>(Type::s32);
  return nullptr;
}
template <class F>
Handler only32_3(Type type) {
  if (type == Type::u32 || type == Type::b32) return int_ternary<F>(Type::u32);
  if (type == Type::s32) return int_ternary<F>(Type::s32);
  return nullptr;
}

Handler find_wide(const Operation& o) {  // o.source: the factors' type
  return by_integer(o.source, [&](auto tag) -> Handler {
    using T = typename decltype(tag)::type;
    if constexpr (sizeof(T) < 8) {
      using W = typename Wide<T>::type;
      struct Run {
        static W run(T a, T b) { return MulWide::run<T>(a, b); }
      };
      if (o.op == Op::mul_wide) return &binary<Run, W, T, T>;
      return &ternary<MadWide<T>, W, T, T, W>;
    }
    return nullptr;
  });
}

template <class A>
Handler find_dot(const Operation& o) {
  const bool b_signed = is_signed(o.source);
  using A16 = std::conditional_t<std::is_signed_v<A>, std::int16_t, std::uint16_t>;
  using I = std::int8_t;
  using U = std::uint8_t;
  switch (o.op) {
    case Op::dp4a: {
      if (b_signed) return &ternary<Dp4a<A, I>, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
      return &ternary<Dp4a<A, U>, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
    }
    case Op::dp2a_lo: {
      if (b_signed)
        return &ternary<Dp2a<A16, I, 0>, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
      return &ternary<Dp2a<A16, U, 0>, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
    }
    default: {
      if (b_signed)
        return &ternary<Dp2a<A16, I, 1>, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
      return &ternary<Dp2a<A16, U, 1>, std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
    }
  }
}

Handler find_integer(const Operation& o) {
  if (is_float(o.type)) return nullptr;
  switch (o.op) {
    case Op::add:
      if (o.saturate) return o.type == Type::s32 ? int_binary<AddSat>(o.type) : nullptr;
      return int_binary<Add>(o.type);
    case Op::sub:
      if (o.saturate) return o.type == Type::s32 ? int_binary<SubSat>(o.type) : nullptr;
      return int_binary<Sub>(o.type);
    case Op::mul_lo:
      return int_binary<MulLo>(o.type);
    case Op::mul_hi:
      return int_binary<MulHi>(o.type);
    case Op::mul_wide:
    case Op::mad_wide:
      return find_wide(o);
    case Op::mul24_lo:
      return only32<Mul24Lo>(o.type);
    case Op::mul24_hi:
      return only32<Mul24Hi>(o.type);
    case Op::mad_lo:
      return int_ternary<MadLo>(o.type);
    case Op::mad_hi:
      if (o.saturate) return o.type == Type::s32 ? int_ternary<MadHiSat>(o.type) : nullptr;
      return int_ternary<MadHi>(o.type);
    case Op::mad24_lo:
      return only32_3<Mad24Lo>(o.type);
    case Op::mad24_hi:
      if (o.saturate) return o.type == Type::s32 ? int_ternary<Mad24HiSat>(o.type) : nullptr;
      return only32_3<Mad24Hi>(o.type);
    case Op::sad:
      return int_ternary<Sad>(o.type);
    case Op::div:
      return int_binary<Div>(o.type);
    case Op::rem:
      return int_binary<Rem>(o.type);
    case Op::abs:
      return is_signed(o.type) ? int_unary<Abs>(o.type) : nullptr;
    case Op::neg:
      return is_signed(o.type) ? int_unary<Neg>(o.type) : nullptr;
    case Op::min:
      return o.relu ? int_binary<MinRelu>(o.type) : int_binary<Min>(o.type);
    case Op::max:
      return o.relu ? int_binary<MaxRelu>(o.type) : int_binary<Max>(o.type);
    case Op::dp4a:
    case Op::dp2a_lo:
    case Op::dp2a_hi:
      return is_signed(o.type) ? find_dot<std::int8_t>(o) : find_dot<std::uint8_t>(o);
    case Op::add_carry:
      return find_chain<Chain::add>(o);
    case Op::sub_borrow:
      return find_chain<Chain::sub>(o);
    case Op::mad_lo_carry:
      return find_chain<Chain::mad_lo>(o);
    case Op::mad_hi_carry:
      return find_chain<Chain::mad_hi>(o);
    default:
      return find_bits(o);
  }
}

}  // namespace
}  // namespace tfusion::software::ptx::TFUSION_LANES
