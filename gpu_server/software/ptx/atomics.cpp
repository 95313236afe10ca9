// atom and red.
//
// A block runs on one machine thread, so shared memory needs no atomic instructions; global memory is shared
// with other blocks. Lanes of a warp act one after the other.

#include <atomic>

#include "handlers.hpp"
#include "lane_includes.hpp"

#define TFUSION_LANES lanes_atomics
#include "lane_formats.hpp"

namespace tfusion::software::ptx {

namespace {

using lanes_atomics::BF16;
using lanes_atomics::F16;
using lanes_atomics::F32;
using lanes_atomics::F64;

template <AtomicOp Op, class T>
std::make_unsigned_t<T> combine(T old, T b, T c) {
  using U = std::make_unsigned_t<T>;
  if constexpr (Op == AtomicOp::add) return static_cast<U>(static_cast<U>(old) + static_cast<U>(b));
  if constexpr (Op == AtomicOp::exch) return static_cast<U>(b);
  if constexpr (Op == AtomicOp::cas) return static_cast<U>(old == b ? c : old);
  if constexpr (Op == AtomicOp::min) return static_cast<U>(old < b ? old : b);
  if constexpr (Op == AtomicOp::max) return static_cast<U>(old > b ? old : b);
  if constexpr (Op == AtomicOp::inc) return static_cast<U>(old >= b ? 0 : old + 1);
  if constexpr (Op == AtomicOp::dec) return static_cast<U>(old == 0 || old > b ? b : old - 1);
  if constexpr (Op == AtomicOp::and_) return static_cast<U>(old & b);
  if constexpr (Op == AtomicOp::or_) return static_cast<U>(old | b);
  if constexpr (Op == AtomicOp::xor_) return static_cast<U>(old ^ b);
}

template <AtomicOp Op, class T>
struct Integer {
  using Bits = std::make_unsigned_t<T>;
  static Bits run(Bits old, Bits b, Bits c) {
    return combine<Op, T>(static_cast<T>(old), static_cast<T>(b), static_cast<T>(c));
  }
};
template <class F>
struct FloatAdd {
  using Bits = typename F::Bits;
  static Bits run(Bits old, Bits b, Bits) {
    return F::template store<false, false>(F::template load<false>(old) + F::template load<false>(b));
  }
};
template <class F>
struct PackedAdd {
  using Bits = std::uint32_t;
  static Bits run(Bits old, Bits b, Bits) {
    const auto half = [](Bits x, Bits y) {
      return static_cast<Bits>(
          FloatAdd<F>::run(static_cast<std::uint16_t>(x), static_cast<std::uint16_t>(y), 0));
    };
    return half(old, b) | half(old >> 16, b >> 16) << 16;
  }
};

template <class Action, bool Shared>
void atomic(Lanes& l, const Instr& in) {
  using B = typename Action::Bits;
  const std::uint64_t* const addresses = l.row<std::uint64_t>(in.a);
  const B* const b = l.row<B>(in.b);
  const B* const c = in.c == kNoRow ? b : l.row<B>(in.c);
  B* const out = in.dst == kNoRow ? nullptr : l.row<B>(in.dst);
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    for (std::uint32_t rest = l.exec[w]; rest != 0; rest &= rest - 1) {
      const std::uint32_t lane = w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest));
      const std::uint64_t address = addresses[lane] + static_cast<std::uint64_t>(in.imm);
      auto* const at = reinterpret_cast<B*>(
          resolve(l, Shared ? Space::shared : Space::generic, lane, address, sizeof(B), true));
      B old;
      if constexpr (Shared) {
        old = *at;
        *at = Action::run(old, b[lane], c[lane]);
      } else {
        std::atomic_ref<B> value(*at);
        old = value.load(std::memory_order_relaxed);
        while (!value.compare_exchange_weak(old, Action::run(old, b[lane], c[lane]),
                                            std::memory_order_seq_cst)) {
        }
      }
      if (out != nullptr) out[lane] = old;
    }
  }
}

// Sums of integers in global memory: one machine instruction.
template <class B>
void atomic_add(Lanes& l, const Instr& in) {
  const std::uint64_t* const addresses = l.row<std::uint64_t>(in.a);
  const B* const b = l.row<B>(in.b);
  B* const out = in.dst == kNoRow ? nullptr : l.row<B>(in.dst);
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    for (std::uint32_t rest = l.exec[w]; rest != 0; rest &= rest - 1) {
      const std::uint32_t lane = w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest));
      const std::uint64_t address = addresses[lane] + static_cast<std::uint64_t>(in.imm);
      std::atomic_ref<B> value(
          *reinterpret_cast<B*>(resolve(l, Space::generic, lane, address, sizeof(B), true)));
      const B old = value.fetch_add(b[lane], std::memory_order_seq_cst);
      if (out != nullptr) out[lane] = old;
    }
  }
}

template <class Action>
Handler in_space(Space space) {
  return space == Space::shared ? &atomic<Action, true> : &atomic<Action, false>;
}

template <AtomicOp Op>
Handler of_type(Type type, Space space, bool sixteen) {
  switch (type) {
    case Type::u32:
    case Type::b32:
      return in_space<Integer<Op, std::uint32_t>>(space);
    case Type::s32:
      return in_space<Integer<Op, std::int32_t>>(space);
    case Type::u64:
    case Type::b64:
      return in_space<Integer<Op, std::uint64_t>>(space);
    case Type::s64:
      return in_space<Integer<Op, std::int64_t>>(space);
    case Type::b16:
    case Type::u16:
      return sixteen ? in_space<Integer<Op, std::uint16_t>>(space) : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace

Handler find_atomic(AtomicOp op, Type type, Space space) {
  switch (op) {
    case AtomicOp::add:
      if (type == Type::f32) return in_space<FloatAdd<F32>>(space);
      if (type == Type::f64) return in_space<FloatAdd<F64>>(space);
      if (type == Type::f16) return in_space<FloatAdd<F16>>(space);
      if (type == Type::bf16) return in_space<FloatAdd<BF16>>(space);
      if (type == Type::f16x2) return in_space<PackedAdd<F16>>(space);
      if (type == Type::bf16x2) return in_space<PackedAdd<BF16>>(space);
      if (space != Space::shared && type_bytes(type) == 4) return &atomic_add<std::uint32_t>;
      if (space != Space::shared && type_bytes(type) == 8) return &atomic_add<std::uint64_t>;
      return of_type<AtomicOp::add>(type, space, false);
    case AtomicOp::exch:
      return of_type<AtomicOp::exch>(type, space, false);
    case AtomicOp::cas:
      return of_type<AtomicOp::cas>(type, space, true);
    case AtomicOp::min:
      return of_type<AtomicOp::min>(type, space, false);
    case AtomicOp::max:
      return of_type<AtomicOp::max>(type, space, false);
    case AtomicOp::inc:
      return type == Type::u32 ? of_type<AtomicOp::inc>(type, space, false) : nullptr;
    case AtomicOp::dec:
      return type == Type::u32 ? of_type<AtomicOp::dec>(type, space, false) : nullptr;
    case AtomicOp::and_:
      return of_type<AtomicOp::and_>(type, space, false);
    case AtomicOp::or_:
      return of_type<AtomicOp::or_>(type, space, false);
    case AtomicOp::xor_:
      return of_type<AtomicOp::xor_>(type, space, false);
  }
  return nullptr;
}

}  // namespace tfusion::software::ptx
