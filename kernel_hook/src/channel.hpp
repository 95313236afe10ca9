// The client's end of the ring: writing commands, waiting for replies, and taking staging chunks.
//
// Any thread may call any of these. Lock order: a caller may hold one of the hook's object locks while it
// sends, never the other way round; the ring lock is the innermost. Preconditions: enter() said CUDA_SUCCESS
// on this thread.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <type_traits>

#include "commands.hpp"
#include "process.hpp"

namespace tfusion::hook {

// Holds the ring lock from construction to destruction; the command is seen by the worker at publish().
class RingWriter {
 public:
  explicit RingWriter(std::uint32_t bytes);  // bytes ≤ kMaxCommandBytes; waits for space
  ~RingWriter();
  RingWriter(const RingWriter&) = delete;
  RingWriter& operator=(const RingWriter&) = delete;
  std::byte* data() const { return at_; }  // nullptr: the session is lost
  void publish();

 private:
  std::byte* at_ = nullptr;
  std::uint32_t bytes_;
};

std::uint32_t thread_number();

// Why a call cannot be answered any more: says so on stderr, and is never CUDA_SUCCESS.
CUresult lost();

// Sends a command that has no reply. `tail` may be nullptr if tail_bytes is 0.
CUresult post_bytes(wire::CommandHeader& header, std::uint32_t fixed_bytes, const void* tail,
                    std::uint32_t tail_bytes);

// A reply being waited for. The payload stays valid until the object ends.
class Reply {
 public:
  Reply();  // takes a reply slot; waits for one if all are taken. Not valid if the session is lost.
  explicit Reply(std::try_to_lock_t);  // not valid if all are taken
  ~Reply();
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;
  bool valid() const { return slot_ != wire::kNoReply; }
  std::uint16_t slot() const { return slot_; }
  CUresult wait();  // after the command was published
  std::int32_t raw_result() const { return raw_; }
  const std::byte* payload() const;
  std::uint32_t payload_bytes() const { return payload_bytes_; }

 private:
  bool take();

  std::uint16_t slot_ = wire::kNoReply;
  std::int32_t raw_ = 0;
  std::uint32_t payload_bytes_ = 0;
  bool abandoned_ = false;  // the worker may still write into the slot: it is not given back
};

// How many bytes were ever published: a mark to tell whether anything was sent since.
std::uint64_t published();

// A staging chunk for data that goes up (to the worker, which gives it back) or comes down.
class UpChunk {
 public:
  UpChunk();  // waits for a free one
  std::uint32_t index() const { return index_; }
  std::byte* data() const { return shared.chunk(index_); }
  bool valid() const { return index_ != protocol::kChunks; }

 private:
  std::uint32_t index_ = protocol::kChunks;  // kChunks: the session is lost
};

class DownChunk {
 public:
  DownChunk();  // waits for a free one
  explicit DownChunk(std::try_to_lock_t);
  ~DownChunk();
  DownChunk(const DownChunk&) = delete;
  DownChunk& operator=(const DownChunk&) = delete;
  std::uint32_t index() const { return index_; }
  const std::byte* data() const { return shared.chunk(index_); }
  bool valid() const { return index_ != protocol::kChunks; }

 private:
  std::uint32_t index_ = protocol::kChunks;
};

template <typename Command>
CUresult post(Command& command, const void* tail = nullptr, std::uint32_t tail_bytes = 0) {
  command.header.opcode = static_cast<std::uint16_t>(Command::kOpcode);
  command.header.reply_slot = wire::kNoReply;
  return post_bytes(command.header, sizeof(Command), tail, tail_bytes);
}

// Sends and waits; the reply's payload is then in `reply`.
template <typename Command>
CUresult call_with(Reply& reply, Command& command, const void* tail = nullptr, std::uint32_t tail_bytes = 0) {
  if (!reply.valid()) return lost();
  command.header.opcode = static_cast<std::uint16_t>(Command::kOpcode);
  command.header.reply_slot = reply.slot();
  if (CUresult r = post_bytes(command.header, sizeof(Command), tail, tail_bytes); r != CUDA_SUCCESS) return r;
  return reply.wait();
}

// Sends, waits, and copies the fixed part of the reply to *out (unless out is nullptr).
template <typename Command, typename Out = std::nullptr_t>
CUresult call(Command& command, Out out = nullptr, const void* tail = nullptr, std::uint32_t tail_bytes = 0) {
  Reply reply;
  const CUresult result = call_with(reply, command, tail, tail_bytes);
  if constexpr (!std::is_same_v<Out, std::nullptr_t>) {
    if (out != nullptr && reply.payload_bytes() >= sizeof(*out))
      std::memcpy(out, reply.payload(), sizeof(*out));
  }
  return result;
}

}  // namespace tfusion::hook
