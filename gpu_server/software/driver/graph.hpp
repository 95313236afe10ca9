// Graphs: nodes of described work (work.hpp) and the dependencies between them. The functions that build and
// read graphs are in graph_build.cpp and graph_nodes.cpp, captures add to them (capture.hpp), executables are
// made from them (graph_exec.hpp).
//
// All of it, down to the nodes, is guarded by Driver::graph_mutex; descriptions are immutable and replaced as
// a whole. Dropping a description or a graph may submit to the queue, so what is dropped is kept in a
// Discarded until the lock is given up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "driver.hpp"
#include "handles.hpp"

namespace tfusion::software::driver {

class Graph;
class GraphExec;
class UserObject;
struct Work;

// The lock, and what is destroyed after it is given up.
class GraphLock {
 public:
  GraphLock() : lock_(driver().graph_mutex) {}
  GraphLock(const GraphLock&) = delete;
  GraphLock& operator=(const GraphLock&) = delete;

  void discard(std::shared_ptr<const void> object) { discarded_.push_back(std::move(object)); }

 private:
  std::vector<std::shared_ptr<const void>> discarded_;
  std::unique_lock<std::mutex> lock_;  // after the above, so that it goes first
};

// What a node does, before it is one.
struct NodeDescription {
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  std::shared_ptr<const Work> work;  // null for a child graph
  std::shared_ptr<Graph> child;      // belongs to the node from then on
  std::uint64_t context = 0;         // handle of the context that the work runs in
};

class GraphNode final : public Object {
 public:
  static constexpr Kind kKind = Kind::graph_node;

  Graph* graph = nullptr;  // null once the node or its graph is destroyed
  NodeDescription what;
  std::vector<GraphNode*> dependencies;
  std::vector<GraphNode*> dependents;
  std::uint64_t original = 0;  // handle of the node that this one was cloned from
  std::size_t step = 0;        // of an executable's own graph: place among its steps
  // A kernel's arguments as they were answered; point into `what.work`.
  std::vector<void*> told_arguments;
  std::size_t told_bytes = 0;
};

class Graph final : public Object {
 public:
  static constexpr Kind kKind = Kind::graph;

  // An executable's own graph has no handle, and so do its nodes.
  explicit Graph(bool has_handles) : visible(has_handles) {}
  ~Graph() override;

  // Precondition: the dependencies are nodes of this graph, each given once.
  GraphNode* add(NodeDescription what, std::span<GraphNode* const> dependencies);
  void remove(GraphNode& node, GraphLock& lock);
  // Takes all handles of the graph and what is in it out of the table.
  void withdraw() noexcept;

  // A copy of everything; `originals` of its nodes are this graph's. Its handle is made by publish().
  std::shared_ptr<Graph> clone(bool has_handles) const;

  // An order that keeps all dependencies, and otherwise that of creation. On a cycle nothing, and `cyclic` is
  // a node of it.
  std::vector<GraphNode*> order(const GraphNode** cyclic) const;

  bool has_memory_nodes() const;

  struct UserReferences {
    std::shared_ptr<UserObject> object;
    std::uint64_t count;
  };

  const bool visible;
  std::vector<std::shared_ptr<GraphNode>> nodes;  // in order of creation
  std::vector<UserReferences> user_references;
  std::uint64_t cloned_from = 0;        // handle of a graph
  const GraphNode* holder = nullptr;    // the node whose child it is
  bool is_moved = false;                // became a child with its handles
  unsigned captures = 0;                // captures that add to it now
  std::weak_ptr<GraphExec> executable;  // the only one that it may have, if it has memory nodes
};

// Gives a visible graph its handle and its child graphs and nodes theirs, if they have none.
void publish(const std::shared_ptr<Graph>& graph);

// Live objects of handles. Throw CUDA_ERROR_INVALID_VALUE. Precondition: the lock is held.
std::shared_ptr<Graph> graph_of(CUgraph handle);
std::shared_ptr<GraphNode> node_of(CUgraphNode handle);
// Each once.
std::vector<GraphNode*> nodes_of(const Graph& graph, const CUgraphNode* handles, std::size_t count);

// Edges carry no data here: programmatic dependencies came with compute capability 9.0. Throws
// CUDA_ERROR_NOT_SUPPORTED for those, CUDA_ERROR_INVALID_VALUE for anything else.
void require_plain_edges(const CUgraphEdgeData* data, std::size_t count);

}  // namespace tfusion::software::driver
