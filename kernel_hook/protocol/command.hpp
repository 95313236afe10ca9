// The head of every command in the ring. The commands themselves are generated from ../api/driver.api.
#pragma once

#include <cstdint>

namespace tfusion::wire {

inline constexpr std::uint16_t kNoReply = 0xffff;

struct CommandHeader {
  std::uint32_t bytes;  // of the whole command: header, fields, tail, padding to 8
  std::uint16_t opcode;
  std::uint16_t reply_slot;  // kNoReply for async commands
  std::uint32_t tail_bytes;  // of the tail that follows the fields, without padding
  std::uint32_t thread;      // which client thread wrote it; for traces only
};
static_assert(sizeof(CommandHeader) == 16);

// A command with its tail never takes more than this; larger data goes through the staging area.
inline constexpr std::uint32_t kMaxCommandBytes = 64 * 1024;
// Largest piece of host memory that travels inside a command.
inline constexpr std::uint32_t kMaxInlineBytes = 16 * 1024;

constexpr std::uint32_t padded(std::uint64_t bytes) {
  return static_cast<std::uint32_t>((bytes + 7) & ~std::uint64_t{7});
}

}  // namespace tfusion::wire
