// cuGraphDebugDotPrint: a graph as text for Graphviz.
#include <cinttypes>
#include <cstdio>
#include <string>

#include "entry.hpp"
#include "node_params.hpp"

namespace tfusion::software::driver {

namespace {

std::string name_of(const GraphNode& node) {
  switch (node.what.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return description<KernelLaunch>(node.what).loaded.function->info.name;
    case CU_GRAPH_NODE_TYPE_MEMCPY: {
      const Transfer& transfer = description<Transfer>(node.what);
      return std::string("memcpy, ") + (transfer.from_device ? "device" : "host") + " to " +
             (transfer.to_device ? "device" : "host");
    }
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return "memset";
    case CU_GRAPH_NODE_TYPE_HOST:
      return "host function";
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return "child graph";
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return "event wait";
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return "event record";
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      return "memory allocation";
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      return "memory free";
    default:
      return "empty";
  }
}

// What one kind of flag adds to a node's label.
std::string detail_of(const GraphNode& node, unsigned flags) {
  const auto wants = [flags](unsigned flag) {
    return (flags & (flag | static_cast<unsigned>(CU_GRAPH_DEBUG_DOT_FLAGS_VERBOSE))) != 0;
  };
  char text[256] = "";
  if (wants(CU_GRAPH_DEBUG_DOT_FLAGS_KERNEL_NODE_PARAMS) && node.what.type == CU_GRAPH_NODE_TYPE_KERNEL) {
    const Shape& shape = description<KernelLaunch>(node.what).shape;
    std::snprintf(text, sizeof text, "\\ngrid %u x %u x %u, block %u x %u x %u, %zu bytes shared",
                  shape.grid[0], shape.grid[1], shape.grid[2], shape.block[0], shape.block[1], shape.block[2],
                  shape.dynamic_shared_bytes);
  } else if (wants(CU_GRAPH_DEBUG_DOT_FLAGS_MEMCPY_NODE_PARAMS) &&
             node.what.type == CU_GRAPH_NODE_TYPE_MEMCPY) {
    const Copy& copy = description<Transfer>(node.what).what;
    std::snprintf(text, sizeof text, "\\n0x%" PRIx64 " to 0x%" PRIx64 ", %zu x %zu x %zu bytes",
                  copy.from.address, copy.to.address, copy.width, copy.height, copy.depth);
  } else if (wants(CU_GRAPH_DEBUG_DOT_FLAGS_MEMSET_NODE_PARAMS) &&
             node.what.type == CU_GRAPH_NODE_TYPE_MEMSET) {
    const Fill& fill = description<Fill>(node.what);
    std::snprintf(text, sizeof text, "\\n0x%" PRIx64 ", value %u, %zu x %zu elements of %u bytes",
                  fill.address, fill.value, fill.width, fill.height, fill.element_bytes);
  }
  std::string detail = text;
  if (wants(CU_GRAPH_DEBUG_DOT_FLAGS_HANDLES)) {
    std::snprintf(text, sizeof text, "\\nnode 0x%" PRIx64, node.handle);
    detail += text;
  }
  return detail;
}

void write(std::FILE* file, const Graph& graph, unsigned flags) {
  std::fprintf(file, "subgraph cluster_%" PRIu64 " {\nlabel=\"graph_%" PRIu64 "\"\n", graph.handle,
               graph.handle);
  for (const auto& node : graph.nodes) {
    std::fprintf(file, "node_%" PRIu64 " [label=\"%s%s\"]\n", node->handle, name_of(*node).c_str(),
                 detail_of(*node, flags).c_str());
    if (node->what.child) write(file, *node->what.child, flags);
  }
  for (const auto& node : graph.nodes) {
    for (const GraphNode* dependency : node->dependencies) {
      std::fprintf(file, "node_%" PRIu64 " -> node_%" PRIu64 "\n", dependency->handle, node->handle);
    }
  }
  std::fprintf(file, "}\n");
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuGraphDebugDotPrint(CUgraph hGraph, const char* path, unsigned int flags) {
  return call([&] {
    require(path != nullptr);
    const GraphLock lock;
    const auto graph = graph_of(hGraph);
    std::FILE* const file = std::fopen(path, "we");
    require(file != nullptr, CUDA_ERROR_OPERATING_SYSTEM);
    std::fprintf(file, "digraph dot {\n");
    write(file, *graph, flags);
    std::fprintf(file, "}\n");
    const bool failed = std::ferror(file) != 0;
    require(std::fclose(file) == 0 && !failed, CUDA_ERROR_OPERATING_SYSTEM);
  });
}
