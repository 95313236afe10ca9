// Handles are chosen by the client (but for graphs) and are the same number on both sides: what a program
// holds as a CUstream is what travels. A handle names its kind, its place in the worker's table and a
// generation, so that a stale one is known as stale. The low four bits are zero, as programs expect of
// pointers, and none is below 2^44, so that 0, 1 and 2 (the legacy and per-thread default streams) stay free.
#pragma once

#include <cstdint>

namespace tfusion::protocol {

enum class HandleKind : std::uint8_t {
  none = 0,
  stream = 1,
  event = 2,
  module = 3,
  kernel = 4,
  link = 5,
  context = 6,
  allocation = 7,  // physical memory of the virtual memory API
  pool = 8,        // a memory pool; the client's alone
  // Of graphs it is the worker that numbers: a capture makes nodes that no call of the client names.
  graph = 9,
  graph_node = 10,
  array = 11,
  mipmapped_array = 12,
  graph_exec = 13,
  user_object = 14  // the client's alone
};
inline constexpr unsigned kHandleKinds = 15;

inline constexpr std::uint32_t kMaxHandleIndex = 1u << 22;  // objects of one kind alive at once

struct Handle {
  HandleKind kind;
  std::uint16_t generation;
  std::uint32_t index;
};

constexpr std::uint64_t pack(Handle h) {
  return (static_cast<std::uint64_t>(h.kind) << 44) |
         (static_cast<std::uint64_t>(h.generation & 0xfff) << 32) |
         (static_cast<std::uint64_t>(h.index) << 4);
}

// kind none if the number is no handle.
constexpr Handle unpack(std::uint64_t value) {
  const std::uint64_t kind = value >> 44;
  const std::uint64_t index = (value >> 4) & 0xfffffff;
  if (kind == 0 || kind >= kHandleKinds || (value & 15) != 0 || index >= kMaxHandleIndex)
    return {HandleKind::none, 0, 0};
  return {static_cast<HandleKind>(kind), static_cast<std::uint16_t>((value >> 32) & 0xfff),
          static_cast<std::uint32_t>(index)};
}

}  // namespace tfusion::protocol
