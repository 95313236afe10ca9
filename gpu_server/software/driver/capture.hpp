// Stream capture: between begin and end the work of a stream becomes nodes of a graph. A capture spreads to
// the streams that wait for an event recorded in it, and has to come back to the one where it began.
//
// Calls that give work to a stream, wait for one, or ask about one pass the checks here first. Without a
// capture each is a look at a flag. The functions of the API are in stream_capture.cpp.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "graph.hpp"
#include "stream.hpp"

namespace tfusion::software::driver {

class Event;

// One capture, guarded by Driver::graph_mutex.
class Capture {
 public:
  Capture(CUstreamCaptureMode capture_mode, std::shared_ptr<Graph> into, bool is_own_graph);

  bool is_joined() const;

  const std::uint64_t id;
  const CUstreamCaptureMode mode;
  const std::thread::id thread;                  // that began it
  const bool owns_graph;                         // false if it adds to a graph of the program's
  std::shared_ptr<Graph> graph;                  // null once the capture has ended
  std::vector<std::shared_ptr<Stream>> streams;  // the first is where it began
  std::vector<GraphNode*> loose;                 // the last nodes of streams that were destroyed meanwhile
  bool invalidated = false;
};

// The calling thread's answer to cuThreadExchangeStreamCaptureMode.
CUstreamCaptureMode& thread_capture_mode() noexcept;

// Captures that have not ended; written under the lock.
inline std::atomic<unsigned> active_captures{0};

// Slow paths of the checks below.
bool captures_slowly(const Stream& stream, const Context& owner);
void forbid_on_slowly(const Stream& stream, const Context& owner);
void forbid_unsafe_call_slowly();
void forbid_in_slowly(const Context& context);

inline bool is_involved(const Stream& stream, const Context& owner) noexcept {
  return stream.capturing.load(std::memory_order_acquire) ||
         (stream.is_legacy() && owner.capturing_blocking_streams.load(std::memory_order_acquire) != 0);
}

// Whether work for the stream becomes nodes. Throws CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, or ..._IMPLICIT
// for the legacy stream, whose work would have to wait for a capturing stream.
inline bool captures(const Stream& stream, const Context& owner) {
  return is_involved(stream, owner) && captures_slowly(stream, owner);
}

// For calls that wait for a stream or ask for its progress. They invalidate the capture.
inline void forbid_on(const Stream& stream, const Context& owner) {
  if (is_involved(stream, owner)) forbid_on_slowly(stream, owner);
}

// For calls that a replay would not repeat, which most capture modes forbid ("potentially unsafe" in cuda.h).
inline void forbid_unsafe_call() {
  if (active_captures.load(std::memory_order_acquire) != 0) forbid_unsafe_call_slowly();
}

// For calls that wait for everything in a context.
inline void forbid_in(const Context& context) {
  if (active_captures.load(std::memory_order_acquire) != 0) forbid_in_slowly(context);
}

// Adds a node to the graph that the stream captures into. Precondition: captures() was true.
void capture_work(Stream& stream, const Context& owner, const std::shared_ptr<const Work>& work);

// An event recorded in a capturing stream stands for the stream's last nodes.
void capture_record(const Stream& stream, Event& event);
// cuStreamWaitEvent with a capture on either side: true if that was all there is to do.
bool capture_wait(const std::shared_ptr<Stream>& stream, const Context& owner,
                  const std::shared_ptr<Event>& event, unsigned flags);
// An event of a capture cannot be waited for or asked: throws CUDA_ERROR_CAPTURED_EVENT.
void require_not_captured(const Event& event);

// Takes part in the capture from now on. Precondition: the lock is held.
void join(const std::shared_ptr<Capture>& capture, const std::shared_ptr<Stream>& stream,
          std::vector<GraphNode*> tips);
// Ends it for all its streams. Its graph is dropped unless it was complete or is the program's.
void end(Capture& capture, bool is_complete, GraphLock& lock);
// The stream goes: a capture that began there ends, another goes on without it.
void leave(const std::shared_ptr<Stream>& stream);
// The context goes, and all captures in it.
void end_captures_in(const Context& context);

}  // namespace tfusion::software::driver
