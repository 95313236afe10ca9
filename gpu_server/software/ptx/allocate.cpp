// Liveness by data flow over blocks, then a linear scan over one interval for each register.
//
// What holds for one thread holds for all: a row's lanes are independent, so an allocation that is right on
// the scalar flow graph is right however the threads part.

#include "allocate.hpp"

#include <algorithm>
#include <queue>

namespace tfusion::software::ptx {

namespace {

constexpr std::uint32_t kMaxRowBytes = 1 << 20;
constexpr std::uint64_t kMaxLivenessBits = std::uint64_t{1} << 29;

struct Interval {
  std::uint32_t start = ~std::uint32_t{0};
  std::uint32_t end = 0;
  void cover(std::uint32_t position) {
    start = std::min(start, position);
    end = std::max(end, position);
  }
};

class Allocator {
 public:
  Allocator(const VirtualCode& code, const std::vector<Block>& blocks,
            const std::vector<std::uint32_t>& order)
      : code_(code),
        blocks_(blocks),
        order_(order),
        words_((code.registers.size() + 63) / 64),
        intervals_(code.registers.size()) {}

  Rows run() {
    rows_.offset.assign(code_.registers.size(), 0);
    if (static_cast<std::uint64_t>(words_) * 64 * blocks_.size() * 2 <= kMaxLivenessBits) {
      solve();
      number();
    } else {
      for (Interval& interval : intervals_) interval = {0, ~std::uint32_t{0}};
    }
    scan();
    return std::move(rows_);
  }

 private:
  using Bits = std::vector<std::uint64_t>;
  static bool test(const Bits& bits, std::uint32_t i) { return ((bits[i / 64] >> (i % 64)) & 1) != 0; }
  static void set(Bits& bits, std::uint32_t i) { bits[i / 64] |= std::uint64_t{1} << (i % 64); }
  static void clear(Bits& bits, std::uint32_t i) { bits[i / 64] &= ~(std::uint64_t{1} << (i % 64)); }

  template <class Visit>
  void for_uses(const Instr& instr, Visit visit) const {
    for (const std::uint32_t reg : {instr.a, instr.b, instr.c, instr.d, instr.guard}) {
      if (reg != kNoRow && !code_.registers[reg].constant) visit(reg);
    }
    if (!instr.list_written) list(instr, visit);
  }
  template <class Visit>
  void for_results(const Instr& instr, Visit visit) const {
    if (instr.dst != kNoRow) visit(instr.dst);
    if (instr.dst2 != kNoRow) visit(instr.dst2);
    if (instr.list_written) list(instr, visit);
  }
  template <class Visit>
  void list(const Instr& instr, Visit visit) const {
    for (std::uint32_t i = 0; i < instr.list_count; ++i) {
      const std::uint32_t reg = code_.rows[instr.list + i];
      if (!code_.registers[reg].constant) visit(reg);
    }
  }

  // A guarded instruction may leave the old value, except in a temporary, which nothing else writes.
  bool kills(const Instr& instr, std::uint32_t reg) const {
    return instr.guard == kNoRow || code_.registers[reg].temporary;
  }

  void solve() {
    live_in_.assign(blocks_.size(), Bits(words_));
    live_out_.assign(blocks_.size(), Bits(words_));
    std::vector<Bits> used(blocks_.size(), Bits(words_));
    std::vector<Bits> defined(blocks_.size(), Bits(words_));
    for (const std::uint32_t b : order_) {
      for (std::uint32_t i = blocks_[b].first; i < blocks_[b].last; ++i) {
        const Instr& instr = code_.code[i];
        for_uses(instr, [&](std::uint32_t reg) {
          if (!test(defined[b], reg)) set(used[b], reg);
        });
        for_results(instr, [&](std::uint32_t reg) {
          if (kills(instr, reg))
            set(defined[b], reg);
          else if (!test(defined[b], reg))
            set(used[b], reg);
        });
      }
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
        const std::uint32_t b = *it;
        for (const std::uint32_t s : blocks_[b].successors) {
          for (std::size_t w = 0; w < words_; ++w) live_out_[b][w] |= live_in_[s][w];
        }
        for (std::size_t w = 0; w < words_; ++w) {
          const std::uint64_t in = used[b][w] | (live_out_[b][w] & ~defined[b][w]);
          if (in != live_in_[b][w]) {
            live_in_[b][w] = in;
            changed = true;
          }
        }
      }
    }
  }

  // Instruction number n of the final order reads at 2n and writes at 2n + 1.
  void number() {
    std::uint32_t n = 0;
    for (const std::uint32_t b : order_) {
      const std::uint32_t start = 2 * n;
      n += blocks_[b].last - blocks_[b].first;
      const std::uint32_t end = 2 * n;
      for (std::uint32_t reg = 0; reg < code_.registers.size(); ++reg) {
        if (test(live_in_[b], reg)) intervals_[reg].cover(start);
        if (test(live_out_[b], reg)) intervals_[reg].cover(end);
      }
    }
    n = 0;
    for (const std::uint32_t b : order_) {
      for (std::uint32_t i = blocks_[b].first; i < blocks_[b].last; ++i, ++n) {
        const Instr& instr = code_.code[i];
        // A result may take the row of an operand that ends here, where lanes are computed one by one.
        const bool alone = instr.kind != Kind::plain || instr.list_count != 0 || instr.dst2 != kNoRow;
        for_uses(instr, [&](std::uint32_t reg) { intervals_[reg].cover(alone ? 2 * n + 1 : 2 * n); });
        for_results(instr, [&](std::uint32_t reg) { intervals_[reg].cover(2 * n + 1); });
      }
    }
  }

  void scan() {
    std::vector<std::uint32_t> by_start;
    std::uint32_t ends[4] = {0, 0, 0, 0};
    std::vector<std::uint32_t> slot(code_.registers.size(), 0);
    for (std::uint32_t reg = 0; reg < code_.registers.size(); ++reg) {
      if (code_.registers[reg].constant)
        slot[reg] = ends[size_class(reg)]++;
      else if (intervals_[reg].start != ~std::uint32_t{0})
        by_start.push_back(reg);
    }
    std::sort(by_start.begin(), by_start.end(),
              [&](std::uint32_t a, std::uint32_t b) { return intervals_[a].start < intervals_[b].start; });
    using Active = std::pair<std::uint32_t, std::uint32_t>;  // end, register
    std::priority_queue<Active, std::vector<Active>, std::greater<>> active;
    std::vector<std::uint32_t> free[4];
    for (const std::uint32_t reg : by_start) {
      while (!active.empty() && active.top().first < intervals_[reg].start) {
        free[size_class(active.top().second)].push_back(slot[active.top().second]);
        active.pop();
      }
      const std::uint32_t kind = size_class(reg);
      if (free[kind].empty()) {
        slot[reg] = ends[kind]++;
      } else {
        slot[reg] = free[kind].back();
        free[kind].pop_back();
      }
      active.push({intervals_[reg].end, reg});
    }
    // Wide rows first, so that all are aligned.
    std::uint64_t base[4];
    base[3] = 0;
    base[2] = base[3] + std::uint64_t{ends[3]} * 8;
    base[1] = base[2] + std::uint64_t{ends[2]} * 4;
    base[0] = base[1] + std::uint64_t{ends[1]} * 2;
    const std::uint64_t total = base[0] + ends[0];
    if (total > kMaxRowBytes)
      throw CompileError(code_.code.front().line, "this function needs too many registers at a time");
    for (std::uint32_t reg = 0; reg < code_.registers.size(); ++reg) {
      const std::uint32_t kind = size_class(reg);
      rows_.offset[reg] = static_cast<std::uint32_t>(base[kind] + (std::uint64_t{slot[reg]} << kind));
    }
    rows_.bytes = static_cast<std::uint32_t>((total + 7) & ~std::uint64_t{7});
    if (rows_.bytes == 0) rows_.bytes = 8;
  }

  std::uint32_t size_class(std::uint32_t reg) const {
    switch (code_.registers[reg].bytes) {
      case 1:
        return 0;
      case 2:
        return 1;
      case 4:
        return 2;
      default:
        return 3;
    }
  }

  const VirtualCode& code_;
  const std::vector<Block>& blocks_;
  const std::vector<std::uint32_t>& order_;
  std::size_t words_;
  std::vector<Interval> intervals_;
  std::vector<Bits> live_in_;
  std::vector<Bits> live_out_;
  Rows rows_;
};

}  // namespace

Rows allocate_rows(const VirtualCode& code, const std::vector<Block>& blocks,
                   const std::vector<std::uint32_t>& order) {
  return Allocator(code, blocks, order).run();
}

}  // namespace tfusion::software::ptx
