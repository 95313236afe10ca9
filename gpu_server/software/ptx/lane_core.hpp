// The loops over lanes that every handler of the lane_*.hpp families is made of.
//
// Included once for each instruction set by lanes_*.cpp, which defines TFUSION_LANES as the namespace of its
// copy. All names are internal, so that no code of one instruction set can stand in for another's.

#include "lane_includes.hpp"

namespace tfusion::software::ptx::TFUSION_LANES {
namespace {

// A row's storage type: rows of a width are always read and written as the same unsigned integer.
template <std::size_t Bytes>
struct Storage;
template <>
struct Storage<1> {
  using Bits = std::uint8_t;
};
template <>
struct Storage<2> {
  using Bits = std::uint16_t;
};
template <>
struct Storage<4> {
  using Bits = std::uint32_t;
};
template <>
struct Storage<8> {
  using Bits = std::uint64_t;
};
template <class T>
using Bits = typename Storage<sizeof(T)>::Bits;

template <class T>
inline T value_of(Bits<T> bits) {
  return std::bit_cast<T>(bits);
}
template <class T>
inline Bits<T> bits_of(T value) {
  return std::bit_cast<Bits<T>>(value);
}

template <class B>
__attribute__((noinline)) void blend(B* out, const B* result, std::uint32_t mask) {
#pragma GCC ivdep
  for (std::uint32_t i = 0; i < kWarp; ++i) out[i] = ((mask >> i) & 1) != 0 ? result[i] : out[i];
}

// Calls body(lane) -> D for 32 lanes at a time. Full warps are written in place; of others only the lanes of
// `fill`.
template <class D, class Body>
inline void for_lanes(Lanes& l, std::uint32_t dst, Body body) {
  Bits<D>* const rows = l.row<Bits<D>>(dst);
  Bits<D> scratch[kWarp];
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    const std::uint32_t mask = l.fill[w];
    if (mask == 0) continue;
    const bool full = mask == ~std::uint32_t{0};
    const std::uint32_t first = w * kWarp;
    Bits<D>* const out = full ? rows + first : scratch;
#pragma GCC ivdep
    for (std::uint32_t i = 0; i < kWarp; ++i) out[i] = bits_of<D>(body(first + i));
    if (!full) blend(rows + first, scratch, mask);
  }
}

// dst = F::run(a), F::run(a, b) ... where F is a stateless type.
template <class F, class D, class A>
void unary(Lanes& l, const Instr& in) {
  const Bits<A>* const a = l.row<Bits<A>>(in.a);
  for_lanes<D>(l, in.dst, [=](std::uint32_t i) { return static_cast<D>(F::run(value_of<A>(a[i]))); });
}
template <class F, class D, class A, class B>
void binary(Lanes& l, const Instr& in) {
  const Bits<A>* const a = l.row<Bits<A>>(in.a);
  const Bits<B>* const b = l.row<Bits<B>>(in.b);
  for_lanes<D>(l, in.dst,
               [=](std::uint32_t i) { return static_cast<D>(F::run(value_of<A>(a[i]), value_of<B>(b[i]))); });
}
template <class F, class D, class A, class B, class C>
void ternary(Lanes& l, const Instr& in) {
  const Bits<A>* const a = l.row<Bits<A>>(in.a);
  const Bits<B>* const b = l.row<Bits<B>>(in.b);
  const Bits<C>* const c = l.row<Bits<C>>(in.c);
  for_lanes<D>(l, in.dst, [=](std::uint32_t i) {
    return static_cast<D>(F::run(value_of<A>(a[i]), value_of<B>(b[i]), value_of<C>(c[i])));
  });
}

template <class T>
struct Tag {
  using type = T;
};

// pick(Tag<uint32_t>{}) and so on for the integer type of a PTX type; untyped bits count as unsigned.
template <class Pick>
Handler by_integer(Type type, Pick pick) {
  switch (type) {
    case Type::u16:
    case Type::b16:
      return pick(Tag<std::uint16_t>{});
    case Type::u32:
    case Type::b32:
      return pick(Tag<std::uint32_t>{});
    case Type::u64:
    case Type::b64:
      return pick(Tag<std::uint64_t>{});
    case Type::s16:
      return pick(Tag<std::int16_t>{});
    case Type::s32:
      return pick(Tag<std::int32_t>{});
    case Type::s64:
      return pick(Tag<std::int64_t>{});
    default:
      return nullptr;
  }
}

// The same by width alone, predicates too.
template <class Pick>
Handler by_width(Type type, Pick pick) {
  switch (type_bytes(type)) {
    case 1:
      return pick(Tag<std::uint8_t>{});
    case 2:
      return pick(Tag<std::uint16_t>{});
    case 4:
      return pick(Tag<std::uint32_t>{});
    case 8:
      return pick(Tag<std::uint64_t>{});
    default:
      return nullptr;
  }
}

template <class T>
using Unsigned = std::make_unsigned_t<T>;

// The integer type of twice the width.
template <class T>
struct Wide;
template <>
struct Wide<std::uint16_t> {
  using type = std::uint32_t;
};
template <>
struct Wide<std::uint32_t> {
  using type = std::uint64_t;
};
template <>
struct Wide<std::uint64_t> {
  __extension__ using type = unsigned __int128;
};
template <>
struct Wide<std::int16_t> {
  using type = std::int32_t;
};
template <>
struct Wide<std::int32_t> {
  using type = std::int64_t;
};
template <>
struct Wide<std::int64_t> {
  __extension__ using type = __int128;
};

}  // namespace
}  // namespace tfusion::software::ptx::TFUSION_LANES
