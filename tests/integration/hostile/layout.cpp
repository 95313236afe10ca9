// Prints what a hand-made client needs to know of the protocol as JSON: offsets in the shared memory, sizes,
// opcodes, fields, and some handles. Compiled by conftest.py, so that nothing of it is written down twice.
#include <cstddef>
#include <cstdio>

#include "commands.hpp"
#include "protocol/handle.hpp"
#include "protocol/shared_memory.hpp"

using namespace tfusion;
using namespace tfusion::protocol;

int main() {
  auto number = [](const char* name, unsigned long long value) {
    std::printf("\"%s\": %llu,\n", name, value);
  };
  std::printf("{\n");
  number("head", offsetof(Control, head));
  number("tail", offsetof(Control, tail));
  number("consumer_asleep", offsetof(Control, consumer_asleep));
  number("chunk_busy", offsetof(Control, chunk_busy));
  number("state", offsetof(Control, status) + offsetof(WorkerStatus, state));
  number("reason", offsetof(Control, status) + offsetof(WorkerStatus, reason));
  number("reason_bytes", sizeof(WorkerStatus::reason));
  number("control_bytes", sizeof(Control));
  number("ring", kRingOffset);
  number("ring_bytes", kRingBytes);
  number("slots", kSlotsOffset);
  number("slot_count", kReplySlots);
  number("slot_bytes", sizeof(ReplySlot));
  number("slot_state", offsetof(ReplySlot, state));
  number("slot_result", offsetof(ReplySlot, result));
  number("slot_payload", offsetof(ReplySlot, payload));
  number("slot_pending", ReplySlot::kPending);
  number("slot_done", ReplySlot::kDone);
  number("staging", kStagingOffset);
  number("chunk_bytes", kChunkBytes);
  number("up_chunks", kUpChunks);
  number("chunks", kChunks);
  number("shared_bytes", kSharedBytes);
  number("host_arena", kHostArenaAddress);
  number("host_arena_bytes", kHostArenaBytes);
  number("device_arena", kDeviceArenaAddress);
  number("device_arena_bytes", kDeviceArenaBytes);
  number("page_bytes", kArenaPageBytes);
  number("max_command_bytes", wire::kMaxCommandBytes);
  number("no_reply", wire::kNoReply);
  std::printf("\"header\": {\"bytes\": %zu, \"opcode\": %zu, \"reply_slot\": %zu, \"tail_bytes\": %zu},\n",
              offsetof(wire::CommandHeader, bytes), offsetof(wire::CommandHeader, opcode),
              offsetof(wire::CommandHeader, reply_slot), offsetof(wire::CommandHeader, tail_bytes));
  // By kind: the handles of places 0, 1, ... of generation 1, and that of place 0 a generation later.
  std::printf("\"handles\": {");
  const char* const kinds[] = {"",           "stream",  "event",           "module",     "kernel",
                               "link",       "context", "allocation",      "pool",       "graph",
                               "graph_node", "array",   "mipmapped_array", "graph_exec", "user_object"};
  static_assert(sizeof kinds / sizeof *kinds == kHandleKinds);
  for (unsigned kind = 1; kind < kHandleKinds; ++kind) {
    std::printf(
        "%s\"%s\": {\"step\": %llu, \"first\": %llu, \"stale\": %llu}", kind > 1 ? ", " : "", kinds[kind],
        static_cast<unsigned long long>(pack({HandleKind::stream, 1, 1}) - pack({HandleKind::stream, 1, 0})),
        static_cast<unsigned long long>(pack({static_cast<HandleKind>(kind), 1, 0})),
        static_cast<unsigned long long>(pack({static_cast<HandleKind>(kind), 2, 0})));
  }
  std::printf("},\n\"commands\": {\n");
  for (unsigned opcode = 1; opcode < wire::kOpcodeCount; ++opcode) {
    const wire::CommandInfo& info = wire::kCommands[opcode];
    std::printf("  \"%s\": {\"opcode\": %u, \"bytes\": %u, \"reply_bytes\": %u, \"sync\": %s, \"fields\": {",
                info.name, opcode, info.fixed_bytes, info.reply_bytes, info.sync ? "true" : "false");
    for (unsigned i = 0; i < info.field_count; ++i) {
      std::printf("%s\"%s\": [%u, %u]", i > 0 ? ", " : "", info.fields[i].name, info.fields[i].offset,
                  info.fields[i].bytes);
    }
    std::printf("}}%s\n", opcode + 1 < wire::kOpcodeCount ? "," : "");
  }
  std::printf("},\n\"opcode_count\": %u\n}\n", wire::kOpcodeCount);
}
