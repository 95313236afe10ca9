// The layout of a session's shared memory: one sealed memfd that the worker makes and both sides map.
//
//   Control | command ring | reply slots | staging chunks (up) | staging chunks (down) | text of the device
//
// Who writes what: the client writes ring bytes, `head`, its own waiting flags, HostCall::finished and
// DeviceText::read; the worker writes `tail`, reply slots, chunk releases, the rest of HostCall and
// DeviceText, and everything in WorkerStatus and DeviceFacts. The worker trusts nothing it reads here: it
// keeps its own copy of its cursor, and copies a command before it looks at it. The client trusts its worker.
//
// A second memfd is the host arena: pinned host memory, mapped at kHostArenaAddress in both processes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tfusion::protocol {

inline constexpr std::uint64_t kDeviceArenaAddress = 0x500000000000ull;
inline constexpr std::uint64_t kDeviceArenaBytes = 4ull << 40;
inline constexpr std::uint64_t kHostArenaAddress = 0x480000000000ull;
inline constexpr std::uint64_t kHostArenaBytes = 256ull << 30;
inline constexpr std::uint64_t kArenaPageBytes = 2ull << 20;  // granularity of MemoryCommit and HostCommit

inline constexpr std::uint32_t kRingBytes = 4u << 20;
inline constexpr std::uint32_t kReplySlots = 64;
inline constexpr std::uint32_t kReplySlotBytes = 4096;
inline constexpr std::uint32_t kChunkBytes = 1u << 20;
inline constexpr std::uint32_t kUpChunks = 16;    // client to worker; the worker releases them
inline constexpr std::uint32_t kDownChunks = 14;  // worker to client; the client releases them
inline constexpr std::uint32_t kChunks = kUpChunks + kDownChunks;

inline constexpr std::uint32_t kTextBytes = 1u << 20;  // of the ring for what device code prints

inline constexpr std::uint32_t kMaxDeviceAttributes = 192;
inline constexpr std::uint32_t kMaxLimits = 16;
inline constexpr std::uint32_t kMaxSmPairs = 512;

// What the client answers about the device without asking again. Written by the worker before the Welcome.
struct DeviceFacts {
  char name[256];
  char pci_bus_id[32];
  std::uint64_t total_bytes;  // the slice's limit, which is what the learner's device has
  std::uint64_t context_id;
  std::int32_t driver_version;
  std::uint32_t context_api_version;
  std::uint32_t context_flags;
  std::int32_t least_priority;
  std::int32_t greatest_priority;
  std::uint32_t sm_pairs;  // 0: the driver has no such table
  std::int32_t attributes[kMaxDeviceAttributes];
  std::uint8_t attribute_known[kMaxDeviceAttributes];
  std::uint64_t limits[kMaxLimits];
  std::uint8_t limit_known[kMaxLimits];
  std::uint8_t sm_place[kMaxSmPairs];
  std::uint8_t sm_group[kMaxSmPairs];
};

enum class SessionState : std::uint32_t { running = 0, ended = 1 };

struct WorkerStatus {
  std::atomic<std::uint32_t> state;         // SessionState
  std::atomic<std::uint32_t> sticky_error;  // CUresult that every call of the context now returns, 0 for none
  std::atomic<std::uint64_t> slice_used_bytes;
  char reason[512];  // why the session ended; read after state
};

struct alignas(64) ReplySlot {
  static constexpr std::uint32_t kIdle = 0, kPending = 1, kPendingAsleep = 2, kDone = 3;
  std::atomic<std::uint32_t> state;
  std::int32_t result;
  std::uint32_t payload_bytes;
  std::uint32_t reserved;
  std::byte payload[kReplySlotBytes - 16];
};
static_assert(sizeof(ReplySlot) == kReplySlotBytes);
inline constexpr std::uint32_t kReplyPayloadBytes = sizeof(ReplySlot::payload);

// The one thing that the worker asks of the client: to run a host function, whose turn in its stream has
// come. One at a time: the worker raises `requested`, a thread of the client runs the function and sets
// `finished` to the same number.
struct HostCall {
  enum Kind : std::uint32_t { function = 0, callback = 1 };  // cuLaunchHostFunc, cuStreamAddCallback
  std::atomic<std::uint32_t> requested;                      // futex word of the client's thread
  std::atomic<std::uint32_t> finished;                       // futex word of the worker's
  std::uint64_t code;
  std::uint64_t argument;
  std::uint64_t stream;  // of a callback, as the client named it
  std::uint32_t kind;
};

// What kernels printed (printf, failed assertions), as records {u32 descriptor 1 or 2, u32 bytes, text}, one
// after the other over the ring's end. Forwarded before the reply of a call that synchronises.
struct DeviceText {
  std::atomic<std::uint64_t> written;  // bytes ever
  std::atomic<std::uint64_t> read;     // bytes ever
  std::atomic<std::uint32_t> more;     // 1: the worker holds more than fits; TextNext brings it
};

struct Control {
  alignas(64) std::atomic<std::uint64_t> head;           // bytes ever written; by the client
  std::atomic<std::uint32_t> consumer_asleep;            // futex word of the worker
  alignas(64) std::atomic<std::uint64_t> tail;           // bytes ever consumed; by the worker
  alignas(64) std::atomic<std::uint32_t> space_waiters;  // client threads that wait for ring space or a chunk
  std::atomic<std::uint32_t> space_epoch;                // their futex word; bumped by the worker
  alignas(64) std::atomic<std::uint32_t> chunk_busy[kChunks];
  std::atomic<std::uint32_t> refused_calls;  // by the client: calls that this virtual GPU does not support
  alignas(64) HostCall host_call;
  alignas(64) DeviceText text;
  alignas(64) WorkerStatus status;
  alignas(64) DeviceFacts facts;
};

constexpr std::uint64_t page_aligned(std::uint64_t bytes) {
  return (bytes + 4095) & ~std::uint64_t{4095};
}

inline constexpr std::uint64_t kRingOffset = page_aligned(sizeof(Control));
inline constexpr std::uint64_t kSlotsOffset = kRingOffset + kRingBytes;
inline constexpr std::uint64_t kStagingOffset = kSlotsOffset + std::uint64_t{kReplySlots} * kReplySlotBytes;
inline constexpr std::uint64_t kTextOffset = kStagingOffset + std::uint64_t{kChunks} * kChunkBytes;
inline constexpr std::uint64_t kSharedBytes = kTextOffset + kTextBytes;

static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              std::atomic<std::uint64_t>::is_always_lock_free);

// A view of the mapped memory; owns nothing.
struct SharedMemory {
  std::byte* base = nullptr;
  Control& control() const { return *reinterpret_cast<Control*>(base); }
  std::byte* ring() const { return base + kRingOffset; }
  ReplySlot& slot(std::uint32_t i) const { return reinterpret_cast<ReplySlot*>(base + kSlotsOffset)[i]; }
  std::byte* text() const { return base + kTextOffset; }
  std::byte* chunk(std::uint32_t i) const { return base + kStagingOffset + std::uint64_t{i} * kChunkBytes; }
};

}  // namespace tfusion::protocol
