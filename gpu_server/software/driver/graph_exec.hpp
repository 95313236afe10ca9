// Executables: a graph's work laid out in an order that keeps its dependencies, which one queue runs step by
// step. Nodes of the graph that an executable was made from name its steps.
//
// Guarded by Driver::graph_mutex, except Steps, which launches in the queue share: a change makes a copy as
// long as one does.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "graph.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

struct Step {
  std::shared_ptr<const Work> work;  // null for an empty node
  std::uint64_t context = 0;         // 0: that of the launching stream
  bool enabled = true;
};

struct Steps {
  // Launches that have tasks in the queue. As long as there are any, nothing of the below may change.
  mutable std::atomic<unsigned> launches{0};

  std::vector<Step> all;
  std::vector<std::size_t> ends;        // places after event records, and the end: each part is a task
  std::vector<std::uint64_t> contexts;  // all that the steps name, each once
};

class GraphExec final : public Object {
 public:
  static constexpr Kind kKind = Kind::graph_exec;

  // The node of `graph` that stands for a node of the original. Throws CUDA_ERROR_INVALID_VALUE.
  GraphNode& own(CUgraphNode original) const;
  // Gives a node of `graph` another description for launches to come.
  void change(GraphNode& node, NodeDescription what, GraphLock& lock);
  // The steps, not shared with any launch.
  Steps& changeable_steps(GraphLock& lock);

  std::uint64_t flags = 0;
  bool has_memory_nodes = false;
  std::shared_ptr<Graph> graph;                         // a copy of its own, without handles
  std::unordered_map<std::uint64_t, GraphNode*> nodes;  // by the originals' handles, child graphs included
  std::shared_ptr<Steps> steps;
};

// Throws CUDA_ERROR_INVALID_VALUE. Precondition: the lock is held.
std::shared_ptr<GraphExec> executable_of(CUgraphExec handle);

}  // namespace tfusion::software::driver
