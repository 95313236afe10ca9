// Moves, logic, shifts, selection and comparison. Included by lanes_*.cpp.

namespace tfusion::software::ptx::TFUSION_LANES {
namespace {

struct Copy {
  template <class T>
  static T run(T a) {
    return a;
  }
};
struct And {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  static T run(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <class T>
  static T run(T a) {
    return static_cast<T>(~a);
  }
};
struct NotPred {
  static std::uint8_t run(std::uint8_t a) { return a ^ 1; }
};
struct Cnot {
  template <class T>
  static T run(T a) {
    return a == 0 ? T{1} : T{0};
  }
};
// Shifts by the width or more give 0, or the sign.
template <class T>
struct Shl {
  static T run(T a, std::uint32_t b) {
    return b < sizeof(T) * 8 ? static_cast<T>(a << (b & (sizeof(T) * 8 - 1))) : T{0};
  }
};
template <class T>
struct Shr {
  static T run(T a, std::uint32_t b) {
    constexpr std::uint32_t last = sizeof(T) * 8 - 1;
    if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> (b < last ? b : last));
    return b <= last ? static_cast<T>(a >> (b & last)) : T{0};
  }
};

void lop3(Lanes& l, const Instr& in) {
  using U = std::uint32_t;
  const U* const a = l.row<U>(in.a);
  const U* const b = l.row<U>(in.b);
  const U* const c = l.row<U>(in.c);
  U keep[8];
  for (int k = 0; k < 8; ++k) keep[k] = ((in.imm >> k) & 1) != 0 ? ~U{0} : U{0};
  for_lanes<U>(l, in.dst, [&](std::uint32_t i) {
    const U x = a[i];
    const U y = b[i];
    const U z = c[i];
    const U low = (((keep[0] & ~z) | (keep[1] & z)) & ~y) | (((keep[2] & ~z) | (keep[3] & z)) & y);
    const U high = (((keep[4] & ~z) | (keep[5] & z)) & ~y) | (((keep[6] & ~z) | (keep[7] & z)) & y);
    return (low & ~x) | (high & x);
  });
}

// in.imm: 0 generic, 1 f4e, 2 b4e, 3 rc8, 4 ecl, 5 ecr, 6 rc16
void prmt(Lanes& l, const Instr& in) {
  using U = std::uint32_t;
  const U* const a = l.row<U>(in.a);
  const U* const b = l.row<U>(in.b);
  const U* const c = l.row<U>(in.c);
  static constexpr U kSelectors[7][4] = {{0, 0, 0, 0},
                                         {0x3210, 0x4321, 0x5432, 0x6543},
                                         {0x5670, 0x6701, 0x7012, 0x0123},
                                         {0x0000, 0x1111, 0x2222, 0x3333},
                                         {0x3210, 0x3211, 0x3222, 0x3333},
                                         {0x0000, 0x1110, 0x2210, 0x3210},
                                         {0x1010, 0x3232, 0x1010, 0x3232}};
  const U* const special = in.imm == 0 ? nullptr : kSelectors[in.imm];
  for_lanes<U>(l, in.dst, [&](std::uint32_t i) {
    const std::uint64_t both = static_cast<std::uint64_t>(b[i]) << 32 | a[i];
    const U selector = special != nullptr ? special[c[i] & 3] : c[i];
    U result = 0;
    for (U k = 0; k < 4; ++k) {
      const U nibble = (selector >> (4 * k)) & 15;
      U byte = static_cast<U>(both >> (8 * (nibble & 7))) & 0xFF;
      if ((nibble & 8) != 0) byte = (byte & 0x80) != 0 ? 0xFF : 0;
      result |= byte << (8 * k);
    }
    return result;
  });
}

template <class T>
void select_by_predicate(Lanes& l, const Instr& in) {
  const T* const a = l.row<T>(in.a);
  const T* const b = l.row<T>(in.b);
  const std::uint8_t* const p = l.row<std::uint8_t>(in.c);
  for_lanes<T>(l, in.dst, [=](std::uint32_t i) { return p[i] != 0 ? a[i] : b[i]; });
}
template <class T>
void select_by_sign(Lanes& l, const Instr& in) {  // slct.s32
  const T* const a = l.row<T>(in.a);
  const T* const b = l.row<T>(in.b);
  const std::uint32_t* const c = l.row<std::uint32_t>(in.c);
  for_lanes<T>(l, in.dst,
               [=](std::uint32_t i) { return static_cast<std::int32_t>(c[i]) >= 0 ? a[i] : b[i]; });
}
template <class T>
void select_by_float(Lanes& l, const Instr& in) {  // slct.f32; a NaN selects b
  const T* const a = l.row<T>(in.a);
  const T* const b = l.row<T>(in.b);
  const std::uint32_t* const c = l.row<std::uint32_t>(in.c);
  const bool flush = in.imm != 0;
  for_lanes<T>(l, in.dst, [=](std::uint32_t i) {
    const float value = std::bit_cast<float>(c[i]);
    const bool zero = flush && std::fabs(value) < std::numeric_limits<float>::min();
    return value >= 0.0f || zero ? a[i] : b[i];
  });
}

template <class Small, class Large>
void pack(Lanes& l, const Instr& in) {
  const Small* parts[sizeof(Large) / sizeof(Small)];
  constexpr std::uint32_t count = sizeof(Large) / sizeof(Small);
  for (std::uint32_t k = 0; k < count; ++k) parts[k] = l.row<Small>(l.row_list[in.list + k]);
  for_lanes<Large>(l, in.dst, [&](std::uint32_t i) {
    Large result = 0;
    for (std::uint32_t k = 0; k < count; ++k) {
      result = static_cast<Large>(
          result | static_cast<Large>(static_cast<Large>(parts[k][i]) << (k * sizeof(Small) * 8)));
    }
    return result;
  });
}
// One part of a wide value: part number imm.
template <class Small, class Large>
void unpack(Lanes& l, const Instr& in) {
  const Large* const a = l.row<Large>(in.a);
  const auto shift = static_cast<std::uint32_t>(in.imm) * static_cast<std::uint32_t>(sizeof(Small) * 8);
  for_lanes<Small>(l, in.dst, [=](std::uint32_t i) { return static_cast<Small>(a[i] >> shift); });
}
template <class S, class D>
struct Extend {
  static Unsigned<D> run(S a) { return static_cast<Unsigned<D>>(static_cast<D>(a)); }
};

// --- comparison

template <Compare C>
struct IntCompare {
  template <class T>
  static bool run(T a, T b) {
    using U = Unsigned<T>;
    if constexpr (C == Compare::eq) return a == b;
    if constexpr (C == Compare::ne) return a != b;
    if constexpr (C == Compare::lt) return a < b;
    if constexpr (C == Compare::le) return a <= b;
    if constexpr (C == Compare::gt) return a > b;
    if constexpr (C == Compare::ge) return a >= b;
    if constexpr (C == Compare::lo) return U(a) < U(b);
    if constexpr (C == Compare::ls) return U(a) <= U(b);
    if constexpr (C == Compare::hi) return U(a) > U(b);
    if constexpr (C == Compare::hs) return U(a) >= U(b);
    return false;
  }
};
template <Compare C>
struct FloatCompare {
  template <class T>
  static bool run(T a, T b) {
    const bool unordered = a != a || b != b;
    if constexpr (C == Compare::eq) return a == b;
    if constexpr (C == Compare::ne) return !unordered && a != b;
    if constexpr (C == Compare::lt) return a < b;
    if constexpr (C == Compare::le) return a <= b;
    if constexpr (C == Compare::gt) return a > b;
    if constexpr (C == Compare::ge) return a >= b;
    if constexpr (C == Compare::equ) return unordered || a == b;
    if constexpr (C == Compare::neu) return unordered || a != b;
    if constexpr (C == Compare::ltu) return unordered || a < b;
    if constexpr (C == Compare::leu) return unordered || a <= b;
    if constexpr (C == Compare::gtu) return unordered || a > b;
    if constexpr (C == Compare::geu) return unordered || a >= b;
    if constexpr (C == Compare::num) return !unordered;
    if constexpr (C == Compare::nan) return unordered;
    return false;
  }
};

template <class T, Compare C>
void compare_ints(Lanes& l, const Instr& in) {
  const Bits<T>* const a = l.row<Bits<T>>(in.a);
  const Bits<T>* const b = l.row<Bits<T>>(in.b);
  for_lanes<std::uint8_t>(l, in.dst, [=](std::uint32_t i) {
    return static_cast<std::uint8_t>(IntCompare<C>::run(value_of<T>(a[i]), value_of<T>(b[i])));
  });
}
template <class F, Compare C, bool Flush>
void compare_floats(Lanes& l, const Instr& in) {
  const typename F::Bits* const a = l.row<typename F::Bits>(in.a);
  const typename F::Bits* const b = l.row<typename F::Bits>(in.b);
  for_lanes<std::uint8_t>(l, in.dst, [=](std::uint32_t i) {
    return static_cast<std::uint8_t>(
        FloatCompare<C>::run(F::template load<Flush>(a[i]), F::template load<Flush>(b[i])));
  });
}

template <class Pick>
Handler by_compare(Compare compare, Pick pick) {
  switch (compare) {
    case Compare::eq:
      return pick(std::integral_constant<Compare, Compare::eq>{});
    case Compare::ne:
      return pick(std::integral_constant<Compare, Compare::ne>{});
    case Compare::lt:
      return pick(std::integral_constant<Compare, Compare::lt>{});
    case Compare::le:
      return pick(std::integral_constant<Compare, Compare::le>{});
    case Compare::gt:
      return pick(std::integral_constant<Compare, Compare::gt>{});
    case Compare::ge:
      return pick(std::integral_constant<Compare, Compare::ge>{});
    case Compare::lo:
      return pick(std::integral_constant<Compare, Compare::lo>{});
    case Compare::ls:
      return pick(std::integral_constant<Compare, Compare::ls>{});
    case Compare::hi:
      return pick(std::integral_constant<Compare, Compare::hi>{});
    case Compare::hs:
      return pick(std::integral_constant<Compare, Compare::hs>{});
    case Compare::equ:
      return pick(std::integral_constant<Compare, Compare::equ>{});
    case Compare::neu:
      return pick(std::integral_constant<Compare, Compare::neu>{});
    case Compare::ltu:
      return pick(std::integral_constant<Compare, Compare::ltu>{});
    case Compare::leu:
      return pick(std::integral_constant<Compare, Compare::leu>{});
    case Compare::gtu:
      return pick(std::integral_constant<Compare, Compare::gtu>{});
    case Compare::geu:
      return pick(std::integral_constant<Compare, Compare::geu>{});
    case Compare::num:
      return pick(std::integral_constant<Compare, Compare::num>{});
    case Compare::nan:
      return pick(std::integral_constant<Compare, Compare::nan>{});
  }
  return nullptr;
}

Handler find_compare(const Operation& o) {
  return by_compare(o.compare, [&](auto tag) -> Handler {
    constexpr Compare C = decltype(tag)::value;
    switch (o.type) {
      case Type::f32:
        return o.flush ? &compare_floats<F32, C, true> : &compare_floats<F32, C, false>;
      case Type::f64:
        return &compare_floats<F64, C, false>;
      case Type::f16:
        return o.flush ? &compare_floats<F16, C, true> : &compare_floats<F16, C, false>;
      case Type::bf16:
        return &compare_floats<BF16, C, false>;
      default:
        break;
    }
    if constexpr (C <= Compare::hs) {
      return by_integer(
          o.type, [](auto int_tag) -> Handler { return &compare_ints<typename decltype(int_tag)::type, C>; });
    }
    return nullptr;
  });
}

template <class F>
Handler bits_binary(Type type) {
  return by_width(type, [](auto tag) -> Handler {
    using T = typename decltype(tag)::type;
    struct Run {
      static T run(T a, T b) { return F::template run<T>(a, b); }
    };
    return &binary<Run, T, T, T>;
  });
}
template <class F>
Handler bits_unary(Type type) {
  return by_width(type, [](auto tag) -> Handler {
    using T = typename decltype(tag)::type;
    return &unary<F, T, T>;
  });
}

template <bool Signed>
Handler find_extend(const Operation& o) {
  return by_width(o.source, [&](auto from) -> Handler {
    using U = typename decltype(from)::type;
    using S = std::conditional_t<Signed, std::make_signed_t<U>, U>;
    return by_width(o.type, [](auto to) -> Handler {
      using V = typename decltype(to)::type;
      using D = std::conditional_t<Signed, std::make_signed_t<V>, V>;
      return &unary<Extend<S, D>, V, S>;
    });
  });
}

// o.source: the type of the parts.
template <class Pick>
Handler by_split(const Operation& o, Pick pick) {
  const std::uint32_t large = type_bytes(o.type);
  const std::uint32_t small = type_bytes(o.source);
  if (large == 8 && small == 4) return pick(Tag<std::uint32_t>{}, Tag<std::uint64_t>{});
  if (large == 8 && small == 2) return pick(Tag<std::uint16_t>{}, Tag<std::uint64_t>{});
  if (large == 8 && small == 1) return pick(Tag<std::uint8_t>{}, Tag<std::uint64_t>{});
  if (large == 4 && small == 2) return pick(Tag<std::uint16_t>{}, Tag<std::uint32_t>{});
  if (large == 4 && small == 1) return pick(Tag<std::uint8_t>{}, Tag<std::uint32_t>{});
  if (large == 2 && small == 1) return pick(Tag<std::uint8_t>{}, Tag<std::uint16_t>{});
  return nullptr;
}

Handler find_logic(const Operation& o) {
  switch (o.op) {
    case Op::copy:
      return bits_unary<Copy>(o.type);
    case Op::zero_extend:
      return find_extend<false>(o);
    case Op::sign_extend:
      return find_extend<true>(o);
    case Op::pack:
      return by_split(o, [](auto small, auto large) -> Handler {
        return &pack<typename decltype(small)::type, typename decltype(large)::type>;
      });
    case Op::unpack:
      return by_split(o, [](auto small, auto large) -> Handler {
        return &unpack<typename decltype(small)::type, typename decltype(large)::type>;
      });
    case Op::select:
      return by_width(o.type,
                      [](auto tag) -> Handler { return &select_by_predicate<typename decltype(tag)::type>; });
    case Op::slct:
      return by_width(o.type, [&](auto tag) -> Handler {
        using T = typename decltype(tag)::type;
        return o.source == Type::f32 ? &select_by_float<T> : &select_by_sign<T>;
      });
    case Op::and_:
      return bits_binary<And>(o.type);
    case Op::or_:
      return bits_binary<Or>(o.type);
    case Op::xor_:
      return bits_binary<Xor>(o.type);
    case Op::not_:
      return o.type == Type::pred ? &unary<NotPred, std::uint8_t, std::uint8_t> : bits_unary<Not>(o.type);
    case Op::cnot:
      return bits_unary<Cnot>(o.type);
    case Op::lop3:
      return &lop3;
    case Op::prmt:
      return &prmt;
    case Op::shl:
      return by_width(o.type, [](auto tag) -> Handler {
        using T = typename decltype(tag)::type;
        return &binary<Shl<T>, T, T, std::uint32_t>;
      });
    case Op::shr:
      return by_integer(o.type, [](auto tag) -> Handler {
        using T = typename decltype(tag)::type;
        return &binary<Shr<T>, T, T, std::uint32_t>;
      });
    case Op::setp:
      return find_compare(o);
    default:
      return nullptr;
  }
}

}  // namespace
}  // namespace tfusion::software::ptx::TFUSION_LANES
