#include "ring_reader.hpp"

#include <cstring>

#include "protocol/futex.hpp"

namespace tfusion::replay {

using protocol::kRingBytes;

// Whatever the table says, a command fits its largest size and a reply its slot.
static_assert([] {
  for (const wire::CommandInfo& info : wire::kCommands) {
    if (info.fixed_bytes > wire::kMaxCommandBytes || info.reply_bytes > protocol::kReplyPayloadBytes)
      return false;
  }
  return true;
}());

std::string check_command(std::span<const std::byte> copy, Command* out) {
  wire::CommandHeader header;
  if (copy.size() < sizeof header) return "a command is shorter than its header";
  std::memcpy(&header, copy.data(), sizeof header);
  if (header.opcode == 0 || header.opcode >= wire::kOpcodeCount) {
    return "opcode " + std::to_string(header.opcode) + " is unknown";
  }
  const wire::CommandInfo& info = wire::kCommands[header.opcode];
  const std::string name = info.name;
  if (copy.size() < info.fixed_bytes) {
    return name + " has " + std::to_string(copy.size()) + " bytes where its fields need " +
           std::to_string(info.fixed_bytes);
  }
  const std::size_t room = copy.size() - info.fixed_bytes;
  if (header.tail_bytes > room || room - header.tail_bytes >= 8) {
    return name + " tells a tail of " + std::to_string(header.tail_bytes) + " bytes where " +
           std::to_string(room) + " lie";
  }
  if (!info.tail && header.tail_bytes != 0) return name + " has a tail, which it cannot have";
  if (info.sync && header.reply_slot >= protocol::kReplySlots) {
    return name + " names reply slot " + std::to_string(header.reply_slot) + " of " +
           std::to_string(protocol::kReplySlots);
  }
  if (!info.sync && header.reply_slot != wire::kNoReply)
    return name + " is asynchronous and names a reply slot";
  out->opcode = static_cast<wire::Opcode>(header.opcode);
  out->bytes = copy.first(info.fixed_bytes);
  out->tail = copy.subspan(info.fixed_bytes, header.tail_bytes);
  return {};
}

RingReader::RingReader(protocol::SharedMemory shared) : shared_(shared), copy_(wire::kMaxCommandBytes) {}

RingReader::Next RingReader::fail(std::string sentence) {
  error_ = std::move(sentence);
  return Next::malformed;
}

RingReader::Next RingReader::next(Command* out) {
  for (;;) {
    const std::uint64_t head = shared_.control().head.load(std::memory_order_acquire);
    const std::uint64_t filled = head - tail_;
    if (filled == 0) return Next::empty;
    if (filled > kRingBytes) return fail("the ring's head is not ahead of its tail by at most its size");
    const auto offset = static_cast<std::uint32_t>(tail_ % kRingBytes);
    const std::uint32_t to_end = kRingBytes - offset;
    const std::uint64_t most = filled < to_end ? filled : to_end;
    if (most < 8) return fail("a command is shorter than its size and opcode");
    // Size and opcode are read once; nothing that the client changes afterwards is believed.
    std::uint64_t start_word;
    std::memcpy(&start_word, shared_.ring() + offset, sizeof start_word);
    const auto bytes = static_cast<std::uint32_t>(start_word);
    const auto opcode = static_cast<std::uint16_t>(start_word >> 32);
    if (bytes < 8 || bytes % 8 != 0 || bytes > most) {
      return fail("a command tells a size of " + std::to_string(bytes) + " bytes where " +
                  std::to_string(most) + " lie");
    }
    if (opcode == 0) {  // filler up to the end of the lap; a whole lap of it could go on for ever
      if (bytes != to_end || offset == 0) return fail("a filler does not fill the rest of a lap");
      tail_ += bytes;
      continue;
    }
    if (bytes > wire::kMaxCommandBytes) {
      return fail("a command of " + std::to_string(bytes) + " bytes is larger than any may be");
    }
    std::memcpy(copy_.data(), shared_.ring() + offset, bytes);
    std::memcpy(copy_.data(), &start_word, sizeof start_word);
    tail_ += bytes;
    std::string fault = check_command({copy_.data(), bytes}, out);
    return fault.empty() ? Next::command : fail(std::move(fault));
  }
}

void RingReader::release() {
  if (released_ == tail_) return;
  released_ = tail_;
  protocol::Control& control = shared_.control();
  control.tail.store(tail_, std::memory_order_seq_cst);
  if (control.space_waiters.load(std::memory_order_seq_cst) != 0) {
    control.space_epoch.fetch_add(1);
    protocol::futex_wake(control.space_epoch);
  }
}

}  // namespace tfusion::replay
