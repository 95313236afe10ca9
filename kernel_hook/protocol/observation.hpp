// What the daemon tells an observer: a process that wants to know how its slice is doing and needs no session
// for that, `nvidia-smi` for example. kernel_hook/nvml asks; gpu_server/observation.py answers.
//
// An observer connects to the session socket and sends a Hello whose magic is kObserverMagic. The daemon
// checks id and token as it does for a session and answers with one Welcome; if that accepts, an Observation
// follows, and the connection is closed. No worker, slot or descriptor is involved: nothing is left of an
// observer once it was answered, and there is nothing it could write to. It is told of its own slice and no
// other.
//
// All integers little-endian; no padding. gpu_server/observation.py holds the same layout, tests/unit
// compare.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/slice_facts.hpp"

namespace tfusion::protocol {

inline constexpr char kObserverMagic[8] = {'T', 'F', 'U', 'S', 'O', 'B', 'S', '\0'};
inline constexpr std::uint32_t kMaxObservedSessions = 64;  // as many as a slice may have

struct ObservedSession {
  std::uint32_t pid;           // as the observer's process namespace numbers it
  std::uint32_t busy_percent;  // of the sampling period: time with GPU work of this session under way
  std::uint64_t used_bytes;    // of GPU memory
  std::uint64_t sampled_us;    // Unix time, the end of that period
  char name[64];               // NUL-padded, as the process gave it
};
static_assert(sizeof(ObservedSession) == 88);

struct Observation {
  SliceFacts facts;
  std::uint64_t used_bytes;  // by all sessions
  std::uint32_t sessions;    // rows that hold something; oldest session first
  std::uint32_t reserved;
  char driver_version[64];  // NUL-padded text; empty: not known
  ObservedSession rows[kMaxObservedSessions];
};
static_assert(sizeof(Observation) == 6008);
static_assert(offsetof(Observation, rows) == 376);

}  // namespace tfusion::protocol
