// The functions that add nodes to graphs, and that read and change their parameters.
#include <string.h>

#include <algorithm>

#include "entry.hpp"
#include "node_params.hpp"

namespace tfusion::software::driver {

namespace {

bool is_memory(CUgraphNodeType type) {
  return type == CU_GRAPH_NODE_TYPE_MEM_ALLOC || type == CU_GRAPH_NODE_TYPE_MEM_FREE;
}

struct Dependencies {
  const CUgraphNode* nodes;
  std::size_t count;
  const CUgraphEdgeData* edges = nullptr;
};

// Adds what make(const Graph&, GraphLock&) answers under the lock.
template <class Make>
CUresult add_under_lock(CUgraphNode* result, CUgraph handle, const Dependencies& dependencies, Make&& make) {
  return call([&] {
    require(result != nullptr);
    require_plain_edges(dependencies.edges, dependencies.count);
    GraphLock lock;
    const auto graph = graph_of(handle);
    const auto nodes = nodes_of(*graph, dependencies.nodes, dependencies.count);
    NodeDescription what = make(*graph, lock);
    // Memory belongs to one graph; a child may be one of many copies.
    require(graph->holder == nullptr || !is_memory(what.type));
    if (what.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
      description<GraphAllocate>(what).allocation->graph = graph->handle;
    } else if (what.type == CU_GRAPH_NODE_TYPE_MEM_FREE) {
      description<GraphRelease>(what).allocation->freed_by = graph->handle;
    }
    *result = handle_of<CUgraphNode>(*graph->add(std::move(what), nodes));
  });
}

template <class Make>
CUresult add(CUgraphNode* result, CUgraph handle, const Dependencies& dependencies, Make&& make) {
  return call([&] {
    NodeDescription what = make();  // checks that need no lock, or must not have it
    return add_under_lock(result, handle, dependencies, [&](const Graph&, GraphLock&) { return what; });
  });
}

CUresult add_child(CUgraphNode* result, CUgraph handle, const Dependencies& dependencies,
                   CUgraph child_handle, CUgraphChildGraphNodeOwnership ownership) {
  return add_under_lock(result, handle, dependencies, [&](const Graph& graph, GraphLock&) {
    const auto child = graph_of(child_handle);
    NodeDescription what;
    what.type = CU_GRAPH_NODE_TYPE_GRAPH;
    if (ownership == CU_GRAPH_CHILD_GRAPH_OWNERSHIP_MOVE) {
      // Not into itself, however deep.
      const Graph* outermost = &graph;
      while (outermost->holder != nullptr) outermost = outermost->holder->graph;
      require(child->holder == nullptr && child.get() != outermost && child->captures == 0);
      child->is_moved = true;
      what.child = child;
    } else {
      require(ownership == CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE);
      require(!child->has_memory_nodes(), CUDA_ERROR_NOT_SUPPORTED);
      what.child = child->clone(true);
    }
    return what;
  });
}

CUresult add_release(CUgraphNode* result, CUgraph handle, const Dependencies& dependencies,
                     CUdeviceptr address) {
  return add_under_lock(result, handle, dependencies,
                        [&](const Graph& graph, GraphLock&) { return release_node(graph, address); });
}

CUresult add_any(CUgraphNode* result, CUgraph handle, const Dependencies& dependencies,
                 CUgraphNodeParams* params) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  switch (params->type) {
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return add_child(result, handle, dependencies, params->graph.graph, params->graph.ownership);
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      return add_release(result, handle, dependencies, params->free.dptr);
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      return add(result, handle, dependencies, [&] {
        CUDA_MEM_ALLOC_NODE_PARAMS allocation{};
        static_assert(sizeof allocation == sizeof params->alloc);
        memcpy(&allocation, &params->alloc, sizeof allocation);
        NodeDescription what = allocation_node(allocation);
        params->alloc.dptr = allocation.dptr;
        return what;
      });
    default:
      return add(result, handle, dependencies, [&] { return node_of_any(*params); });
  }
}

// Gives the node another description, in which its context is kept if the call cannot name one.
template <class Make>
CUresult set(CUgraphNode handle, bool keeps_context, Make&& make) {
  return call([&] {
    const NodeDescription params = make();
    GraphLock lock;
    const auto node = node_of(handle);
    NodeDescription next = changed(node->what, params, keeps_context);
    lock.discard(std::move(node->what.work));
    node->what = std::move(next);
    node->told_arguments.clear();
  });
}

// Reads from the node, read(GraphNode&), into what `result` points to.
template <class Result, class Read>
CUresult get(CUgraphNode handle, const Result* result, Read&& read) {
  return call([&] {
    require(result != nullptr);
    const GraphLock lock;
    read(*node_of(handle));
  });
}

template <class Description>
CUresult get_event(CUgraphNode handle, CUevent* event) {
  return get(handle, event, [&](const GraphNode& node) {
    *event = handle_of<CUevent>(*description<Description>(node.what).event);
  });
}

// The attribute of a kernel that was never told another.
CUlaunchAttributeValue default_attribute(CUkernelNodeAttrID id) {
  CUlaunchAttributeValue value{};
  switch (id) {
    case CU_KERNEL_NODE_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_KERNEL_NODE_ATTRIBUTE_CLUSTER_DIMENSION:
    case CU_KERNEL_NODE_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_KERNEL_NODE_ATTRIBUTE_PRIORITY:
    case CU_KERNEL_NODE_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_KERNEL_NODE_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
    case CU_KERNEL_NODE_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
      break;
    case CU_KERNEL_NODE_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
      value.memSyncDomainMap.remote = 1;
      break;
    case CU_KERNEL_NODE_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      value.sharedMemCarveout = static_cast<unsigned>(CU_SHAREDMEM_CARVEOUT_DEFAULT);
      break;
    default:
      throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
  return value;
}

// Gives a kernel node a changed launch: change(KernelLaunch&).
template <class Change>
void change_launch(GraphNode& node, GraphLock& lock, Change&& change) {
  KernelLaunch launch = description<KernelLaunch>(node.what);
  change(launch);
  require_launchable(launch);
  require(!launch.shape.cooperative || !launch.packed);
  lock.discard(std::move(node.what.work));
  node.what.work = std::make_shared<const Work>(std::move(launch));
  node.told_arguments.clear();
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuGraphAddKernelNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(phGraphNode, hGraph, {dependencies, numDependencies},
             [&] { return kernel_node(widened(*nodeParams)); });
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                 size_t numDependencies, const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(phGraphNode, hGraph, {dependencies, numDependencies}, [&] { return kernel_node(*nodeParams); });
}

CUresult cuGraphAddMemcpyNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_MEMCPY3D* copyParams, CUcontext ctx) {
  if (copyParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(phGraphNode, hGraph, {dependencies, numDependencies},
             [&] { return memcpy_node(*copyParams, ctx); });
}

CUresult cuGraphAddMemsetNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_MEMSET_NODE_PARAMS* memsetParams,
                              CUcontext ctx) {
  if (memsetParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(phGraphNode, hGraph, {dependencies, numDependencies},
             [&] { return memset_node(*memsetParams, ctx); });
}

CUresult cuGraphAddHostNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                            size_t numDependencies, const CUDA_HOST_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(phGraphNode, hGraph, {dependencies, numDependencies}, [&] { return host_node(*nodeParams); });
}

CUresult cuGraphAddChildGraphNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                  size_t numDependencies, CUgraph childGraph) {
  return add_child(phGraphNode, hGraph, {dependencies, numDependencies}, childGraph,
                   CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE);
}

CUresult cuGraphAddEmptyNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                             size_t numDependencies) {
  return add(phGraphNode, hGraph, {dependencies, numDependencies}, [] { return NodeDescription{}; });
}

CUresult cuGraphAddEventRecordNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                   size_t numDependencies, CUevent event) {
  return add(phGraphNode, hGraph, {dependencies, numDependencies}, [&] { return event_record_node(event); });
}

CUresult cuGraphAddEventWaitNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                 size_t numDependencies, CUevent event) {
  return add(phGraphNode, hGraph, {dependencies, numDependencies}, [&] { return event_wait_node(event); });
}

CUresult cuGraphAddMemAllocNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                size_t numDependencies, CUDA_MEM_ALLOC_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add(phGraphNode, hGraph, {dependencies, numDependencies},
             [&] { return allocation_node(*nodeParams); });
}

CUresult cuGraphAddMemFreeNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                               size_t numDependencies, CUdeviceptr dptr) {
  return add_release(phGraphNode, hGraph, {dependencies, numDependencies}, dptr);
}

CUresult cuGraphAddNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                        size_t numDependencies, CUgraphNodeParams* nodeParams) {
  return add_any(phGraphNode, hGraph, {dependencies, numDependencies}, nodeParams);
}

CUresult cuGraphAddNode_v2(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                           const CUgraphEdgeData* dependencyData, size_t numDependencies,
                           CUgraphNodeParams* nodeParams) {
  return add_any(phGraphNode, hGraph, {dependencies, numDependencies, dependencyData}, nodeParams);
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  return get(hNode, nodeParams, [&](GraphNode& node) {
    const CUDA_KERNEL_NODE_PARAMS params = kernel_params(node);
    memcpy(nodeParams, &params, sizeof *nodeParams);  // the newer structure begins with the older
    // The older cannot name a CUkernel.
    if (params.func == nullptr) {
      nodeParams->func = handle_of<CUfunction>(*description<KernelLaunch>(node.what).loaded.function);
    }
  });
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  return get(hNode, nodeParams, [&](GraphNode& node) { *nodeParams = kernel_params(node); });
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hNode, false, [&] { return kernel_node(widened(*nodeParams)); });
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hNode, false, [&] { return kernel_node(*nodeParams); });
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode hNode, CUDA_MEMCPY3D* nodeParams) {
  return get(hNode, nodeParams,
             [&](const GraphNode& node) { *nodeParams = *description<Transfer>(node.what).described; });
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUDA_MEMCPY3D* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hNode, true, [&] { return memcpy_node(*nodeParams, nullptr); });
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode hNode, CUDA_MEMSET_NODE_PARAMS* nodeParams) {
  return get(hNode, nodeParams, [&](const GraphNode& node) { *nodeParams = memset_params(node); });
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode hNode, const CUDA_MEMSET_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hNode, true, [&] { return memset_node(*nodeParams, nullptr); });
}

CUresult cuGraphHostNodeGetParams(CUgraphNode hNode, CUDA_HOST_NODE_PARAMS* nodeParams) {
  return get(hNode, nodeParams, [&](const GraphNode& node) {
    const HostCall& host = description<HostCall>(node.what);
    *nodeParams = {host.function, host.user};
  });
}

CUresult cuGraphHostNodeSetParams(CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(hNode, true, [&] { return host_node(*nodeParams); });
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode hNode, CUevent* event_out) {
  return get_event<EventRecord>(hNode, event_out);
}

CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode hNode, CUevent event) {
  return set(hNode, false, [&] { return event_record_node(event); });
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode hNode, CUevent* event_out) {
  return get_event<EventWait>(hNode, event_out);
}

CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode hNode, CUevent event) {
  return set(hNode, false, [&] { return event_wait_node(event); });
}

CUresult cuGraphMemAllocNodeGetParams(CUgraphNode hNode, CUDA_MEM_ALLOC_NODE_PARAMS* params_out) {
  return get(hNode, params_out, [&](const GraphNode& node) {
    const GraphAllocation& allocation = *description<GraphAllocate>(node.what).allocation;
    *params_out = {allocation.properties, nullptr, 0, allocation.bytes, allocation.address};
  });
}

CUresult cuGraphMemFreeNodeGetParams(CUgraphNode hNode, CUdeviceptr* dptr_out) {
  return get(hNode, dptr_out, [&](const GraphNode& node) {
    *dptr_out = description<GraphRelease>(node.what).allocation->address;
  });
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode hNode, CUgraph* phGraph) {
  return get(hNode, phGraph, [&](const GraphNode& node) {
    require(node.what.child != nullptr);
    *phGraph = handle_of<CUgraph>(*node.what.child);
  });
}

CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType* type) {
  return get(hNode, type, [&](const GraphNode& node) { *type = node.what.type; });
}

CUresult cuGraphNodeSetParams(CUgraphNode hNode, CUgraphNodeParams* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (nodeParams->type == CU_GRAPH_NODE_TYPE_GRAPH) return CUDA_ERROR_NOT_SUPPORTED;
  return set(hNode, false, [&] { return node_of_any(*nodeParams); });
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
                                       CUkernelNodeAttrValue* value_out) {
  return get(hNode, value_out, [&](const GraphNode& node) {
    const KernelLaunch& launch = description<KernelLaunch>(node.what);
    CUlaunchAttributeValue value{};
    if (attr == CU_KERNEL_NODE_ATTRIBUTE_COOPERATIVE) {
      value.cooperative = launch.shape.cooperative;
    } else {
      value = default_attribute(attr);
      for (const CUlaunchAttribute& each : launch.attributes) {
        if (each.id == attr) value = each.value;
      }
    }
    *value_out = value;
  });
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
                                       const CUkernelNodeAttrValue* value) {
  return call([&] {
    require(value != nullptr);
    CUlaunchAttribute attribute{};
    attribute.id = attr;
    attribute.value = *value;
    GraphLock lock;
    change_launch(*node_of(hNode), lock, [&](KernelLaunch& launch) {
      apply(attribute, launch.shape);
      if (attr == CU_KERNEL_NODE_ATTRIBUTE_COOPERATIVE) return;
      default_attribute(attr);  // refuses what nodes do not have
      std::erase_if(launch.attributes, [&](const CUlaunchAttribute& each) { return each.id == attr; });
      launch.attributes.push_back(attribute);
    });
  });
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode dst, CUgraphNode src) {
  return call([&] {
    GraphLock lock;
    const auto to = node_of(dst);
    const auto from = node_of(src);
    const KernelLaunch& source = description<KernelLaunch>(from->what);
    require(to->what.context == from->what.context);
    const auto attributes = source.attributes;
    const bool cooperative = source.shape.cooperative;
    change_launch(*to, lock, [&](KernelLaunch& launch) {
      launch.attributes = attributes;
      launch.shape.cooperative = cooperative;
    });
  });
}
