// What generated stubs (exports.cpp) are made of: sending, handles on the wire, and the default stream.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "channel.hpp"
#include "process.hpp"
#include "protocol/handle.hpp"
#include "refusal.hpp"

namespace tfusion::hook {

// What is said of a part of a function that is answered otherwise; see refusal.hpp.
inline CUresult refused(const char* what) {
  return static_cast<CUresult>(refuse(what));
}

// A fresh handle of that kind with an object of default state behind it.
std::uint64_t new_handle(protocol::HandleKind kind);

// The number that travels, or CUDA_ERROR_INVALID_HANDLE. Streams: 0 is the default stream of the call
// (legacy, or the thread's own inside a PerThreadDefaultStream), 1 the legacy one, 2 the thread's own.
CUresult stream_on_wire(CUstream stream, std::uint64_t* wire);
CUresult event_on_wire(CUevent event, std::uint64_t* wire);

inline constexpr std::uint64_t kLegacyStream = 1;

// While one lives, this thread's default stream is its own: what the _ptsz and _ptds variants mean.
class PerThreadDefaultStream {
 public:
  PerThreadDefaultStream();
  ~PerThreadDefaultStream();
  PerThreadDefaultStream(const PerThreadDefaultStream&) = delete;
  PerThreadDefaultStream& operator=(const PerThreadDefaultStream&) = delete;

 private:
  bool before_;
};

// The context was reset: every thread makes a new stream of its own when it next needs one.
void forget_thread_streams();

}  // namespace tfusion::hook
