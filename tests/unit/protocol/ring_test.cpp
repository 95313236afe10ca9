// RingReader, the worker's end of the command ring, against a client that keeps the rules and one that does
// not.
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "replay/ring_reader.hpp"

using namespace tfusion;
using protocol::kRingBytes;
using replay::Command;
using replay::RingReader;
using Next = RingReader::Next;

namespace {

class Random {
 public:
  explicit Random(std::uint32_t seed) : generator_(seed) {}
  std::uint32_t operator()(std::uint32_t below) { return static_cast<std::uint32_t>(generator_() % below); }

 private:
  std::mt19937 generator_;
};

// The client's end, byte by byte; it may write what the hook never would.
class Ring {
 public:
  Ring() {
    void* memory = mmap(nullptr, protocol::kSharedBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    shared.base = static_cast<std::byte*>(memory);
    new (memory) protocol::Control{};
  }
  ~Ring() { munmap(shared.base, protocol::kSharedBytes); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  std::byte* at(std::uint64_t position) { return shared.ring() + position % kRingBytes; }
  void head(std::uint64_t position) { shared.control().head.store(position); }
  void word(std::uint64_t position, std::uint32_t bytes, std::uint16_t opcode) {
    const std::uint64_t value = bytes | std::uint64_t{opcode} << 32;
    std::memcpy(at(position), &value, sizeof value);
  }

  // A command with a tail of `tail_bytes`, each byte `fill`; with a filler before it where the lap ends.
  // Gives the bytes it took.
  std::uint32_t copy_inline(std::uint32_t tail_bytes, std::uint8_t fill) {
    const std::uint32_t bytes = wire::padded(sizeof(wire::CopyInline) + std::uint64_t{tail_bytes});
    const auto to_end = static_cast<std::uint32_t>(kRingBytes - written % kRingBytes);
    const std::uint32_t pad = to_end < bytes ? to_end : 0;
    if (pad > 0) word(written, pad, 0);
    written += pad;
    wire::CopyInline command{};
    command.header = {bytes, static_cast<std::uint16_t>(wire::Opcode::CopyInline), wire::kNoReply, tail_bytes,
                      fill};
    std::memcpy(at(written), &command, sizeof command);
    std::memset(at(written) + sizeof command, fill, tail_bytes);
    written += bytes;
    return bytes + pad;
  }

  protocol::SharedMemory shared;
  std::uint64_t written = 0;
};

// What the reader says to `bytes` told at the ring's start with so much published.
std::string fault(std::uint32_t bytes, std::uint16_t opcode, std::uint64_t published) {
  Ring ring;
  RingReader reader(ring.shared);
  ring.word(0, bytes, opcode);
  ring.head(published);
  Command command;
  return reader.next(&command) == Next::malformed ? reader.error() : "";
}

// Writes and reads commands until `rest` bytes of the lap are left.
void fill_lap_but(Ring& ring, RingReader& reader, std::uint32_t rest) {
  const std::uint32_t tail = wire::kMaxCommandBytes - sizeof(wire::CopyInline);
  while (ring.written < kRingBytes - wire::kMaxCommandBytes) ring.copy_inline(tail, 1);
  ring.copy_inline(tail - rest, 1);
  CHECK_EQ(kRingBytes - ring.written, rest);
  ring.head(ring.written);
  Command command;
  for (std::uint32_t i = 0; i < kRingBytes / wire::kMaxCommandBytes; ++i)
    CHECK_EQ(reader.next(&command), Next::command);
  CHECK_EQ(reader.next(&command), Next::empty);
  reader.release();
}

constexpr auto kCopyInline = static_cast<std::uint16_t>(wire::Opcode::CopyInline);

}  // namespace

TEST(an_empty_ring_is_empty) {
  Ring ring;
  RingReader reader(ring.shared);
  Command command;
  CHECK_EQ(reader.next(&command), Next::empty);
  CHECK(reader.consumed(0));
}

TEST(commands_come_out_as_they_went_in_over_many_laps) {
  Ring ring;
  RingReader reader(ring.shared);
  Random random(3);
  std::uint64_t released = 0;
  std::uint32_t fillers = 0;
  for (int turn = 0; ring.written < 12 * std::uint64_t{kRingBytes}; ++turn) {
    struct Sent {
      std::uint32_t tail;
      std::uint8_t fill;
    };
    std::vector<Sent> sent;
    for (std::uint32_t i = random(40); i-- > 0;) {
      const Sent one{random(random(4) == 0 ? 65'000 : 100), static_cast<std::uint8_t>(random(256))};
      const std::uint32_t took = ring.copy_inline(one.tail, one.fill);
      fillers += took > wire::padded(sizeof(wire::CopyInline) + std::uint64_t{one.tail});
      sent.push_back(one);
    }
    ring.head(ring.written);
    Command command;
    for (const Sent& one : sent) {
      CHECK_EQ(reader.next(&command), Next::command);
      CHECK_EQ(command.opcode, wire::Opcode::CopyInline);
      CHECK_EQ(command.tail.size(), one.tail);
      bool same = true;
      for (const std::byte b : command.tail) same &= b == std::byte{one.fill};
      CHECK(same);
    }
    CHECK_EQ(reader.next(&command), Next::empty);
    CHECK(reader.consumed(ring.written));
    CHECK_EQ(ring.shared.control().tail.load(), released);  // nothing is given back before release()
    reader.release();
    released = ring.written;
    CHECK_EQ(ring.shared.control().tail.load(), released);
  }
  CHECK(fillers >= 5);  // some laps ended with one
}

TEST(a_ring_full_to_the_last_byte) {
  Ring ring;
  RingReader reader(ring.shared);
  const std::uint32_t tail = wire::kMaxCommandBytes - sizeof(wire::CopyInline);
  while (ring.written < kRingBytes) ring.copy_inline(tail, 1);
  CHECK_EQ(ring.written, kRingBytes);
  ring.head(ring.written);
  Command command;
  for (std::uint32_t i = 0; i < kRingBytes / wire::kMaxCommandBytes; ++i)
    CHECK_EQ(reader.next(&command), Next::command);
  CHECK_EQ(reader.next(&command), Next::empty);
}

TEST(a_filler_of_eight_bytes) {
  Ring ring;
  RingReader reader(ring.shared);
  fill_lap_but(ring, reader, 8);
  ring.copy_inline(3, 1);
  ring.head(ring.written);
  Command command;
  CHECK_EQ(reader.next(&command), Next::command);
  CHECK_EQ(command.tail.size(), 3u);
  CHECK_EQ(reader.next(&command), Next::empty);
}

TEST(sizes_that_are_none) {
  for (const std::uint32_t bytes :
       {0u, 1u, 7u, 9u, 12u, 31u, 33u, 48u, 0x80000000u, 0xfffffff8u, 0xffffffffu}) {
    CHECK_EQ(fault(bytes, kCopyInline, 40),
             "a command tells a size of " + std::to_string(bytes) + " bytes where 40 lie");
  }
  CHECK_EQ(fault(8, kCopyInline, 40), "a command is shorter than its header");
  CHECK_EQ(fault(24, kCopyInline, 40), "CopyInline has 24 bytes where its fields need 32");
  CHECK_EQ(fault(wire::kMaxCommandBytes + 8, kCopyInline, kRingBytes),
           "a command of 65544 bytes is larger than any may be");
}

TEST(a_head_that_cannot_be) {
  const std::string behind = "the ring's head is not ahead of its tail by at most its size";
  CHECK_EQ(fault(32, kCopyInline, kRingBytes + 8), behind);
  CHECK_EQ(fault(32, kCopyInline, ~std::uint64_t{0}), behind);
  CHECK_EQ(fault(32, kCopyInline, std::uint64_t{1} << 32), behind);
  for (std::uint64_t published = 1; published < 8; ++published) {
    CHECK_EQ(fault(32, kCopyInline, published), "a command is shorter than its size and opcode");
  }
}

TEST(a_head_that_goes_back) {
  Ring ring;
  RingReader reader(ring.shared);
  ring.copy_inline(8, 1);
  ring.head(ring.written);
  Command command;
  CHECK_EQ(reader.next(&command), Next::command);
  ring.head(ring.written - 8);
  CHECK_EQ(reader.next(&command), Next::malformed);
  CHECK_EQ(reader.error(), "the ring's head is not ahead of its tail by at most its size");
}

TEST(the_tail_in_shared_memory_is_not_believed) {
  Ring ring;
  RingReader reader(ring.shared);
  ring.copy_inline(8, 1);
  ring.copy_inline(8, 2);
  ring.head(ring.written);
  Command command;
  CHECK_EQ(reader.next(&command), Next::command);
  ring.shared.control().tail.store(0);
  CHECK_EQ(reader.next(&command), Next::command);
  CHECK(command.tail[0] == std::byte{2});
  reader.release();
  CHECK_EQ(ring.shared.control().tail.load(), ring.written);
}

TEST(fillers_that_cannot_be) {
  const std::string wrong = "a filler does not fill the rest of a lap";
  CHECK_EQ(fault(8, 0, 40), wrong);
  CHECK_EQ(fault(32, 0, 40), wrong);
  CHECK_EQ(fault(48, 0, 40), "a command tells a size of 48 bytes where 40 lie");
  // A whole lap of filler: the client could publish them for ever and the reader would never come back.
  CHECK_EQ(fault(kRingBytes, 0, kRingBytes), wrong);
}

TEST(a_command_may_not_wrap) {
  Ring ring;
  RingReader reader(ring.shared);
  fill_lap_but(ring, reader, 16);
  ring.word(ring.written, 32, kCopyInline);
  ring.head(ring.written + 32);
  Command command;
  CHECK_EQ(reader.next(&command), Next::malformed);
  CHECK_EQ(reader.error(), "a command tells a size of 32 bytes where 16 lie");
}

TEST(random_bytes_end_in_a_sentence) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 300; ++round) {
    Ring ring;
    RingReader reader(ring.shared);
    const std::uint64_t published = (random() % 4096) & ~std::uint64_t{7};
    for (std::uint64_t i = 0; i < published; i += 8) {
      const std::uint64_t value = random() >> (random() % 64);
      std::memcpy(ring.at(i), &value, 8);
    }
    ring.head(published);
    Command command;
    Next next = Next::command;
    while (next == Next::command) next = reader.next(&command);
    CHECK(next == Next::empty || !reader.error().empty());
  }
}

// A client that changes a command while it is read: what the reader gives must be whole in itself, whatever
// it saw.
TEST(a_command_that_changes_while_it_is_read) {
  Ring ring;
  std::atomic<bool> over{false};
  std::thread writer([&] {
    Random random(5);
    constexpr std::uint32_t kSizes[] = {
        0, 8, 16, 24, 32, 40, 64, 4096, wire::kMaxCommandBytes, wire::kMaxCommandBytes + 8, kRingBytes};
    while (!over.load(std::memory_order_relaxed)) {
      const wire::CommandHeader header{
          kSizes[random(std::size(kSizes))], static_cast<std::uint16_t>(random(wire::kOpcodeCount + 1)),
          random(2) == 0 ? wire::kNoReply : static_cast<std::uint16_t>(random(70)), random(70), random(1000)};
      // Word by word, as another thread's stores arrive.
      auto* words = reinterpret_cast<volatile std::uint32_t*>(ring.shared.ring());
      std::uint32_t values[4];
      std::memcpy(values, &header, sizeof values);
      for (int i = 0; i < 4; ++i) words[i] = values[i];
    }
  });
  std::uint32_t commands = 0, refused = 0;
  for (int turn = 0; turn < 20'000 || (commands < 20 && turn < 10'000'000); ++turn) {
    RingReader reader(ring.shared);
    ring.head(kRingBytes);
    Command command;
    const Next next = reader.next(&command);
    if (next == Next::malformed) {
      CHECK(!reader.error().empty());
      ++refused;
      continue;
    }
    CHECK_EQ(next, Next::command);
    ++commands;
    // The spans lie in the reader's own memory and agree with the header in it, then and a little later.
    const auto* start = command.bytes.data();
    CHECK(start < ring.shared.base || start >= ring.shared.base + protocol::kSharedBytes);
    wire::CommandHeader first, second;
    std::memcpy(&first, start, sizeof first);
    const wire::CommandInfo& info = wire::kCommands[static_cast<std::uint16_t>(command.opcode)];
    CHECK_EQ(first.opcode, static_cast<std::uint16_t>(command.opcode));
    CHECK_EQ(command.bytes.size(), info.fixed_bytes);
    CHECK_EQ(command.tail.size(), first.tail_bytes);
    CHECK(command.bytes.size() + command.tail.size() <= first.bytes);
    CHECK(info.sync ? first.reply_slot < protocol::kReplySlots : first.reply_slot == wire::kNoReply);
    std::this_thread::yield();
    std::memcpy(&second, start, sizeof second);
    CHECK(std::memcmp(&first, &second, sizeof first) == 0);
  }
  over = true;
  writer.join();
  CHECK(commands > 0 && refused > 0);
}
