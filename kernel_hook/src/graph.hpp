// What graph.cpp, graph_node.cpp and capture.cpp share: handles of graphs as programs hold them, and
// dependencies in a command's tail.
//
// Graphs, nodes and executables are the worker's: it numbers them, and its numbers are the handles. All that
// is checked here is that a handle is a number of its kind, because one that is not would end the session.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "objects.hpp"
#include "protocol/handle.hpp"

namespace tfusion::hook {

template <typename Handle>
bool is_of_kind(Handle handle, protocol::HandleKind kind) {
  return protocol::unpack(number(handle)).kind == kind;
}
inline bool is_graph(CUgraph graph) {
  return is_of_kind(graph, protocol::HandleKind::graph);
}
inline bool is_node(CUgraphNode node) {
  return is_of_kind(node, protocol::HandleKind::graph_node);
}
inline bool is_exec(CUgraphExec exec) {
  return is_of_kind(exec, protocol::HandleKind::graph_exec);
}

// Appends nodes, then the edges' data if there are any. CUDA_ERROR_INVALID_VALUE for what are no nodes, or
// too many for one command.
CUresult append_ends(std::vector<std::byte>* tail, const CUgraphNode* nodes, const CUgraphEdgeData* data,
                     std::size_t count);

// A list for the caller as CUDA has them: without room for it, `count` is how many there are; with room, as
// many as there is room for, null handles after the last.
template <typename T>
void deliver_list(const std::vector<T>& items, T* out, std::size_t* count) {
  if (out == nullptr) {
    *count = items.size();
    return;
  }
  for (std::size_t i = 0; i < *count; ++i) out[i] = i < items.size() ? items[i] : T{};
  if (*count > items.size()) *count = items.size();
}

// User objects that a graph holds are held by its executables and clones as well, and by a graph that it became
// a node of; they end with the last of them. An executable that is updated holds what its new graph does.
void holds_as_well(std::uint64_t graph, std::uint64_t other);
void exec_holds_instead(std::uint64_t graph, std::uint64_t exec);
// What an executable held is let go behind its launches.
void exec_launched(std::uint64_t exec, std::uint64_t stream);
void graph_holds_no_more(std::uint64_t graph_or_exec);
// The context was reset: no graph holds anything.
void forget_user_objects();

}  // namespace tfusion::hook
