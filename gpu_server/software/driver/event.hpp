// Events: a number in the queue, and the time when the queue passed it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "handles.hpp"

namespace tfusion::software::driver {

class Capture;
class GraphNode;

// CLOCK_MONOTONIC.
std::int64_t now_ns() noexcept;

class Event final : public Object {
 public:
  static constexpr Kind kKind = Kind::event;

  Event(std::uint64_t owner_handle, unsigned event_flags) : flags(event_flags) { owner = owner_handle; }

  // The queue's number of the last record; 0 if there was none.
  std::uint64_t recorded() const noexcept { return recorded_.load(std::memory_order_acquire); }
  void set_recorded(std::uint64_t number) noexcept {
    std::uint64_t last = recorded_.load(std::memory_order_relaxed);
    while (last < number && !recorded_.compare_exchange_weak(last, number, std::memory_order_acq_rel)) {
    }
  }
  // CLOCK_MONOTONIC, when the queue passed the last record that it passed.
  std::atomic<std::int64_t> passed_ns{0};
  const unsigned flags;

  // Set if the last record was captured (capture.hpp). The rest is guarded by Driver::graph_mutex.
  std::atomic<bool> captured{false};
  std::weak_ptr<Capture> capture;
  std::vector<GraphNode*> tips;  // of the stream when it was recorded; void when the capture has ended

 private:
  std::atomic<std::uint64_t> recorded_{0};
};

}  // namespace tfusion::software::driver
