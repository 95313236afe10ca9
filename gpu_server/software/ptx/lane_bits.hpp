// Bits: counting, fields, funnel shifts, masks, dot products of bytes. Included by lanes_*.cpp before
// lane_integer.hpp.

namespace tfusion::software::ptx::TFUSION_LANES {
namespace {

template <class T>
struct Popc {
  static std::uint32_t run(T a) { return static_cast<std::uint32_t>(std::popcount(a)); }
};
template <class T>
struct Clz {
  static std::uint32_t run(T a) { return static_cast<std::uint32_t>(std::countl_zero(a)); }
};
struct Brev {
  template <class T>
  static T run(T a) {
    if constexpr (sizeof(T) == 4) {
      a = ((a >> 1) & 0x55555555u) | ((a & 0x55555555u) << 1);
      a = ((a >> 2) & 0x33333333u) | ((a & 0x33333333u) << 2);
      a = ((a >> 4) & 0x0F0F0F0Fu) | ((a & 0x0F0F0F0Fu) << 4);
      return __builtin_bswap32(a);
    } else {
      const auto low = static_cast<std::uint32_t>(a);
      const auto high = static_cast<std::uint32_t>(a >> 32);
      return static_cast<T>(static_cast<std::uint64_t>(run<std::uint32_t>(low)) << 32 |
                            run<std::uint32_t>(high));
    }
  }
};
struct Bfe {
  template <class T>
  static T run(T a, std::uint32_t position, std::uint32_t length) {
    constexpr std::uint32_t width = sizeof(T) * 8;
    using U = Unsigned<T>;
    const std::uint32_t pos = position & 0xFF;
    const std::uint32_t len = length & 0xFF;
    const std::uint32_t sign = std::min(pos + len - 1, width - 1);
    const bool ones = std::is_signed_v<T> && len != 0 && ((U(a) >> (sign & (width - 1))) & 1) != 0;
    const U fill = ones ? static_cast<U>(~U{0}) : U{0};
    const std::uint32_t valid = pos < width ? std::min(len, width - pos) : 0;
    const U mask = valid >= width ? static_cast<U>(~U{0}) : static_cast<U>((U{1} << valid) - 1);
    const U field = pos < width ? static_cast<U>(U(a) >> pos) : U{0};
    return static_cast<T>((field & mask) | (fill & ~mask));
  }
};
struct BfiOf {
  template <class T>
  static T run(T a, T b, std::uint32_t position, std::uint32_t length) {
    constexpr std::uint32_t width = sizeof(T) * 8;
    const std::uint32_t pos = position & 0xFF;
    const std::uint32_t len = length & 0xFF;
    if (pos >= width || len == 0) return b;
    const T ones = len >= width ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << len) - 1);
    const T mask = static_cast<T>(ones << pos);
    return static_cast<T>((b & ~mask) | ((a << pos) & mask));
  }
};
template <class T>
void bfi(Lanes& l, const Instr& in) {
  const Bits<T>* const a = l.row<Bits<T>>(in.a);
  const Bits<T>* const b = l.row<Bits<T>>(in.b);
  const std::uint32_t* const c = l.row<std::uint32_t>(in.c);
  const std::uint32_t* const d = l.row<std::uint32_t>(in.d);
  for_lanes<T>(l, in.dst, [=](std::uint32_t i) { return BfiOf::run<T>(a[i], b[i], c[i], d[i]); });
}
template <class T, bool Shift>
struct Bfind {
  static std::uint32_t run(T value) {
    using U = Unsigned<T>;
    const U bits = value < 0 ? static_cast<U>(~U(value)) : U(value);
    if (bits == 0) return ~std::uint32_t{0};
    const auto leading = static_cast<std::uint32_t>(std::countl_zero(bits));
    return Shift ? leading : static_cast<std::uint32_t>(sizeof(T) * 8 - 1) - leading;
  }
};
struct Fns {
  static std::uint32_t run(std::uint32_t mask, std::uint32_t base, std::int32_t offset) {
    if (base > 31) return ~std::uint32_t{0};
    if (offset == 0) return ((mask >> base) & 1) != 0 ? base : ~std::uint32_t{0};
    std::int64_t left = offset > 0 ? offset : -static_cast<std::int64_t>(offset);
    const std::int32_t step = offset > 0 ? 1 : -1;
    for (auto position = static_cast<std::int32_t>(base); position >= 0 && position < 32; position += step) {
      if (((mask >> position) & 1) != 0 && --left == 0) return static_cast<std::uint32_t>(position);
    }
    return ~std::uint32_t{0};
  }
};
template <bool Wrap>
struct ShfLeft {
  static std::uint32_t run(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    const std::uint32_t n = Wrap ? c & 31 : std::min<std::uint32_t>(c, 32);
    const std::uint64_t both = static_cast<std::uint64_t>(b) << 32 | a;
    return static_cast<std::uint32_t>((both << n) >> 32);
  }
};
template <bool Wrap>
struct ShfRight {
  static std::uint32_t run(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    const std::uint32_t n = Wrap ? c & 31 : std::min<std::uint32_t>(c, 32);
    const std::uint64_t both = static_cast<std::uint64_t>(b) << 32 | a;
    return static_cast<std::uint32_t>(both >> n);
  }
};
template <class A, class B>
struct Dp4a {
  static std::uint32_t run(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    for (int i = 0; i < 4; ++i) {
      const auto x = static_cast<std::int32_t>(static_cast<A>(a >> (8 * i)));
      const auto y = static_cast<std::int32_t>(static_cast<B>(b >> (8 * i)));
      c += static_cast<std::uint32_t>(x * y);
    }
    return c;
  }
};
template <class A, class B, int Half>
struct Dp2a {
  static std::uint32_t run(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    for (int i = 0; i < 2; ++i) {
      const auto x = static_cast<std::int64_t>(static_cast<A>(a >> (16 * i)));
      const auto y = static_cast<std::int64_t>(static_cast<B>(b >> (16 * Half + 8 * i)));
      c += static_cast<std::uint32_t>(x * y);
    }
    return c;
  }
};
template <bool Wrap>
struct Bmsk {
  static std::uint32_t run(std::uint32_t a, std::uint32_t b) {
    if (Wrap) {
      a &= 31;
      b &= 31;
    } else {
      b = std::min<std::uint32_t>(b, 32);
      if (a > 31) return 0;
    }
    const std::uint64_t ones = ((std::uint64_t{1} << b) - 1) << a;
    return static_cast<std::uint32_t>(ones);
  }
};
template <class T, bool Wrap>
struct Szext {
  static T run(T a, std::uint32_t b) {
    const std::uint32_t n = Wrap ? b & 31 : std::min<std::uint32_t>(b, 32);
    if (n == 0) return 0;
    if (n == 32) return a;
    const Unsigned<T> up = static_cast<Unsigned<T>>(a) << (32 - n);
    return static_cast<T>(static_cast<T>(up) >> (32 - n));
  }
};

template <template <class> class F>
Handler count_bits(Type type) {
  if (type == Type::b32) return &unary<F<std::uint32_t>, std::uint32_t, std::uint32_t>;
  if (type == Type::b64) return &unary<F<std::uint64_t>, std::uint32_t, std::uint64_t>;
  return nullptr;
}

Handler find_bits(const Operation& o) {
  using U32 = std::uint32_t;
  switch (o.op) {
    case Op::popc:
      return count_bits<Popc>(o.type);
    case Op::clz:
      return count_bits<Clz>(o.type);
    case Op::brev:
      return o.type == Type::b32   ? &unary<Brev, U32, U32>
             : o.type == Type::b64 ? &unary<Brev, std::uint64_t, std::uint64_t>
                                   : nullptr;
    case Op::bfe:
      return by_integer(o.type, [](auto tag) -> Handler {
        using T = typename decltype(tag)::type;
        struct Run {
          static T run(T a, U32 b, U32 c) { return Bfe::run<T>(a, b, c); }
        };
        if constexpr (sizeof(T) >= 4) return &ternary<Run, T, T, U32, U32>;
        return nullptr;
      });
    case Op::bfi:
      return o.type == Type::b32 ? &bfi<U32> : o.type == Type::b64 ? &bfi<std::uint64_t> : nullptr;
    case Op::bfind:
    case Op::bfind_shift:
      return by_integer(o.type, [&](auto tag) -> Handler {
        using T = typename decltype(tag)::type;
        if constexpr (sizeof(T) >= 4) {
          return o.op == Op::bfind ? &unary<Bfind<T, false>, U32, T> : &unary<Bfind<T, true>, U32, T>;
        }
        return nullptr;
      });
    case Op::fns:
      return &ternary<Fns, U32, U32, U32, std::int32_t>;
    case Op::shf_left:
      return o.saturate ? &ternary<ShfLeft<true>, U32, U32, U32, U32>
                        : &ternary<ShfLeft<false>, U32, U32, U32, U32>;
    case Op::shf_right:
      return o.saturate ? &ternary<ShfRight<true>, U32, U32, U32, U32>
                        : &ternary<ShfRight<false>, U32, U32, U32, U32>;
    case Op::bmsk:
      return o.saturate ? &binary<Bmsk<true>, U32, U32, U32> : &binary<Bmsk<false>, U32, U32, U32>;
    case Op::szext:
      if (o.type == Type::u32)
        return o.saturate ? &binary<Szext<U32, true>, U32, U32, U32>
                          : &binary<Szext<U32, false>, U32, U32, U32>;
      if (o.type == Type::s32) {
        using I = std::int32_t;
        return o.saturate ? &binary<Szext<I, true>, I, I, U32> : &binary<Szext<I, false>, I, I, U32>;
      }
      return nullptr;
    default:
      return nullptr;
  }
}

}  // namespace
}  // namespace tfusion::software::ptx::TFUSION_LANES
