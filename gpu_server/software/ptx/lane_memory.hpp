// Loads and stores. Included by lanes_*.cpp.
//
// A warp whose lanes touch neighbouring or equal addresses is served by one check and one copy; lanes that
// touch addresses near each other share one check of the whole range; else each lane is checked (resolve()
// names the lane at fault). Generic addresses are taken for global ones at first; in.extra says which they
// are.

namespace tfusion::software::ptx::TFUSION_LANES {
namespace {

constexpr std::uint64_t kNear = std::uint64_t{1} << 18;  // bytes of a range that is worth one check

struct Pattern {
  bool consecutive;
  bool equal;
  std::uint64_t low;
  std::uint64_t high;
  std::uint64_t bits;  // all addresses or'ed: their alignment
};

template <std::uint32_t Step>
inline Pattern pattern_of(const std::uint64_t* a) {
  std::uint64_t off_line = 0;
  std::uint64_t off_first = 0;
  const std::uint64_t first = a[0];
  for (std::uint32_t i = 0; i < kWarp; ++i) {
    off_line |= a[i] ^ (first + std::uint64_t{i} * Step);
    off_first |= a[i] ^ first;
  }
  return {off_line == 0, off_first == 0, 0, 0, 0};
}

// Low, high and alignment of the lanes' addresses, with the instruction's offset.
inline void measure(const std::uint64_t* a, std::uint64_t offset, Pattern& p) {
  std::uint64_t low = ~std::uint64_t{0};
  std::uint64_t high = 0;
  std::uint64_t bits = 0;
  for (std::uint32_t i = 0; i < kWarp; ++i) {
    const std::uint64_t address = a[i] + offset;
    low = address < low ? address : low;
    high = address > high ? address : high;
    bits |= address;
  }
  p.low = low;
  p.high = high;
  p.bits = bits;
}

// Host address of the first of `span` bytes at `address` if all may be touched, nullptr if it must be looked
// into.
template <Space S>
inline std::byte* window(const Lanes& l, std::uint64_t address, std::uint64_t span) {
  if constexpr (S == Space::shared) {
    if (address > l.shared_bytes || span > l.shared_bytes - address) return nullptr;
    return l.shared + address;
  } else {
    if (!l.memory->contains(address, span)) return nullptr;
    return reinterpret_cast<std::byte*>(address);
  }
}

template <class T>
inline T read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

// One element of every lane. Vector elements are read with stride Count.
template <class T, Space S, std::uint32_t Count>
void load(Lanes& l, const Instr& in) {
  constexpr std::uint32_t size = sizeof(T) * Count;
  const std::uint64_t* const addresses = l.row<std::uint64_t>(in.a);
  const auto offset = static_cast<std::uint64_t>(in.imm);
  T* out[Count];
  for (std::uint32_t k = 0; k < Count; ++k) out[k] = l.row<T>(Count == 1 ? in.dst : l.row_list[in.list + k]);
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    const std::uint32_t mask = l.exec[w];
    if (mask == 0) continue;
    const std::uint64_t* const a = addresses + w * kWarp;
    const std::uint32_t first = w * kWarp;
    if (S != Space::local && mask == ~std::uint32_t{0}) {
      Pattern p = pattern_of<size>(a);
      const std::uint64_t base = a[0] + offset;
      if ((p.consecutive || p.equal) && base % size == 0) {
        if (const std::byte* const at = window<S>(l, base, p.equal ? size : size * kWarp); at != nullptr) {
          if (p.equal) {
            for (std::uint32_t k = 0; k < Count; ++k) {
              const T value = read<T>(at + k * sizeof(T));
              for (std::uint32_t i = 0; i < kWarp; ++i) out[k][first + i] = value;
            }
          } else if constexpr (Count == 1) {
            std::memcpy(out[0] + first, at, sizeof(T) * kWarp);
          } else {
            for (std::uint32_t k = 0; k < Count; ++k) {
              for (std::uint32_t i = 0; i < kWarp; ++i)
                out[k][first + i] = read<T>(at + (i * Count + k) * sizeof(T));
            }
          }
          continue;
        }
      }
      measure(a, offset, p);
      if (p.bits % size == 0 && p.high - p.low <= kNear) {
        if (const std::byte* const at = window<S>(l, p.low, p.high - p.low + size); at != nullptr) {
          const std::byte* const origin = at - p.low + offset;
          for (std::uint32_t i = 0; i < kWarp; ++i) {
            for (std::uint32_t k = 0; k < Count; ++k)
              out[k][first + i] = read<T>(origin + a[i] + k * sizeof(T));
          }
          continue;
        }
      }
    }
    for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<std::uint32_t>(std::countr_zero(rest));
      const std::uint64_t address = a[i] + offset;
      const std::byte* at = nullptr;
      if (address % size == 0) {
        if constexpr (S == Space::local) {
          const std::uint64_t limit = l.local_bytes;
          if (address <= limit && size <= limit - address)
            at = l.local + (first + i) * l.local_stride + address;
        } else {
          at = window<S>(l, address, size);
        }
      }
      if (at == nullptr)
        at = resolve(l, S == Space::global ? static_cast<Space>(in.extra) : S, first + i, address, size,
                     false);
      T values[Count];
      std::memcpy(values, at, size);
      for (std::uint32_t k = 0; k < Count; ++k) out[k][first + i] = values[k];
    }
  }
}

template <class T, Space S, std::uint32_t Count>
void store(Lanes& l, const Instr& in) {
  constexpr std::uint32_t size = sizeof(T) * Count;
  const std::uint64_t* const addresses = l.row<std::uint64_t>(in.a);
  const auto offset = static_cast<std::uint64_t>(in.imm);
  const T* from[Count];
  for (std::uint32_t k = 0; k < Count; ++k) from[k] = l.row<T>(Count == 1 ? in.b : l.row_list[in.list + k]);
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    const std::uint32_t mask = l.exec[w];
    if (mask == 0) continue;
    const std::uint64_t* const a = addresses + w * kWarp;
    const std::uint32_t first = w * kWarp;
    if (S != Space::local && mask == ~std::uint32_t{0}) {
      Pattern p = pattern_of<size>(a);
      const std::uint64_t base = a[0] + offset;
      if (p.consecutive && base % size == 0) {
        if (std::byte* const at = window<S>(l, base, size * kWarp); at != nullptr) {
          if constexpr (Count == 1) {
            std::memcpy(at, from[0] + first, sizeof(T) * kWarp);
          } else {
            for (std::uint32_t i = 0; i < kWarp; ++i) {
              for (std::uint32_t k = 0; k < Count; ++k)
                std::memcpy(at + (i * Count + k) * sizeof(T), from[k] + first + i, sizeof(T));
            }
          }
          continue;
        }
      }
      measure(a, offset, p);
      if (p.bits % size == 0 && p.high - p.low <= kNear) {
        if (std::byte* const at = window<S>(l, p.low, p.high - p.low + size); at != nullptr) {
          std::byte* const origin = at - p.low + offset;
          for (std::uint32_t i = 0; i < kWarp; ++i) {
            for (std::uint32_t k = 0; k < Count; ++k)
              std::memcpy(origin + a[i] + k * sizeof(T), from[k] + first + i, sizeof(T));
          }
          continue;
        }
      }
    }
    for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<std::uint32_t>(std::countr_zero(rest));
      const std::uint64_t address = a[i] + offset;
      std::byte* at = nullptr;
      if (address % size == 0) {
        if constexpr (S == Space::local) {
          const std::uint64_t limit = l.local_bytes;
          if (address <= limit && size <= limit - address)
            at = l.local + (first + i) * l.local_stride + address;
        } else {
          at = window<S>(l, address, size);
        }
      }
      if (at == nullptr)
        at =
            resolve(l, S == Space::global ? static_cast<Space>(in.extra) : S, first + i, address, size, true);
      T values[Count];
      for (std::uint32_t k = 0; k < Count; ++k) values[k] = from[k][first + i];
      std::memcpy(at, values, size);
    }
  }
}

// A kernel parameter at a place known when the kernel was compiled.
template <class T>
void load_param(Lanes& l, const Instr& in) {
  const T value = read<T>(l.params + in.imm);
  for_lanes<T>(l, in.dst, [=](std::uint32_t) { return value; });
}

template <class T, Space S>
Handler by_count(const Operation& o) {
  const bool loading = o.op == Op::load;
  switch (o.count) {
    case 1:
      return loading ? &load<T, S, 1> : &store<T, S, 1>;
    case 2:
      return loading ? &load<T, S, 2> : &store<T, S, 2>;
    case 4:
      return loading ? &load<T, S, 4> : &store<T, S, 4>;
    default:
      return nullptr;
  }
}

Handler find_memory(const Operation& o) {
  if (o.op != Op::load && o.op != Op::store && o.op != Op::load_param) return nullptr;
  return by_width(o.type, [&](auto tag) -> Handler {
    using T = typename decltype(tag)::type;
    if (o.op == Op::load_param) return &load_param<T>;
    switch (o.space) {
      case Space::param:
        return nullptr;  // the lowering turns these into generic accesses
      case Space::shared:
        return by_count<T, Space::shared>(o);
      case Space::local:
        return by_count<T, Space::local>(o);
      default:
        return by_count<T, Space::global>(o);
    }
  });
}

}  // namespace
}  // namespace tfusion::software::ptx::TFUSION_LANES
