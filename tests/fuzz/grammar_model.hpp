// Commands that stand in an input, read back: their fields by the command table, and what a well-behaved
// client would know of its session after them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "commands.hpp"
#include "grammar.hpp"
#include "grammar_graphs.hpp"
#include "protocol/handle.hpp"
#include "protocol/shared_memory.hpp"

namespace tfusion::fuzz {

// The kinds of handles that clients number, in the order of FieldKind.
inline constexpr protocol::HandleKind kKinds[] = {
    protocol::HandleKind::stream, protocol::HandleKind::event,          protocol::HandleKind::module,
    protocol::HandleKind::kernel, protocol::HandleKind::link,           protocol::HandleKind::allocation,
    protocol::HandleKind::array,  protocol::HandleKind::mipmapped_array};

bool is(const wire::FieldInfo& field, std::string_view name);
// The kind of handle a field holds, none for a scalar.
protocol::HandleKind kind_of(wire::FieldKind kind);
bool makes_new(wire::FieldKind kind);
bool drops(wire::FieldKind kind);

// The field's value in the command that begins at `begin`.
std::uint64_t get(const Bytes& input, std::size_t begin, const wire::FieldInfo& field);

// What a well-behaved client would know of its session after the commands so far: which of its objects live,
// and where it has memory. Read off the commands themselves, so that a command can be put anywhere.
class Model {
 public:
  void see(const Bytes& input, std::size_t begin, std::size_t end);

  std::uint64_t fresh(protocol::HandleKind kind, Random& random) const {
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t made = protocol::pack({kind, 1, static_cast<std::uint32_t>(random.below(20))});
      if (!lives(kind, made)) return made;
    }
    return protocol::pack({kind, 1, static_cast<std::uint32_t>(20 + random.below(200))});
  }
  std::uint64_t known(protocol::HandleKind kind, Random& random) const {
    const auto& gone = gone_[static_cast<unsigned>(kind)];
    const auto& alive = alive_[static_cast<unsigned>(kind)];
    if (!gone.empty() && random.one_in(6)) return gone[random.below(gone.size())];
    if (!alive.empty()) return alive[random.below(alive.size())];
    return protocol::pack({kind, 1, static_cast<std::uint32_t>(random.below(3))});
  }
  const GuessedGraphs& graphs() const { return graphs_; }
  std::uint64_t physical_bytes(std::uint64_t allocation) const {
    const auto found = physical_.find(allocation);
    return found == physical_.end() ? protocol::kArenaPageBytes : found->second;
  }
  // A page that has no memory, or the start of a range that has.
  std::uint64_t vacant_page(std::uint64_t base, Random& random) const {
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t start = base + random.below(12) * 4 * protocol::kArenaPageBytes;
      if (std::none_of(ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.start == start; }))
        return start;
    }
    return base + (12 + random.below(1000)) * 4 * protocol::kArenaPageBytes;
  }
  struct Range {
    std::uint64_t start, bytes;
    bool physical = false;  // mapped by the client itself
  };
  const Range* range(std::uint64_t base, std::uint64_t arena_bytes, Random& random) const {
    if (ranges_.empty()) return nullptr;
    const Range& one = ranges_[random.below(ranges_.size())];
    return one.start - base < arena_bytes ? &one : nullptr;
  }
  const Range* mapping(Random& random) const {
    const Range* found = nullptr;
    for (const Range& range : ranges_) {
      if (range.physical && (found == nullptr || random.one_in(3))) found = &range;
    }
    return found;
  }

 private:
  bool lives(protocol::HandleKind kind, std::uint64_t handle) const {
    const auto& alive = alive_[static_cast<unsigned>(kind)];
    return std::find(alive.begin(), alive.end(), handle) != alive.end();
  }
  std::vector<std::uint64_t> alive_[protocol::kHandleKinds], gone_[protocol::kHandleKinds];
  std::vector<Range> ranges_;
  std::map<std::uint64_t, std::uint64_t> physical_;  // allocation -> bytes
  GuessedGraphs graphs_;
};

}  // namespace tfusion::fuzz
