// The worker's end of the command ring. The client writes this memory at any time and may be hostile: every
// command is copied into private memory once, with a size that was read once, and only the copy is looked at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "commands.hpp"
#include "protocol/shared_memory.hpp"

namespace tfusion::replay {

// A private copy of one command that has passed the checks that need no session: known opcode, sizes that
// fit.
struct Command {
  wire::Opcode opcode;
  std::span<const std::byte> bytes;  // header and fields
  std::span<const std::byte> tail;
};

class RingReader {
 public:
  explicit RingReader(protocol::SharedMemory shared);

  enum class Next { command, empty, malformed };
  // On `command`, *out is valid until the next call. On `malformed`, error() is a sentence that names the
  // fault.
  Next next(Command* out);
  const std::string& error() const { return error_; }

  // Tells the client that everything taken so far is consumed.
  void release();

  bool consumed(std::uint64_t head) const { return head == tail_; }

 private:
  Next fail(std::string sentence);

  protocol::SharedMemory shared_;
  std::uint64_t tail_ = 0;  // our own: what stands in shared memory is never read back
  std::uint64_t released_ = 0;
  std::vector<std::byte> copy_;
  std::string error_;
};

// Checks one command that lies in `copy`; used by RingReader and by the fuzz target. "" if it is well formed.
std::string check_command(std::span<const std::byte> copy, Command* out);

}  // namespace tfusion::replay
