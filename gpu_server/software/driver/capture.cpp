// Stream capture: see capture.hpp.
#include "capture.hpp"

#include <algorithm>
#include <unordered_set>

#include "entry.hpp"
#include "event.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

namespace {

// All captures that have not ended. Guarded by the lock; never destroyed.
std::vector<std::shared_ptr<Capture>>& active() {
  static auto& only = *new std::vector<std::shared_ptr<Capture>>;
  return only;
}

std::uint64_t next_capture_id() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1);
}

bool has_stream_of(const Capture& capture, const Context& context, bool only_blocking) {
  return std::any_of(capture.streams.begin(), capture.streams.end(), [&](const auto& stream) {
    return stream->owner == context.handle && (!only_blocking || stream->is_blocking());
  });
}

[[noreturn]] void refuse_implicit(const Context& owner) {
  for (const auto& capture : active()) {
    if (has_stream_of(*capture, owner, true)) capture->invalidated = true;
  }
  throw Failure(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
}

void count_blocking(const Stream& stream, bool more) {
  if (!stream.is_blocking()) return;
  const auto context = driver().handles.find<Context>(stream.owner);
  if (!context) return;
  if (more) {
    context->capturing_blocking_streams.fetch_add(1, std::memory_order_release);
  } else {
    context->capturing_blocking_streams.fetch_sub(1, std::memory_order_release);
  }
}

void release_stream(Stream& stream, GraphLock& lock) {
  lock.discard(std::exchange(stream.capture, nullptr));
  stream.tips.clear();
  stream.told_tips.clear();
  stream.told_edges.clear();
  stream.capturing.store(false, std::memory_order_release);
  count_blocking(stream, false);
}

}  // namespace

Capture::Capture(CUstreamCaptureMode capture_mode, std::shared_ptr<Graph> into, bool is_own_graph)
    : id(next_capture_id()),
      mode(capture_mode),
      thread(std::this_thread::get_id()),
      owns_graph(is_own_graph),
      graph(std::move(into)) {}

bool Capture::is_joined() const {
  std::unordered_set<const GraphNode*> reached(streams[0]->tips.begin(), streams[0]->tips.end());
  std::vector<const GraphNode*> waiting(reached.begin(), reached.end());
  while (!waiting.empty()) {
    const GraphNode* const node = waiting.back();
    waiting.pop_back();
    for (const GraphNode* dependency : node->dependencies) {
      if (reached.insert(dependency).second) waiting.push_back(dependency);
    }
  }
  const auto is_reached = [&](const GraphNode* node) { return reached.contains(node); };
  return std::all_of(loose.begin(), loose.end(), is_reached) &&
         std::all_of(streams.begin(), streams.end(), [&](const auto& stream) {
           return std::all_of(stream->tips.begin(), stream->tips.end(), is_reached);
         });
}

CUstreamCaptureMode& thread_capture_mode() noexcept {
  thread_local CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  return mode;
}

bool captures_slowly(const Stream& stream, const Context& owner) {
  const GraphLock lock;
  if (stream.capture != nullptr) {
    require(!stream.capture->invalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    return true;
  }
  if (stream.is_legacy() && owner.capturing_blocking_streams != 0) refuse_implicit(owner);
  return false;
}

void forbid_on_slowly(const Stream& stream, const Context& owner) {
  const GraphLock lock;
  if (stream.capture != nullptr) {
    const bool before = std::exchange(stream.capture->invalidated, true);
    throw Failure(before ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  }
  if (stream.is_legacy() && owner.capturing_blocking_streams != 0) refuse_implicit(owner);
}

void forbid_unsafe_call_slowly() {
  const CUstreamCaptureMode mode = thread_capture_mode();
  if (mode == CU_STREAM_CAPTURE_MODE_RELAXED) return;
  const GraphLock lock;
  bool forbidden = false;
  for (const auto& capture : active()) {
    if (capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
    const bool here = capture->thread == std::this_thread::get_id();
    if (!here && (mode != CU_STREAM_CAPTURE_MODE_GLOBAL || capture->mode != CU_STREAM_CAPTURE_MODE_GLOBAL)) {
      continue;
    }
    capture->invalidated = true;
    forbidden = true;
  }
  require(!forbidden, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

void forbid_in_slowly(const Context& context) {
  const GraphLock lock;
  bool forbidden = false;
  for (const auto& capture : active()) {
    if (!has_stream_of(*capture, context, false)) continue;
    capture->invalidated = true;
    forbidden = true;
  }
  require(!forbidden, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

void capture_work(Stream& stream, const Context& owner, const std::shared_ptr<const Work>& work) {
  const GraphLock lock;
  // Another thread may have ended the capture since the caller looked.
  require(stream.capture != nullptr && !stream.capture->invalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  GraphNode* const node =
      stream.capture->graph->add({work->type(), work, nullptr, owner.handle}, stream.tips);
  stream.tips.assign(1, node);
}

void capture_record(const Stream& stream, Event& event) {
  const GraphLock lock;
  require(stream.capture != nullptr, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  event.capture = stream.capture;
  event.tips = stream.tips;
  event.captured.store(true, std::memory_order_release);
}

bool capture_wait(const std::shared_ptr<Stream>& stream, const Context& owner,
                  const std::shared_ptr<Event>& event, unsigned flags) {
  const bool capturing = captures(*stream, owner);
  if ((flags & CU_EVENT_WAIT_EXTERNAL) != 0) {
    require(capturing);
    capture_work(*stream, owner, std::make_shared<const Work>(EventWait{event}));
    return true;
  }
  if (!capturing && !event->captured.load(std::memory_order_acquire)) return false;
  const GraphLock lock;
  if (!event->captured.load(std::memory_order_acquire)) {
    if (event->recorded() == 0) return true;
    require(stream->capture != nullptr, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    stream->capture->invalidated = true;
    throw Failure(CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  }
  const auto capture = event->capture.lock();
  require(capture != nullptr && capture->graph != nullptr, CUDA_ERROR_CAPTURED_EVENT);
  require(!capture->invalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  if (stream->is_legacy()) {
    capture->invalidated = true;
    throw Failure(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  }
  if (stream->capture == nullptr) {
    join(capture, stream, event->tips);
  } else if (stream->capture == capture) {
    for (GraphNode* tip : event->tips) {
      if (std::find(stream->tips.begin(), stream->tips.end(), tip) == stream->tips.end()) {
        stream->tips.push_back(tip);
      }
    }
  } else {
    capture->invalidated = stream->capture->invalidated = true;
    throw Failure(CUDA_ERROR_STREAM_CAPTURE_MERGE);
  }
  return true;
}

void require_not_captured(const Event& event) {
  if (!event.captured.load(std::memory_order_acquire)) return;
  const GraphLock lock;
  if (const auto capture = event.capture.lock()) capture->invalidated = true;
  throw Failure(CUDA_ERROR_CAPTURED_EVENT);
}

void join(const std::shared_ptr<Capture>& capture, const std::shared_ptr<Stream>& stream,
          std::vector<GraphNode*> tips) {
  if (capture->streams.empty()) {
    active().push_back(capture);
    ++capture->graph->captures;
    active_captures.fetch_add(1, std::memory_order_release);
  }
  capture->streams.push_back(stream);
  stream->capture = capture;
  stream->tips = std::move(tips);
  count_blocking(*stream, true);
  stream->capturing.store(true, std::memory_order_release);
}

void end(Capture& capture, bool is_complete, GraphLock& lock) {
  for (const auto& stream : capture.streams) {
    release_stream(*stream, lock);
    lock.discard(stream);
  }
  capture.streams.clear();
  --capture.graph->captures;
  if (capture.owns_graph && !is_complete) capture.graph->withdraw();
  lock.discard(std::move(capture.graph));
  std::erase_if(active(), [&](const auto& each) { return each.get() == &capture; });
  active_captures.fetch_sub(1, std::memory_order_release);
}

void leave(const std::shared_ptr<Stream>& stream) {
  if (!stream->capturing.load(std::memory_order_acquire)) return;
  GraphLock lock;
  const auto capture = stream->capture;
  if (capture == nullptr) return;
  if (capture->streams[0] == stream) {
    end(*capture, false, lock);
    return;
  }
  capture->loose.insert(capture->loose.end(), stream->tips.begin(), stream->tips.end());
  std::erase(capture->streams, stream);
  release_stream(*stream, lock);
}

void end_captures_in(const Context& context) {
  if (active_captures.load(std::memory_order_acquire) == 0) return;
  GraphLock lock;
  const auto all = active();
  for (const auto& capture : all) {
    if (has_stream_of(*capture, context, false)) end(*capture, false, lock);
  }
}

}  // namespace tfusion::software::driver
