#include "channel.hpp"

#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "device_text.hpp"
#include "protocol/futex.hpp"

namespace tfusion::hook {

namespace {

using namespace protocol;

constinit std::mutex ring_mutex;
constinit std::uint64_t ring_head =
    0;  // own copies under ring_mutex: shared memory is read as little as possible
constinit std::uint64_t known_tail = 0;
constinit std::atomic<std::uint64_t> free_slots{~std::uint64_t{0}};
constinit std::atomic<std::uint32_t> slot_waiters{0};
constinit std::atomic<std::uint32_t> slot_epoch{0};
static_assert(kReplySlots == 64);

constexpr std::uint64_t kNapNs = 100'000'000;  // between looks at whether the session still lives

// How long to spin for a reply before this thread sleeps. A wake-up costs some ten microseconds, so on a
// machine with cores to spare it is worth spinning for as long as replies took lately, if that was not long:
// a loop that waits for a kernel of a tenth of a millisecond each time loses nothing, one that waits for long
// kernels leaves its core to others.
class Patience {
 public:
  std::uint64_t limit_ns() const {
    static const bool roomy = sysconf(_SC_NPROCESSORS_ONLN) >= 4;
    if (!roomy) return 2'000;
    return usual_ns_ < kLongNs ? std::max(kShortNs, 2 * usual_ns_) : kShortNs;
  }
  void note(std::uint64_t waited_ns) { usual_ns_ = (3 * usual_ns_ + std::min(waited_ns, 2 * kLongNs)) / 4; }

 private:
  static constexpr std::uint64_t kShortNs = 50'000;
  static constexpr std::uint64_t kLongNs = 500'000;
  std::uint64_t usual_ns_ = 0;  // a moving mean
};
thread_local Patience patience;

// Waits on the worker's space epoch until done() holds; false if the session is lost first.
template <typename Done>
bool wait_for_space(Done&& done) {
  Control& control = shared.control();
  for (int i = 0; i < 200; ++i) {
    if (done()) return true;
    cpu_relax();
  }
  control.space_waiters.fetch_add(1);
  bool ok = false;
  for (;;) {
    const std::uint32_t epoch = control.space_epoch.load();
    ok = done();
    if (ok || connection_ended()) break;
    futex_wait(control.space_epoch, epoch, kNapNs);
  }
  control.space_waiters.fetch_sub(1);
  return ok;
}

void wake_worker() {
  Control& control = shared.control();
  if (control.consumer_asleep.load(std::memory_order_seq_cst) != 0) {
    control.consumer_asleep.store(0, std::memory_order_relaxed);
    futex_wake(control.consumer_asleep, 1);
  }
}

}  // namespace

CUresult lost() {
  const CUresult result = enter_slowly(true);
  return result != CUDA_SUCCESS ? result : CUDA_ERROR_DEVICE_UNAVAILABLE;
}

RingWriter::RingWriter(std::uint32_t bytes) : bytes_(bytes) {
  ring_mutex.lock();
  Control& control = shared.control();
  const std::uint32_t offset = static_cast<std::uint32_t>(ring_head % kRingBytes);
  const std::uint32_t to_end = kRingBytes - offset;
  const std::uint32_t pad = to_end < bytes ? to_end : 0;
  const std::uint64_t need = std::uint64_t{bytes} + pad;
  auto fits = [&] {
    if (kRingBytes - (ring_head - known_tail) >= need) return true;
    known_tail = control.tail.load(std::memory_order_acquire);
    return kRingBytes - (ring_head - known_tail) >= need;
  };
  if (!fits() && !wait_for_space(fits)) return;
  if (pad > 0) {  // commands are contiguous: a filler takes the rest of the lap
    wire::CommandHeader filler{pad, static_cast<std::uint16_t>(wire::Opcode::Pad), wire::kNoReply, 0, 0};
    if (pad >= sizeof filler) {
      std::memcpy(shared.ring() + offset, &filler, sizeof filler);
    } else {
      std::memcpy(shared.ring() + offset, &filler, 8);  // size and opcode are all that is looked at
    }
    ring_head += pad;
  }
  at_ = shared.ring() + ring_head % kRingBytes;
}

RingWriter::~RingWriter() {
  ring_mutex.unlock();
}

void RingWriter::publish() {
  ring_head += bytes_;
  // Sequentially consistent against the worker's "asleep, then look again": one of the two sees the other.
  shared.control().head.store(ring_head, std::memory_order_seq_cst);
  wake_worker();
}

std::uint64_t published() {
  return shared.control().head.load(std::memory_order_relaxed);
}

std::uint32_t thread_number() {
  static constinit std::atomic<std::uint32_t> next{1};
  static thread_local std::uint32_t mine = 0;
  if (mine == 0) mine = next.fetch_add(1, std::memory_order_relaxed);
  return mine;
}

CUresult post_bytes(wire::CommandHeader& header, std::uint32_t fixed_bytes, const void* tail,
                    std::uint32_t tail_bytes) {
  const std::uint32_t bytes = wire::padded(std::uint64_t{fixed_bytes} + tail_bytes);
  if (bytes > wire::kMaxCommandBytes) return CUDA_ERROR_INVALID_VALUE;
  header.bytes = bytes;
  header.tail_bytes = tail_bytes;
  header.thread = thread_number();
  RingWriter writer(bytes);
  if (writer.data() == nullptr) return lost();
  std::memcpy(writer.data(), &header, fixed_bytes);
  if (tail_bytes > 0) std::memcpy(writer.data() + fixed_bytes, tail, tail_bytes);
  writer.publish();
  return CUDA_SUCCESS;
}

bool Reply::take() {
  std::uint64_t free = free_slots.load(std::memory_order_relaxed);
  while (free != 0) {
    const auto slot = static_cast<std::uint16_t>(__builtin_ctzll(free));
    if (free_slots.compare_exchange_weak(free, free & ~(std::uint64_t{1} << slot),
                                         std::memory_order_acquire)) {
      slot_ = slot;
      shared.slot(slot).state.store(ReplySlot::kPending, std::memory_order_relaxed);
      return true;
    }
  }
  return false;
}

Reply::Reply(std::try_to_lock_t) {
  take();
}

Reply::Reply() {
  while (!take()) {
    slot_waiters.fetch_add(1);
    const std::uint32_t epoch = slot_epoch.load();
    const bool over = connection_ended();
    if (!over && free_slots.load() == 0) futex_wait(slot_epoch, epoch, kNapNs);
    slot_waiters.fetch_sub(1);
    if (over) return;
  }
}

Reply::~Reply() {
  if (abandoned_ || !valid()) return;
  free_slots.fetch_or(std::uint64_t{1} << slot_, std::memory_order_release);
  slot_epoch.fetch_add(1);
  if (slot_waiters.load() != 0) futex_wake(slot_epoch, 1);
}

CUresult Reply::wait() {
  if (!valid()) return lost();
  ReplySlot& slot = shared.slot(slot_);
  const std::uint64_t limit = patience.limit_ns();
  const std::uint64_t start = now_ns();
  std::uint64_t now = start;
  while (slot.state.load(std::memory_order_acquire) != ReplySlot::kDone) {
    for (int i = 0; i < 32 && slot.state.load(std::memory_order_relaxed) != ReplySlot::kDone; ++i)
      cpu_relax();
    now = now_ns();
    if (now - start < limit) continue;
    std::uint32_t pending = ReplySlot::kPending;
    slot.state.compare_exchange_strong(pending, ReplySlot::kPendingAsleep);
    if (slot.state.load() == ReplySlot::kDone) break;
    futex_wait(slot.state, ReplySlot::kPendingAsleep, kNapNs);
    now = now_ns();
    if (slot.state.load(std::memory_order_acquire) != ReplySlot::kDone && connection_ended()) {
      abandoned_ = true;
      return lost();
    }
  }
  patience.note(now - start);
  raw_ = slot.result;
  payload_bytes_ = slot.payload_bytes <= kReplyPayloadBytes ? slot.payload_bytes : 0;
  print_new_device_text();
  if (raw_ == CUDA_ERROR_DEVICE_UNAVAILABLE) return lost();
  return raw_ < 0 ? CUDA_ERROR_UNKNOWN : static_cast<CUresult>(raw_);
}

const std::byte* Reply::payload() const {
  return shared.slot(slot_).payload;
}

namespace {

// A free chunk of [first, first + count), or kChunks.
std::uint32_t try_chunk(std::uint32_t first, std::uint32_t count) {
  static thread_local std::uint32_t turn = 0;
  Control& control = shared.control();
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t c = first + (turn + i) % count;
    std::uint32_t free = 0;
    if (control.chunk_busy[c].load(std::memory_order_relaxed) == 0 &&
        control.chunk_busy[c].compare_exchange_strong(free, 1, std::memory_order_acquire)) {
      turn = (turn + i + 1) % count;
      return c;
    }
  }
  return kChunks;
}

std::uint32_t wait_chunk(std::uint32_t first, std::uint32_t count) {
  std::uint32_t found = kChunks;
  wait_for_space([&] {
    found = try_chunk(first, count);
    return found != kChunks;
  });
  return found;
}

}  // namespace

UpChunk::UpChunk() : index_(wait_chunk(0, kUpChunks)) {}

DownChunk::DownChunk() : index_(wait_chunk(kUpChunks, kDownChunks)) {}

DownChunk::DownChunk(std::try_to_lock_t) : index_(try_chunk(kUpChunks, kDownChunks)) {}

DownChunk::~DownChunk() {
  if (!valid()) return;
  Control& control = shared.control();
  // Sequentially consistent against a waiter's "say that I wait, then look again".
  control.chunk_busy[index_].store(0, std::memory_order_seq_cst);
  if (control.space_waiters.load(std::memory_order_seq_cst) != 0) {
    control.space_epoch.fetch_add(1);
    futex_wake(control.space_epoch);
  }
}

}  // namespace tfusion::hook
