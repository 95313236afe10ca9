// Free address ranges, first fit, neighbours joined: what both heaps keep.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>

namespace tfusion::hook {

using Ranges = std::map<std::uint64_t, std::uint64_t>;  // start -> bytes

// Takes `bytes` from the first range that holds them; false if none does.
inline bool take_first(Ranges& ranges, std::uint64_t bytes, std::uint64_t* start) {
  for (auto it = ranges.begin(); it != ranges.end(); ++it) {
    if (it->second < bytes) continue;
    *start = it->first;
    const std::uint64_t rest = it->second - bytes;
    const std::uint64_t after = it->first + bytes;
    it = ranges.erase(it);
    if (rest > 0) ranges.emplace_hint(it, after, rest);
    return true;
  }
  return false;
}

// Gives a range back; returns the joined range it is now part of.
inline Ranges::iterator give_back(Ranges& ranges, std::uint64_t start, std::uint64_t bytes) {
  auto next = ranges.lower_bound(start);
  if (next != ranges.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second == start) {
      start = before->first;
      bytes += before->second;
      ranges.erase(before);
    }
  }
  if (next != ranges.end() && start + bytes == next->first) {
    bytes += next->second;
    next = ranges.erase(next);
  }
  return ranges.emplace_hint(next, start, bytes);
}

// Cuts [start, start + bytes) out of the range that holds all of it.
inline void cut(Ranges& ranges, Ranges::iterator range, std::uint64_t start, std::uint64_t bytes) {
  const std::uint64_t head = start - range->first;
  const std::uint64_t rest = range->second - head - bytes;
  if (head > 0) {
    range->second = head;
  } else {
    ranges.erase(range);
  }
  if (rest > 0) ranges.emplace(start + bytes, rest);
}

}  // namespace tfusion::hook
