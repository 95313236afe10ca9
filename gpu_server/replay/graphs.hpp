// Graphs, their nodes and executables, by numbers that the worker gives: a capture makes nodes that the
// client has not named. A number is found again by kind, place and generation like any other handle.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "driver.hpp"
#include "protocol/graph_node.hpp"
#include "protocol/handle.hpp"

namespace tfusion::replay {

// Objects that get their number here; at most `most` at once.
template <typename T>
class NumberedTable {
 public:
  NumberedTable(protocol::HandleKind kind, std::uint32_t most) : kind_(kind), most_(most) {}

  // 0 if there are as many as there may be.
  std::uint64_t put(T object) {
    std::uint32_t index = 0;
    if (!free_.empty()) {
      index = free_.back();
      free_.pop_back();
    } else {
      if (slots_.size() >= most_) return 0;
      index = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    }
    slots_[index].alive = true;
    slots_[index].object = std::move(object);
    return protocol::pack({kind_, slots_[index].generation, index});
  }

  T* find(std::uint64_t number) {
    const protocol::Handle h = protocol::unpack(number);
    if (h.kind != kind_ || h.index >= slots_.size()) return nullptr;
    Slot& slot = slots_[h.index];
    return slot.alive && slot.generation == h.generation ? &slot.object : nullptr;
  }

  // Precondition: find(number) != nullptr.
  void forget(std::uint64_t number) {
    Slot& slot = slots_[protocol::unpack(number).index];
    slot.alive = false;
    slot.generation = static_cast<std::uint16_t>((slot.generation + 1) & 0xfff);
    slot.object = T{};
    free_.push_back(protocol::unpack(number).index);
  }

  bool empty() const { return free_.size() == slots_.size(); }

  template <typename Visit>
  void for_each(Visit&& visit) {
    for (Slot& slot : slots_) {
      if (slot.alive) visit(slot.object);
    }
  }

  void clear() {
    for (std::uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].alive) forget(protocol::pack({kind_, slots_[i].generation, i}));
    }
  }

 private:
  struct Slot {
    bool alive = false;
    std::uint16_t generation = 1;
    T object{};
  };
  protocol::HandleKind kind_;
  std::uint32_t most_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
};

struct Graph {
  CUgraph graph = nullptr;
  std::uint64_t weight = 0;                    // nodes, with those of graphs in it; of no node's own graph
  std::uint64_t parent = 0;                    // of a node's own graph: the number of the node's graph
  std::map<CUgraphNode, std::uint64_t> nodes;  // numbers given so far
  std::map<std::uint64_t, std::uint64_t>
      children;  // number of a node -> of its own graph, which ends with it
};

struct GraphNode {
  CUgraphNode node = nullptr;
  std::uint64_t graph = 0;
};

struct GraphExec {
  CUgraphExec exec = nullptr;
  std::uint64_t weight = 0;
};

class GraphTables {
 public:
  // Nodes of all graphs and executables together: each takes host memory of the driver's, and a graph that
  // holds another twice doubles with every command.
  static constexpr std::uint64_t kMostWeight = 1u << 20;

  Graph* graph(std::uint64_t number) { return graphs_.find(number); }
  GraphNode* node(std::uint64_t number) { return nodes_.find(number); }
  GraphExec* exec(std::uint64_t number) { return execs_.find(number); }

  // Numbers; 0 if there are as many as there may be.
  std::uint64_t add_graph(CUgraph graph, std::uint64_t weight);
  std::uint64_t add_exec(CUgraphExec exec, std::uint64_t weight);
  // The number of a node of that graph; a fresh one the first time.
  std::uint64_t number_of(std::uint64_t graph, CUgraphNode node);
  // The number of a child node's own graph.
  std::uint64_t number_of_child(const GraphNode& node, CUgraph child);

  void forget_node(std::uint64_t number);   // with the node's own graph
  void forget_graph(std::uint64_t number);  // with its nodes and its nodes' graphs
  void forget_exec(std::uint64_t number);

  // Whether there may be so many more nodes.
  bool has_room(std::uint64_t weight) const {
    return weight <= kMostWeight && weight_ <= kMostWeight - weight;
  }
  // A graph, or the one that it is in, has come to have more nodes or fewer.
  void change_weight(std::uint64_t graph, std::int64_t change);
  void set_weight(std::uint64_t graph, std::uint64_t weight);

  // Whether nothing is there that could name a kernel, event or array.
  bool empty() const { return graphs_.empty() && execs_.empty(); }

  // Destroys everything, before its context is reset.
  void destroy_all(const DriverFunctions& driver);

 private:
  NumberedTable<Graph> graphs_{protocol::HandleKind::graph, 1u << 14};
  NumberedTable<GraphNode> nodes_{protocol::HandleKind::graph_node, 1u << 20};
  NumberedTable<GraphExec> execs_{protocol::HandleKind::graph_exec, 1u << 14};
  std::uint64_t weight_ = 0;
};

class Session;

// The ends of edges in a command's tail: `count` nodes, then the edges' data if there are any.
struct GraphEnds {
  std::vector<CUgraphNode> nodes;
  std::vector<CUgraphEdgeData> edges;

  // Takes them off the tail's front; nodes of another graph are refused. False: the reply was made, or the
  // session ended.
  bool read(Session& session, const wire::CommandHeader& header, std::span<const std::byte>* tail,
            CUgraph graph, std::uint32_t count, std::uint32_t edge_count);
  // A driver may want a null pointer for none.
  const CUgraphNode* nodes_or_null() const { return nodes.empty() ? nullptr : nodes.data(); }
  CUgraphNode* nodes_or_null() { return nodes.empty() ? nullptr : nodes.data(); }
  const CUgraphEdgeData* edges_or_null() const { return edges.empty() ? nullptr : edges.data(); }
};

// A graph of the client's; without it, the reply was made.
Graph* find_graph(Session& session, const wire::CommandHeader& header, std::uint64_t number);
// Gives a fresh graph of the driver's its number; destroys it if there are too many.
CUresult number_graph(Session& session, CUgraph graph, std::uint64_t weight, std::uint64_t* number);
// The nodes of a graph and of the graphs in it.
std::uint64_t weigh(const DriverFunctions& driver, CUgraph graph);
// The same of a graph of the client's, which mostly is known.
std::uint64_t weight_of(const DriverFunctions& driver, const Graph& graph);
wire::GraphEdge graph_edge(std::uint64_t from, std::uint64_t to, const CUgraphEdgeData& data);

}  // namespace tfusion::replay
