// What a stream or a graph can do, as descriptions: data that can be kept, read, changed and run any number
// of times. A call that gives work to a stream makes a description and hands it to perform(); a graph's node
// is a description with dependencies (graph.hpp).
//
// Work of a stream that does not capture runs from the queue without a detour.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

#include "capture.hpp"
#include "copy.hpp"
#include "event.hpp"
#include "fill.hpp"
#include "graph_memory.hpp"
#include "kernel_launch.hpp"
#include "stream.hpp"

namespace tfusion::software::driver {

struct HostCall {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_HOST;
  void run(Context&) const noexcept { function(user); }

  CUhostFn function = nullptr;
  void* user = nullptr;
};

// Only as a node: its number in the queue is known when the graph is launched.
struct EventRecord {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_EVENT_RECORD;
  void run(Context&) const noexcept { event->passed_ns.store(now_ns(), std::memory_order_release); }

  std::shared_ptr<Event> event;
};

// Only as a node. What was recorded before the launch is earlier in the queue.
struct EventWait {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_WAIT_EVENT;
  void run(Context&) const noexcept {}

  std::shared_ptr<Event> event;
};

struct Nothing {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_EMPTY;
  void run(Context&) const noexcept {}
};

using WorkVariant = std::variant<Nothing, KernelLaunch, Transfer, Fill, HostCall, EventRecord, EventWait,
                                 GraphAllocate, GraphRelease>;
// A type of its own, so that capture.hpp can name it.
struct Work : WorkVariant {
  using WorkVariant::WorkVariant;

  CUgraphNodeType type() const noexcept {
    return std::visit([](const auto& each) { return std::decay_t<decltype(each)>::kNodeType; }, variant());
  }
  void run(Context& context) const noexcept {
    std::visit([&](const auto& each) { each.run(context); }, variant());
  }
  template <class Description>
  const Description* as() const noexcept {
    return std::get_if<Description>(&variant());
  }

 private:
  const WorkVariant& variant() const noexcept { return *this; }
};

// Adds the work to the stream, or to the graph that the stream captures into.
template <class Description>
void perform(Stream& stream, const std::shared_ptr<Context>& context, Description what) {
  if (captures(stream, *context)) {
    capture_work(stream, *context, std::make_shared<const Work>(std::move(what)));
    return;
  }
  enqueue(stream, context, [what = std::move(what)](Context& running) noexcept { what.run(running); });
}

}  // namespace tfusion::software::driver
