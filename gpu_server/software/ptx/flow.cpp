// From virtual code to final code: basic blocks, their order, and the branches between them.
//
// The order matters to the executor, which always runs the group of threads with the lowest program counter
// first (gang.cpp): in a topological order with every loop in one piece, threads that parted meet again where
// their paths join. Rows are given out in allocate.cpp.

#include <algorithm>
#include <numeric>

#include "allocate.hpp"
#include "blocks.hpp"

namespace tfusion::software::ptx {

namespace {

bool ends_block(const Instr& instr) {
  return instr.kind == Kind::branch || instr.kind == Kind::branch_index || instr.kind == Kind::ret ||
         instr.kind == Kind::exit || instr.kind == Kind::trap;
}
bool falls_through(const Instr& instr) {
  return !ends_block(instr) || (instr.guard != kNoRow && instr.kind != Kind::branch_index) ||
         (instr.kind == Kind::branch_index && instr.guard != kNoRow);
}

class BlockBuilder {
 public:
  BlockBuilder(const VirtualCode& code, const FunctionCode& out) : code_(code), out_(out) {}

  std::vector<Block> run() {
    find_leaders();
    std::vector<Block> blocks(first_.size());
    for (std::uint32_t b = 0; b < blocks.size(); ++b) {
      blocks[b].first = first_[b];
      blocks[b].last = b + 1 < first_.size() ? first_[b + 1] : static_cast<std::uint32_t>(code_.code.size());
      connect(blocks[b], b);
    }
    return blocks;
  }

 private:
  std::uint32_t place(std::uint32_t label, std::uint32_t line) const {
    const std::uint32_t at = code_.label_places[label];
    if (at == ~std::uint32_t{0})
      throw CompileError(line, "a branch leads to a name that is no place in the code");
    return at;
  }

  void find_leaders() {
    std::vector<bool> leads(code_.code.size() + 1);
    leads[0] = true;
    for (std::size_t i = 0; i < code_.code.size(); ++i) {
      const Instr& instr = code_.code[i];
      if (instr.kind == Kind::branch) leads[place(instr.target, instr.line)] = true;
      if (instr.kind == Kind::branch_index) {
        for (const std::uint32_t label : out_.tables[instr.extra]) leads[place(label, instr.line)] = true;
      }
      if (ends_block(instr)) leads[i + 1] = true;
    }
    block_of_.resize(code_.code.size());
    for (std::uint32_t i = 0; i < code_.code.size(); ++i) {
      if (leads[i]) first_.push_back(i);
      block_of_[i] = static_cast<std::uint32_t>(first_.size() - 1);
    }
  }

  void connect(Block& block, std::uint32_t number) {
    const Instr& last = code_.code[block.last - 1];
    // The text's last instruction is an unguarded return, so what falls through has a next block.
    if (falls_through(last)) block.next = number + 1;
    if (block.next != kNoBlock) block.successors.push_back(block.next);
    if (last.kind == Kind::branch) block.successors.push_back(block_of_[place(last.target, last.line)]);
    if (last.kind == Kind::branch_index) {
      for (const std::uint32_t label : out_.tables[last.extra])
        block.successors.push_back(block_of_[place(label, last.line)]);
    }
  }

  const VirtualCode& code_;
  const FunctionCode& out_;
  std::vector<std::uint32_t> first_;
  std::vector<std::uint32_t> block_of_;
};

// Reverse postorder; where a block has several successors, those that leave its innermost loop come last.
class Order {
 public:
  explicit Order(const std::vector<Block>& blocks) : blocks_(blocks), loop_(blocks.size(), kNoBlock) {}

  std::vector<std::uint32_t> run() {
    std::vector<std::uint32_t> order = search();
    if (find_loops(order)) order = search();
    return order;
  }

 private:
  // A successor that is visited first ends up later in the order.
  std::vector<std::uint32_t> visit_order(std::uint32_t block) const {
    std::vector<std::uint32_t> result = blocks_[block].successors;
    std::reverse(result.begin(),
                 result.end());  // the fall-through directly behind, unless loops say otherwise
    std::stable_partition(result.begin(), result.end(),
                          [&](std::uint32_t s) { return !inside(s, loop_[block]); });
    return result;
  }

  bool inside(std::uint32_t block, std::uint32_t header) const {
    if (header == kNoBlock) return true;
    std::uint32_t loop = loop_[block];
    for (int steps = 0; loop != kNoBlock && steps < 64; ++steps) {
      if (loop == header) return true;
      loop = outer_[loop];
    }
    return false;
  }

  std::vector<std::uint32_t> search() {
    std::vector<std::uint8_t> seen(blocks_.size());
    struct Entry {
      std::uint32_t block;
      std::vector<std::uint32_t> successors;
      std::size_t next = 0;
    };
    std::vector<Entry> stack;
    std::vector<std::uint32_t> order;
    stack.push_back({0, visit_order(0)});
    seen[0] = 1;
    while (!stack.empty()) {
      Entry& top = stack.back();
      if (top.next == top.successors.size()) {
        order.push_back(top.block);
        stack.pop_back();
        continue;
      }
      const std::uint32_t successor = top.successors[top.next++];
      if (seen[successor]) continue;
      seen[successor] = 1;
      stack.push_back({successor, visit_order(successor)});
    }
    std::reverse(order.begin(), order.end());
    return order;
  }

  // Sets each block's innermost loop, by its header. Works on the backward edges of the first order.
  bool find_loops(const std::vector<std::uint32_t>& order) {
    std::vector<std::uint32_t> position(blocks_.size(), kNoBlock);
    for (std::uint32_t i = 0; i < order.size(); ++i) position[order[i]] = i;
    std::vector<std::vector<std::uint32_t>> predecessors(blocks_.size());
    for (const std::uint32_t b : order) {
      for (const std::uint32_t s : blocks_[b].successors) predecessors[s].push_back(b);
    }
    outer_.assign(blocks_.size(), kNoBlock);
    bool any = false;
    std::size_t work = 0;
    // Headers later in the order are inner loops: they go last and so win.
    for (const std::uint32_t header : order) {
      std::vector<std::uint32_t> pending;
      for (const std::uint32_t p : predecessors[header]) {
        if (position[p] >= position[header]) pending.push_back(p);
      }
      if (pending.empty()) continue;
      any = true;
      outer_[header] = loop_[header];
      std::vector<std::uint8_t> member(blocks_.size());
      member[header] = 1;
      loop_[header] = header;
      while (!pending.empty()) {
        const std::uint32_t b = pending.back();
        pending.pop_back();
        if (member[b] || position[b] < position[header]) continue;
        member[b] = 1;
        loop_[b] = header;
        for (const std::uint32_t p : predecessors[b]) pending.push_back(p);
      }
      work += blocks_.size();
      if (work > (std::size_t{1} << 28)) return true;  // enough is known of a function this strange
    }
    return any;
  }

  const std::vector<Block>& blocks_;
  std::vector<std::uint32_t> loop_;   // innermost loop's header
  std::vector<std::uint32_t> outer_;  // by header: the loop around it
};

// Writes the blocks in order, with explicit jumps where the order breaks a fall-through.
class Emitter {
 public:
  Emitter(const VirtualCode& code, const std::vector<Block>& blocks, const std::vector<std::uint32_t>& order,
          FunctionCode& out)
      : code_(code),
        blocks_(blocks),
        order_(order),
        out_(out),
        start_(blocks.size(), 0),
        entries_(blocks.size(), 0) {}

  void run() {
    for (const std::uint32_t b : order_) {
      for (const std::uint32_t s : blocks_[b].successors) ++entries_[s];
    }
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const std::uint32_t b = order_[i];
      const Block& block = blocks_[b];
      start_[b] = static_cast<std::uint32_t>(out_.code.size());
      out_.code.insert(out_.code.end(), code_.code.begin() + block.first, code_.code.begin() + block.last);
      if (block.next == kNoBlock) continue;
      const bool adjacent = i + 1 < order_.size() && order_[i + 1] == block.next;
      if (adjacent && entries_[block.next] <= 1) continue;
      Instr jump;
      jump.kind = adjacent ? Kind::fall : Kind::branch;
      jump.line = code_.code[block.last - 1].line;
      jump.target = kBlockTarget | block.next;
      out_.code.push_back(jump);
    }
    for (Instr& instr : out_.code) {
      if (instr.kind != Kind::branch && instr.kind != Kind::fall) continue;
      const std::uint32_t block =
          (instr.target & kBlockTarget) != 0 ? instr.target & ~kBlockTarget : block_at(instr.target);
      instr.target = start_[block];
    }
    for (auto& table : out_.tables) {
      for (std::uint32_t& label : table) label = start_[block_at(label)];
    }
  }

 private:
  static constexpr std::uint32_t kBlockTarget = std::uint32_t{1} << 31;

  std::uint32_t block_at(std::uint32_t label) const {
    const std::uint32_t at = code_.label_places[label];
    const auto after =
        std::upper_bound(blocks_.begin(), blocks_.end(), at,
                         [](std::uint32_t place, const Block& block) { return place < block.first; });
    return static_cast<std::uint32_t>(after - blocks_.begin()) - 1;
  }

  const VirtualCode& code_;
  const std::vector<Block>& blocks_;
  const std::vector<std::uint32_t>& order_;
  FunctionCode& out_;
  std::vector<std::uint32_t> start_;
  std::vector<std::uint32_t> entries_;
};

}  // namespace

void finish(VirtualCode&& code, FunctionCode& out) {
  const std::vector<Block> blocks = BlockBuilder(code, out).run();
  const std::vector<std::uint32_t> order = Order(blocks).run();
  const Rows rows = allocate_rows(code, blocks, order);
  Emitter(code, blocks, order, out).run();
  out.rows = std::move(code.rows);
  out.row_bytes = rows.bytes;
  const auto give = [&](std::uint32_t& reg) {
    if (reg != kNoRow) reg = rows.offset[reg];
  };
  for (Instr& instr : out.code) {
    for (std::uint32_t* reg : {&instr.dst, &instr.dst2, &instr.a, &instr.b, &instr.c, &instr.d, &instr.guard})
      give(*reg);
  }
  for (std::uint32_t& reg : out.rows) give(reg);
  for (ConstantRow& row : out.constants) give(row.row);
}

}  // namespace tfusion::software::ptx
