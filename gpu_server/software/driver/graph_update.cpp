// The functions that change executables: one node, or all from another graph of the same shape.
#include <algorithm>

#include "entry.hpp"
#include "graph_exec.hpp"
#include "node_params.hpp"

namespace tfusion::software::driver {

namespace {

using Pairs = std::vector<std::pair<GraphNode*, const GraphNode*>>;

struct Mismatch {
  CUgraphExecUpdateResult result;
  const GraphNode* node = nullptr;
  const GraphNode* from = nullptr;
};

int priority_of(const NodeDescription& kernel) {
  for (const CUlaunchAttribute& each : description<KernelLaunch>(kernel).attributes) {
    if (each.id == CU_LAUNCH_ATTRIBUTE_PRIORITY) return each.value.priority;
  }
  return 0;
}

std::vector<GraphNode*> sinks_of(const Graph& graph) {
  std::vector<GraphNode*> sinks;
  for (const auto& node : graph.nodes) {
    if (node->dependents.empty()) sinks.push_back(node.get());
  }
  return sinks;
}

// Finds for each node of an executable's graph the one of another graph that stands in its place: from the
// last nodes on, along the dependencies in their order. That reaches all of them, since an executable's graph
// has no cycle and both have as many nodes. Throws Mismatch.
void match(const Graph& mine, const Graph& theirs, std::uint64_t flags, Pairs& pairs) {
  constexpr auto kTopology = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
  if (mine.nodes.size() != theirs.nodes.size()) throw Mismatch{kTopology};
  std::unordered_map<const GraphNode*, const GraphNode*> forth;
  std::unordered_map<const GraphNode*, const GraphNode*> back;
  Pairs waiting;
  const auto pair_up = [&](GraphNode* own, const GraphNode* other, const GraphNode* dependent) {
    const bool fresh = !forth.contains(own) && !back.contains(other);
    if (fresh) {
      forth.emplace(own, other);
      back.emplace(other, own);
      waiting.emplace_back(own, other);
    } else if (!forth.contains(own) || forth.at(own) != other) {
      throw Mismatch{kTopology, dependent == nullptr ? other : dependent,
                     dependent == nullptr ? nullptr : other};
    }
  };
  const auto own_sinks = sinks_of(mine);
  const auto other_sinks = sinks_of(theirs);
  if (own_sinks.size() != other_sinks.size()) {
    throw Mismatch{kTopology, other_sinks.size() > own_sinks.size() ? other_sinks.back() : nullptr};
  }
  for (std::size_t index = 0; index < own_sinks.size(); ++index) {
    pair_up(own_sinks[index], other_sinks[index], nullptr);
  }
  while (!waiting.empty()) {
    const auto [own, other] = waiting.back();
    waiting.pop_back();
    if (own->what.type != other->what.type) {
      throw Mismatch{CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED, other};
    }
    if (own->dependencies.size() != other->dependencies.size()) throw Mismatch{kTopology, other};
    for (std::size_t index = 0; index < own->dependencies.size(); ++index) {
      pair_up(own->dependencies[index], other->dependencies[index], other);
    }
    if (own->what.child) {
      match(*own->what.child, *other->what.child, flags, pairs);
      continue;
    }
    if (const auto result = may_become(own->what, other->what); result != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
      throw Mismatch{result, other};
    }
    if ((flags & CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY) != 0 &&
        own->what.type == CU_GRAPH_NODE_TYPE_KERNEL && priority_of(own->what) != priority_of(other->what)) {
      throw Mismatch{CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED, other};
    }
    pairs.emplace_back(own, other);
  }
}

void take_over(GraphExec& executable, const Graph& mine, const Graph& theirs, GraphLock& lock) {
  Pairs pairs;
  match(mine, theirs, executable.flags, pairs);
  for (const auto& [own, other] : pairs) executable.change(*own, other->what, lock);
}

CUresult update(CUgraphExec handle, CUgraph graph_handle, CUgraphExecUpdateResultInfo& info) {
  info = {CU_GRAPH_EXEC_UPDATE_ERROR, nullptr, nullptr};
  return call([&] {
    GraphLock lock;
    const auto executable = executable_of(handle);
    const auto graph = graph_of(graph_handle);
    require(!graph->is_moved && graph->captures == 0);
    try {
      take_over(*executable, *executable->graph, *graph, lock);
    } catch (const Mismatch& mismatch) {
      const auto tell = [](const GraphNode* node) {
        return node == nullptr ? nullptr : handle_of<CUgraphNode>(*node);
      };
      info = {mismatch.result, tell(mismatch.node), tell(mismatch.from)};
      return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    }
    info.result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
    return CUDA_SUCCESS;
  });
}

template <class Make>
CUresult set(CUgraphExec handle, CUgraphNode node_handle, bool keeps_context, Make&& make) {
  return call([&] {
    const NodeDescription params = make();
    GraphLock lock;
    const auto executable = executable_of(handle);
    GraphNode& own = executable->own(node_handle);
    NodeDescription next = changed(own.what, params, keeps_context);
    require_settable(own.what, next);
    executable->change(own, std::move(next), lock);
  });
}

CUresult set_child(CUgraphExec handle, CUgraphNode node_handle, CUgraph child) {
  return call([&] {
    GraphLock lock;
    const auto executable = executable_of(handle);
    GraphNode& own = executable->own(node_handle);
    require(own.what.child != nullptr);
    try {
      take_over(*executable, *own.what.child, *graph_of(child), lock);
    } catch (const Mismatch&) {
      throw Failure(CUDA_ERROR_INVALID_VALUE);
    }
  });
}

bool can_be_disabled(CUgraphNodeType type) {
  return type == CU_GRAPH_NODE_TYPE_KERNEL || type == CU_GRAPH_NODE_TYPE_MEMCPY ||
         type == CU_GRAPH_NODE_TYPE_MEMSET;
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode* hErrorNode_out,
                           CUgraphExecUpdateResult* updateResult_out) {
  if (updateResult_out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUgraphExecUpdateResultInfo info{};
  const CUresult code = update(hGraphExec, hGraph, info);
  *updateResult_out = info.result;
  if (hErrorNode_out != nullptr) *hErrorNode_out = info.errorNode;
  return code;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph,
                              CUgraphExecUpdateResultInfo* resultInfo) {
  return resultInfo == nullptr ? CUDA_ERROR_INVALID_VALUE : update(hGraphExec, hGraph, *resultInfo);
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hGraphExec, hNode, false, [&] { return kernel_node(widened(*nodeParams)); });
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec hGraphExec, CUgraphNode hNode,
                                           const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hGraphExec, hNode, false, [&] { return kernel_node(*nodeParams); });
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMCPY3D* copyParams, CUcontext ctx) {
  if (copyParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hGraphExec, hNode, false, [&] { return memcpy_node(*copyParams, ctx); });
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMSET_NODE_PARAMS* memsetParams, CUcontext ctx) {
  if (memsetParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hGraphExec, hNode, false, [&] { return memset_node(*memsetParams, ctx); });
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                      const CUDA_HOST_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hGraphExec, hNode, true, [&] { return host_node(*nodeParams); });
}

CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode, CUgraph childGraph) {
  return set_child(hGraphExec, hNode, childGraph);
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event) {
  return set(hGraphExec, hNode, false, [&] { return event_record_node(event); });
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event) {
  return set(hGraphExec, hNode, false, [&] { return event_wait_node(event); });
}

CUresult cuGraphExecNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode, CUgraphNodeParams* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (nodeParams->type == CU_GRAPH_NODE_TYPE_GRAPH) {
    return set_child(hGraphExec, hNode, nodeParams->graph.graph);
  }
  return set(hGraphExec, hNode, false, [&] { return node_of_any(*nodeParams); });
}

CUresult cuGraphNodeSetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int isEnabled) {
  return call([&] {
    GraphLock lock;
    const auto executable = executable_of(hGraphExec);
    const GraphNode& own = executable->own(hNode);
    require(can_be_disabled(own.what.type));
    executable->changeable_steps(lock).all[own.step].enabled = isEnabled != 0;
  });
}

CUresult cuGraphNodeGetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int* isEnabled) {
  return call([&] {
    require(isEnabled != nullptr);
    const GraphLock lock;
    const auto executable = executable_of(hGraphExec);
    const GraphNode& own = executable->own(hNode);
    require(can_be_disabled(own.what.type));
    *isEnabled = executable->steps->all[own.step].enabled ? 1 : 0;
  });
}
