// What the daemon tells an observer: a process that wants to know how its slice is doing and needs no session
// for that, `nvidia-smi` or the notebook's `%vgpu` for example. kernel_hook/nvml and gpu_server/observer.py
// ask; gpu_server/observation.py answers.
//
// An observer connects to the session socket and sends a Hello whose magic is kObserverMagic. The daemon
// checks id and token as it does for a session and answers with one Welcome; if that accepts, an Observation
// follows, and the connection is closed. No worker, slot or descriptor is involved: nothing is left of an
// observer once it was answered, and there is nothing it could write to. It is told of its own slice and no
// other.
//
// With kMarkMagic it is the same, and a new mark is set first: from then on the daemon knows the most memory
// that the slice had since that moment (peak_bytes), until kMarks further marks were set.
//
// All integers little-endian; no padding. gpu_server/observation.py holds the same layout, tests/unit
// compare.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/slice_facts.hpp"

namespace tfusion::protocol {

inline constexpr char kObserverMagic[8] = {'T', 'F', 'U', 'S', 'O', 'B', 'S', '\0'};
inline constexpr char kMarkMagic[8] = {'T', 'F', 'U', 'S', 'M', 'R', 'K', '\0'};
inline constexpr std::uint32_t kMaxObservedSessions = 64;  // as many as a slice may have
inline constexpr std::uint32_t kMarks = 8;

enum class SessionPhase : std::uint32_t {
  idle = 0,
  running = 1,
  waiting = 2,
  swapping_in = 3,
  swapping_out = 4,
  swapped_out = 5,
};

struct ObservedSession {
  std::uint32_t pid;             // as the observer's process namespace numbers it
  std::uint32_t busy_percent;    // of the sampling period: time with GPU work of this session under way
  std::uint64_t used_bytes;      // of GPU memory, wherever it lies at the moment
  std::uint64_t sampled_us;      // Unix time, the end of that period
  std::uint64_t resident_bytes;  // on the GPU
  std::uint64_t swapped_bytes;   // on the host meanwhile
  std::uint64_t gpu_ns;          // GPU time charged so far
  std::uint64_t waited_ns;       // of waits that are over
  SessionPhase phase;            // as the scheduler saw it last
  std::uint32_t place;           // among those that wait: 1 is next; 0: it does not wait
  std::uint32_t busy;            // 1: it has work for the GPU at this moment
  std::uint32_t reserved;
  char name[64];  // NUL-padded, as the process gave it
};
static_assert(sizeof(ObservedSession) == 136);

struct Observation {
  SliceFacts facts;
  std::uint64_t used_bytes;  // by all sessions
  std::uint32_t sessions;    // rows that hold something; oldest session first
  std::uint32_t mark;        // number of the last mark; 0: none was set
  char driver_version[64];   // NUL-padded text; empty: not known
  char slice_name[128];      // NUL-padded
  // Since the slice was opened, by sessions that are over too.
  std::uint64_t age_ns;
  std::uint64_t gpu_ns;
  std::uint64_t waited_ns;
  std::uint64_t swapped_out_bytes;
  std::uint64_t swapped_in_bytes;
  std::uint64_t peak_bytes[kMarks];  // most used_bytes: since the last mark, since the one before, ...
  ObservedSession rows[kMaxObservedSessions];
};
static_assert(sizeof(Observation) == 9312);
static_assert(offsetof(Observation, rows) == 608);

}  // namespace tfusion::protocol
