// check_command: every fault of a command has its sentence, and a good one is cut into fields and tail.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "check.hpp"
#include "commands.hpp"
#include "replay/ring_reader.hpp"

using namespace tfusion;
using replay::check_command;
using replay::Command;

namespace {

std::vector<std::byte> laid_out(wire::CommandHeader header, std::size_t bytes) {
  std::vector<std::byte> copy(bytes);
  header.bytes = static_cast<std::uint32_t>(bytes);
  if (bytes > 0) std::memcpy(copy.data(), &header, std::min(bytes, sizeof header));
  return copy;
}

template <typename Fields>
wire::CommandHeader header_of(std::uint16_t reply_slot, std::uint32_t tail_bytes = 0) {
  return {0, static_cast<std::uint16_t>(Fields::kOpcode), reply_slot, tail_bytes, 0};
}

std::string fault(const std::vector<std::byte>& copy) {
  Command command;
  return check_command(copy, &command);
}

}  // namespace

TEST(every_command_of_the_table_passes_when_it_is_well_formed) {
  for (std::uint16_t opcode = 1; opcode < wire::kOpcodeCount; ++opcode) {
    const wire::CommandInfo& info = wire::kCommands[opcode];
    for (const std::uint32_t tail : {0u, 1u, 7u, 8u, 1000u}) {
      if (tail > 0 && !info.tail) continue;
      const std::uint16_t slot = info.sync ? std::uint16_t{63} : wire::kNoReply;
      const auto copy =
          laid_out({0, opcode, slot, tail, 0}, wire::padded(std::uint64_t{info.fixed_bytes} + tail));
      Command command;
      CHECK_EQ(check_command(copy, &command), "");
      CHECK_EQ(command.opcode, static_cast<wire::Opcode>(opcode));
      CHECK(command.bytes.data() == copy.data());
      CHECK_EQ(command.bytes.size(), info.fixed_bytes);
      CHECK(command.tail.data() == copy.data() + info.fixed_bytes);
      CHECK_EQ(command.tail.size(), tail);
    }
  }
}

TEST(the_tables_description_of_fields_lies_within_the_structs) {
  for (std::uint16_t opcode = 1; opcode < wire::kOpcodeCount; ++opcode) {
    const wire::CommandInfo& info = wire::kCommands[opcode];
    CHECK(info.fixed_bytes >= sizeof(wire::CommandHeader));
    CHECK(info.fixed_bytes <= wire::kMaxCommandBytes);
    CHECK(info.reply_bytes <= protocol::kReplyPayloadBytes);
    CHECK(info.sync || info.reply_bytes == 0);
    for (std::uint16_t i = 0; i < info.field_count; ++i) {
      const wire::FieldInfo& field = info.fields[i];
      CHECK(field.offset >= sizeof(wire::CommandHeader));
      CHECK(field.offset + field.bytes <= info.fixed_bytes);
      CHECK(field.kind == wire::FieldKind::scalar || field.bytes == 8);
    }
  }
}

TEST(shorter_than_its_header) {
  for (std::size_t bytes = 0; bytes < sizeof(wire::CommandHeader); ++bytes) {
    CHECK_EQ(fault(laid_out(header_of<wire::ContextSynchronize>(0), bytes)),
             "a command is shorter than its header");
  }
}

TEST(unknown_opcodes) {
  for (const std::uint16_t opcode : {std::uint16_t{0}, wire::kOpcodeCount, std::uint16_t{0xffff}}) {
    CHECK_EQ(fault(laid_out({0, opcode, 0, 0, 0}, 16)), "opcode " + std::to_string(opcode) + " is unknown");
  }
}

TEST(shorter_than_its_fields) {
  CHECK_EQ(fault(laid_out(header_of<wire::MemoryCommit>(0), 24)),
           "MemoryCommit has 24 bytes where its fields need 32");
}

TEST(a_tail_that_is_not_there_or_leaves_a_rest) {
  using Fields = wire::CopyInline;  // 32 bytes
  auto told = [](std::uint32_t tail, std::size_t bytes) {
    return fault(laid_out(header_of<Fields>(wire::kNoReply, tail), bytes));
  };
  CHECK_EQ(told(16, 48), "");
  CHECK_EQ(told(9, 48), "");
  CHECK_EQ(told(17, 48), "CopyInline tells a tail of 17 bytes where 16 lie");
  CHECK_EQ(told(8, 48), "CopyInline tells a tail of 8 bytes where 16 lie");
  CHECK_EQ(told(0xffffffff, 48), "CopyInline tells a tail of 4294967295 bytes where 16 lie");
  CHECK_EQ(told(0, 32), "");
}

TEST(a_tail_where_none_may_be) {
  CHECK_EQ(fault(laid_out(header_of<wire::ContextSynchronize>(0, 8), 24)),
           "ContextSynchronize has a tail, which it cannot have");
}

TEST(reply_slots) {
  CHECK_EQ(fault(laid_out(header_of<wire::ContextSynchronize>(63), 16)), "");
  CHECK_EQ(fault(laid_out(header_of<wire::ContextSynchronize>(64), 16)),
           "ContextSynchronize names reply slot 64 of 64");
  CHECK_EQ(fault(laid_out(header_of<wire::ContextSynchronize>(wire::kNoReply), 16)),
           "ContextSynchronize names reply slot 65535 of 64");
  CHECK_EQ(fault(laid_out(header_of<wire::StreamDestroy>(0), 24)),
           "StreamDestroy is asynchronous and names a reply slot");
}
