// Special registers, windows, fences.

#include <atomic>
#include <bit>
#include <chrono>

#include "handlers.hpp"
#include "launch.hpp"
#include "thread_pool.hpp"

namespace tfusion::software::ptx {

namespace {

template <class T, class Value>
void fill_lanes(Lanes& l, const Instr& in, Value value) {
  T* const out = l.row<T>(in.dst);
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    if (l.exec[w] == ~std::uint32_t{0}) {
      for (std::uint32_t i = w * kWarp; i < (w + 1) * kWarp; ++i) out[i] = static_cast<T>(value(i));
    } else {
      for (std::uint32_t rest = l.exec[w]; rest != 0; rest &= rest - 1) {
        const std::uint32_t i = w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest));
        out[i] = static_cast<T>(value(i));
      }
    }
  }
}

void thread_index(Lanes& l, const Instr& in) {
  const std::uint32_t* const ids = l.thread[in.imm];
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t i) { return ids[i]; });
}
void block_size(Lanes& l, const Instr& in) {
  const unsigned value = l.launch->config().block[in.imm];
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}
void block_number(Lanes& l, const Instr& in) {
  const std::uint32_t value = l.block[in.imm];
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}
void grid_size(Lanes& l, const Instr& in) {
  const unsigned value = l.launch->config().grid[in.imm];
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}
void zero(Lanes& l, const Instr& in) {
  fill_lanes<std::uint32_t>(l, in, [](std::uint32_t) { return 0; });
}
void one(Lanes& l, const Instr& in) {
  fill_lanes<std::uint32_t>(l, in, [](std::uint32_t) { return 1; });
}
void lane_number(Lanes& l, const Instr& in) {
  fill_lanes<std::uint32_t>(l, in, [](std::uint32_t i) { return i % kWarp; });
}
void warp_number(Lanes& l, const Instr& in) {
  const std::uint32_t first = l.first_thread;
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t i) { return (first + i) / kWarp; });
}
void warp_count(Lanes& l, const Instr& in) {
  const std::uint32_t value = (l.launch->threads_per_block() + kWarp - 1) / kWarp;
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}
// imm: 0 eq, 1 le, 2 lt, 3 ge, 4 gt
void lane_mask(Lanes& l, const Instr& in) {
  fill_lanes<std::uint32_t>(l, in, [&](std::uint32_t i) {
    const std::uint32_t own = std::uint32_t{1} << (i % kWarp);
    switch (in.imm) {
      case 0:
        return own;
      case 1:
        return own | (own - 1);
      case 2:
        return own - 1;
      case 3:
        return ~(own - 1);
      default:
        return ~(own | (own - 1));
    }
  });
}
std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}
void clock32(Lanes& l, const Instr& in) {
  const auto value = static_cast<std::uint32_t>(now_ns() >> in.imm);
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}
void clock64(Lanes& l, const Instr& in) {
  const std::uint64_t value = now_ns();
  fill_lanes<std::uint64_t>(l, in, [=](std::uint32_t) { return value; });
}
void launch_number(Lanes& l, const Instr& in) {
  const std::uint64_t value = l.launch->number();
  fill_lanes<std::uint64_t>(l, in, [=](std::uint32_t) { return value; });
}
// The software GPU's multiprocessors are cores; a block counts as resident on the one that its number picks.
void multiprocessor(Lanes& l, const Instr& in) {
  const std::uint32_t value = l.block[0] % machine_threads();
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}
void multiprocessors(Lanes& l, const Instr& in) {
  const std::uint32_t value = machine_threads();
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}
void dynamic_shared(Lanes& l, const Instr& in) {
  const std::uint64_t value = l.launch->config().dynamic_shared_bytes;
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}
void total_shared(Lanes& l, const Instr& in) {
  const std::uint64_t value = l.shared_bytes;
  fill_lanes<std::uint32_t>(l, in, [=](std::uint32_t) { return value; });
}

}  // namespace

SpecialRegister find_special_register(std::string_view name, int component) {
  struct Row {
    std::string_view name;
    SpecialRegister what;
  };
  if (component >= 0) {
    static constexpr Row kVectors[] = {
        {"tid", {&thread_index, 4, 0}},       {"ntid", {&block_size, 4, 0}},
        {"ctaid", {&block_number, 4, 0}},     {"nctaid", {&grid_size, 4, 0}},
        {"clusterid", {&block_number, 4, 0}}, {"nclusterid", {&grid_size, 4, 0}},
        {"cluster_ctaid", {&zero, 4, 0}},     {"cluster_nctaid", {&one, 4, 0}}};
    for (const Row& row : kVectors) {
      if (row.name != name) continue;
      SpecialRegister result = row.what;
      if (component == 3) return {&zero, 4, 0};  // .w
      result.imm = component;
      return result;
    }
    return {nullptr, 0, 0};
  }
  static constexpr Row kScalars[] = {{"laneid", {&lane_number, 4, 0}},
                                     {"warpid", {&warp_number, 4, 0}},
                                     {"nwarpid", {&warp_count, 4, 0}},
                                     {"smid", {&multiprocessor, 4, 0}},
                                     {"nsmid", {&multiprocessors, 4, 0}},
                                     {"gridid", {&launch_number, 8, 0}},
                                     {"lanemask_eq", {&lane_mask, 4, 0}},
                                     {"lanemask_le", {&lane_mask, 4, 1}},
                                     {"lanemask_lt", {&lane_mask, 4, 2}},
                                     {"lanemask_ge", {&lane_mask, 4, 3}},
                                     {"lanemask_gt", {&lane_mask, 4, 4}},
                                     {"clock", {&clock32, 4, 0}},
                                     {"clock_hi", {&clock32, 4, 32}},
                                     {"clock64", {&clock64, 8, 0}},
                                     {"globaltimer", {&clock64, 8, 0}},
                                     {"globaltimer_lo", {&clock32, 4, 0}},
                                     {"globaltimer_hi", {&clock32, 4, 32}},
                                     {"dynamic_smem_size", {&dynamic_shared, 4, 0}},
                                     {"total_smem_size", {&total_shared, 4, 0}},
                                     {"aggr_smem_size", {&total_shared, 4, 0}},
                                     {"cluster_ctarank", {&zero, 4, 0}},
                                     {"cluster_nctarank", {&one, 4, 0}},
                                     {"reserved_smem_offset_begin", {&zero, 4, 0}}};
  for (const Row& row : kScalars) {
    if (row.name == name) return row.what;
  }
  return {nullptr, 0, 0};
}

void read_local_base(Lanes& l, const Instr& in) {
  const std::uint64_t value = l.local_base + static_cast<std::uint64_t>(in.imm);
  fill_lanes<std::uint64_t>(l, in, [=](std::uint32_t) { return value; });
}

void is_in_window(Lanes& l, const Instr& in) {
  const std::uint64_t* const a = l.row<std::uint64_t>(in.a);
  const auto space = static_cast<Space>(in.imm);
  fill_lanes<std::uint8_t>(l, in, [=](std::uint32_t i) {
    const std::uint64_t address = a[i];
    switch (space) {
      case Space::shared:
        return address >= kSharedWindow && address < kLocalWindow;
      case Space::local:
        return address >= kLocalWindow && address < kParamWindow;
      case Space::param:
        return address >= kParamWindow && address < kFunctionWindow;
      case Space::constant:
        return false;  // constants lie in global memory
      default:
        return address < kSharedWindow;
    }
  });
}

void read_active_mask(Lanes& l, const Instr& in) {
  fill_lanes<std::uint32_t>(l, in, [&](std::uint32_t i) { return l.exec[i / kWarp]; });
}

void full_fence(Lanes&, const Instr&) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
void do_nothing(Lanes&, const Instr&) {}

}  // namespace tfusion::software::ptx
