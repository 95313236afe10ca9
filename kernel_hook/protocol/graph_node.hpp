// What a graph's node does, as it travels in the tail of GraphAddNode and GraphNodeSet and in the answer of
// GraphNodeGet: by type, one of these structs (a kernel's parameters follow it), or CUDA's own CUDA_MEMCPY3D
// and CUDA_MEMSET_NODE_PARAMS, whose addresses are the session's. An empty node has none.
#pragma once

#include <cstdint>

namespace tfusion::wire {

struct KernelNode {
  std::uint64_t kernel;
  std::uint32_t grid[3];
  std::uint32_t block[3];
  std::uint32_t shared_bytes;
  std::uint32_t parameter_bytes;
};
static_assert(sizeof(KernelNode) == 40);

struct HostNode {
  std::uint64_t code;
  std::uint64_t argument;
};

// A child graph's or an event's handle.
struct ObjectNode {
  std::uint64_t handle;
};

// What GraphList lists of a graph (nodes, roots, edges) or a node (the others). Nodes and roots are handles;
// edges are GraphEdge; dependencies and dependents too, with the other node in `from`.
enum class GraphListing : std::uint32_t { nodes, roots, edges, dependencies, dependents };

struct GraphEdge {
  std::uint64_t from;
  std::uint64_t to;
  std::uint8_t data[8];  // CUgraphEdgeData
};
static_assert(sizeof(GraphEdge) == 24);

}  // namespace tfusion::wire
