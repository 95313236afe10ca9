// Streams. All share one queue (queue.hpp); a stream remembers the number of its last piece of work.
#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "context.hpp"
#include "driver.hpp"

namespace tfusion::software::driver {

class Capture;
class GraphNode;

class Stream final : public Object {
 public:
  static constexpr Kind kKind = Kind::stream;

  Stream(std::uint64_t owner_handle, unsigned stream_flags, int stream_priority, unsigned long long stream_id)
      : flags(stream_flags), priority(stream_priority), id(stream_id) {
    owner = owner_handle;
  }

  // The stream is busy until the queue has passed `number`.
  void extend(std::uint64_t number) noexcept {
    std::uint64_t last = last_.load(std::memory_order_relaxed);
    while (last < number && !last_.compare_exchange_weak(last, number, std::memory_order_acq_rel)) {
    }
  }
  std::uint64_t last() const noexcept { return last_.load(std::memory_order_acquire); }

  // The stream of the handles 0 and 1, which waits for all blocking streams of its context, and they for it.
  bool is_legacy() const noexcept { return id == kLegacyId; }
  bool is_blocking() const noexcept { return (flags & CU_STREAM_NON_BLOCKING) == 0; }

  static constexpr unsigned long long kLegacyId = 1;
  static constexpr unsigned long long kPerThreadId = 2;

  const unsigned flags;
  const int priority;
  const unsigned long long id;

  // Set while the stream takes part in a capture (capture.hpp). The rest is guarded by Driver::graph_mutex.
  std::atomic<bool> capturing{false};
  std::shared_ptr<Capture> capture;
  std::vector<GraphNode*> tips;        // what the next captured node depends on
  std::vector<CUgraphNode> told_tips;  // what cuStreamGetCaptureInfo points to
  std::vector<CUgraphEdgeData> told_edges;

 private:
  std::atomic<std::uint64_t> last_{0};
};

// Priorities run from 0 down to this; they are kept and answered, and change nothing in a single queue.
inline constexpr int kGreatestStreamPriority = -5;

// The stream of a handle, 0/1/2 included. Throws CUDA_ERROR_INVALID_HANDLE.
std::shared_ptr<Stream> stream_of(const Context& context, CUstream handle);

// The context that work on this stream belongs to. Throws CUDA_ERROR_CONTEXT_IS_DESTROYED.
std::shared_ptr<Context> context_of(const Stream& stream);

// Adds device work to the stream: work(Context&), which must not throw. It is left out if the context has
// failed by then, as a GPU's is.
template <class Work>
std::uint64_t enqueue(Stream& stream, const std::shared_ptr<Context>& context, Work work,
                      std::size_t captured_bytes = 0) {
  const std::uint64_t number = driver().queue.submit(
      [context, work = std::move(work)]() mutable noexcept {
        if (context->status() == CUDA_SUCCESS) work(*context);
      },
      captured_bytes);
  stream.extend(number);
  return number;
}

// Waits for work `number` and answers the context's state after it.
CUresult finish(const Context& context, std::uint64_t number);

}  // namespace tfusion::software::driver
