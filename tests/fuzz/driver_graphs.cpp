// The fuzz driver's graphs, nodes and executables. Lists are real, so that what pages through them runs;
// children are copies, as a driver's are; an executable keeps what its nodes name, and asks for it to be
// alive when it is launched.
#include <algorithm>

#include "driver_state.hpp"

namespace fuzz_driver {

namespace {

Graph& graph_lives(const void* graph) {
  const auto found = state().graphs.find(number(graph));
  if (found == state().graphs.end()) broken("a dead graph", number(graph));
  return found->second;
}

Node& node_lives(const void* node) {
  const auto found = state().nodes.find(number(node));
  if (found == state().nodes.end()) broken("a dead node", number(node));
  return found->second;
}

std::vector<Work>& exec_lives(const void* exec) {
  const auto found = state().execs.find(number(exec));
  if (found == state().execs.end()) broken("a dead executable", number(exec));
  return found->second;
}

CUgraphNode handle_of(std::uintptr_t node) {
  return reinterpret_cast<CUgraphNode>(node);
}

// A copy of a graph and of its nodes' own graphs.
std::uintptr_t clone(std::uintptr_t from, bool child) {
  const std::uintptr_t made = number(fresh<CUgraph>());
  const std::vector<std::uintptr_t> nodes = state().graphs.at(from).nodes;
  state().graphs[made].child = child;
  state().graphs[made].original = from;
  std::map<std::uintptr_t, std::uintptr_t> cloned;
  for (const std::uintptr_t node : nodes) {
    const Node original = state().nodes.at(node);
    Work work = original.work;
    if (work.child != 0) work.child = clone(work.child, true);
    std::vector<std::uintptr_t> ends;
    for (const std::uintptr_t end : original.from) {
      if (cloned.count(end) != 0) ends.push_back(cloned[end]);
    }
    cloned[node] = add_node(made, std::move(work), std::move(ends));
  }
  state().graphs[made].cloned = std::move(cloned);
  return made;
}

std::size_t weight(std::uintptr_t graph) {
  std::size_t all = 0;
  for (const std::uintptr_t node : state().graphs.at(graph).nodes) {
    const std::uintptr_t child = state().nodes.at(node).work.child;
    all += 1 + (child != 0 ? weight(child) : 0);
  }
  return all;
}

void collect(std::uintptr_t graph, std::vector<Work>& into) {
  for (const std::uintptr_t node : state().graphs.at(graph).nodes) {
    const Work& work = state().nodes.at(node).work;
    if (work.child != 0) {
      collect(work.child, into);
    } else {
      into.push_back(work);
    }
  }
}

// Any node of the graph or of the graphs in it, as an error may name; sometimes none.
CUgraphNode some_node(std::uintptr_t graph) {
  const std::vector<std::uintptr_t>& nodes = state().graphs.at(graph).nodes;
  if (nodes.empty() || draw(3) == 0) return nullptr;
  const std::uintptr_t node = nodes[draw(static_cast<unsigned>(nodes.size()))];
  const std::uintptr_t child = state().nodes.at(node).work.child;
  const CUgraphNode deeper = child != 0 ? some_node(child) : nullptr;
  return deeper != nullptr ? deeper : handle_of(node);
}

CUresult list(const std::vector<std::uintptr_t>& all, CUgraphNode* out, CUgraphEdgeData* edges,
              std::size_t* count) {
  if (out != nullptr) {
    const std::size_t room = std::min(*count, all.size());
    for (std::size_t i = 0; i < room; ++i) out[i] = handle_of(all[i]);
    if (edges != nullptr) std::fill_n(edges, room, CUgraphEdgeData{});
  }
  *count = all.size();
  return luck();
}

CUresult add(CUgraphNode* out, CUgraph graph, const CUgraphNode* before, std::size_t count, Work work) {
  graph_lives(graph);
  std::vector<std::uintptr_t> from = nodes_of(graph, before, nullptr, count);
  work_lives(work);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  if (work.child != 0) {
    if (weight(work.child) > 2000) return CUDA_ERROR_OUT_OF_MEMORY;
    work.child = clone(work.child, true);
  }
  *out = handle_of(add_node(number(graph), std::move(work), std::move(from)));
  return CUDA_SUCCESS;
}

CUresult change(CUgraphNode node, Work work) {
  Node& changed = node_lives(node);
  work_lives(work);
  if (changed.work.type != work.type) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  changed.work = std::move(work);
  return CUDA_SUCCESS;
}

CUresult change(CUgraphExec exec, CUgraphNode node, Work work) {
  std::vector<Work>& all = exec_lives(exec);
  node_lives(node);
  work_lives(work);
  if (node_lives(node).work.type != work.type) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  if (work.child != 0) {
    collect(work.child, all);
  } else {
    all.push_back(std::move(work));
  }
  return CUDA_SUCCESS;
}

Work host_work(const CUDA_HOST_NODE_PARAMS& host) {
  Work work;
  work.type = CU_GRAPH_NODE_TYPE_HOST;
  work.host = host;
  return work;
}

Work event_work(CUgraphNodeType type, CUevent event) {
  Work work;
  work.type = type;
  work.event = number(event);
  return work;
}

Work child_work(CUgraph child) {
  graph_lives(child);
  Work work;
  work.type = CU_GRAPH_NODE_TYPE_GRAPH;
  work.child = number(child);
  return work;
}

// The node is of the type, as the worker asked before; else the call fails, as a driver's would.
bool is(CUgraphNode node, CUgraphNodeType type) {
  return node_lives(node).work.type == type;
}

}  // namespace

Work kernel_work(const CUDA_KERNEL_NODE_PARAMS& parameters) {
  Work work;
  work.type = CU_GRAPH_NODE_TYPE_KERNEL;
  work.kernel = parameters;
  if (parameters.extra != nullptr) {
    const std::size_t bytes = *static_cast<const std::size_t*>(parameters.extra[3]);
    read_all(parameters.extra[1], bytes);
    const auto* from = static_cast<const std::byte*>(parameters.extra[1]);
    work.parameters.assign(from, from + bytes);
  }
  work.kernel.extra = nullptr;
  return work;
}

// Host buffers that copies name are seen where they are captured.
void work_lives(const Work& work) {
  switch (work.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return kernel_lives(work.kernel.func);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return copy_is_its_own(work.copy);
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return fill_is_its_own(work.fill);
    case CU_GRAPH_NODE_TYPE_HOST:
      return read_all(work.host.userData, 8);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return event_lives(reinterpret_cast<CUevent>(work.event));
    default:
      return;
  }
}

void erase_graph(std::uintptr_t graph) {
  const std::vector<std::uintptr_t> nodes = state().graphs.at(graph).nodes;
  state().graphs.erase(graph);
  for (const std::uintptr_t node : nodes) {
    const std::uintptr_t child = state().nodes.at(node).work.child;
    state().nodes.erase(node);
    if (child != 0) erase_graph(child);
  }
}

std::uintptr_t add_node(std::uintptr_t graph, Work work, std::vector<std::uintptr_t> from) {
  const std::uintptr_t made = number(fresh<CUgraphNode>());
  state().nodes[made] = Node{graph, std::move(work), std::move(from)};
  state().graphs.at(graph).nodes.push_back(made);
  return made;
}

std::vector<std::uintptr_t> nodes_of(CUgraph graph, const CUgraphNode* nodes, const CUgraphEdgeData* edges,
                                     std::size_t count) {
  std::vector<std::uintptr_t> all;
  graph_lives(graph);
  if (edges != nullptr) read_all(edges, count * sizeof *edges);
  for (std::size_t i = 0; i < count; ++i) {
    if (node_lives(nodes[i]).graph != number(graph)) broken("a node of another graph", number(nodes[i]));
    all.push_back(number(nodes[i]));
  }
  return all;
}

}  // namespace fuzz_driver

using namespace fuzz_driver;

EXPORT CUresult cuGraphCreate(CUgraph* g, unsigned flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *g = fresh<CUgraph>();
  state().graphs[number(*g)];
  return CUDA_SUCCESS;
}
EXPORT CUresult cuGraphDestroy(CUgraph g) {
  if (graph_lives(g).child) broken("destroys a node's own graph", number(g));
  if (graph_lives(g).capture != 0) broken("destroys a graph while a capture goes into it", number(g));
  erase_graph(number(g));
  return CUDA_SUCCESS;
}
EXPORT CUresult cuGraphClone(CUgraph* out, CUgraph g) {
  graph_lives(g);
  if (weight(number(g)) > 2000) return CUDA_ERROR_OUT_OF_MEMORY;
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *out = reinterpret_cast<CUgraph>(clone(number(g), false));
  return CUDA_SUCCESS;
}
EXPORT CUresult cuGraphNodeFindInClone(CUgraphNode* out, CUgraphNode node, CUgraph g) {
  node_lives(node);
  const Graph& copy = graph_lives(g);
  const auto found = copy.cloned.find(number(node));
  if (found == copy.cloned.end() || state().nodes.count(found->second) == 0) return CUDA_ERROR_INVALID_VALUE;
  *out = handle_of(found->second);
  return luck();
}
EXPORT CUresult cuGraphGetNodes(CUgraph g, CUgraphNode* out, std::size_t* count) {
  return list(graph_lives(g).nodes, out, nullptr, count);
}
EXPORT CUresult cuGraphGetRootNodes(CUgraph g, CUgraphNode* out, std::size_t* count) {
  std::vector<std::uintptr_t> roots;
  for (const std::uintptr_t node : graph_lives(g).nodes) {
    if (state().nodes.at(node).from.empty()) roots.push_back(node);
  }
  return list(roots, out, nullptr, count);
}
EXPORT CUresult cuGraphGetEdges_v2(CUgraph g, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* data,
                                   std::size_t* count) {
  std::vector<std::uintptr_t> begins, ends;
  for (const std::uintptr_t node : graph_lives(g).nodes) {
    for (const std::uintptr_t begin : state().nodes.at(node).from)
      begins.push_back(begin), ends.push_back(node);
  }
  std::size_t room = *count;
  if (to != nullptr) list(ends, to, nullptr, &room);
  return list(begins, from, data, count);
}
EXPORT CUresult cuGraphNodeGetDependencies_v2(CUgraphNode n, CUgraphNode* out, CUgraphEdgeData* data,
                                              std::size_t* count) {
  return list(node_lives(n).from, out, data, count);
}
EXPORT CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode n, CUgraphNode* out, CUgraphEdgeData* data,
                                                std::size_t* count) {
  std::vector<std::uintptr_t> dependents;
  for (const std::uintptr_t node : graph_lives(reinterpret_cast<CUgraph>(node_lives(n).graph)).nodes) {
    const auto& from = state().nodes.at(node).from;
    if (std::find(from.begin(), from.end(), number(n)) != from.end()) dependents.push_back(node);
  }
  return list(dependents, out, data, count);
}
EXPORT CUresult cuGraphAddDependencies_v2(CUgraph g, const CUgraphNode* from, const CUgraphNode* to,
                                          const CUgraphEdgeData* data, std::size_t count) {
  const auto begins = nodes_of(g, from, nullptr, count), ends = nodes_of(g, to, data, count);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  for (std::size_t i = 0; i < count; ++i) {
    auto& its = state().nodes.at(ends[i]).from;
    if (begins[i] < ends[i] && its.size() < 64) its.push_back(begins[i]);
  }
  return CUDA_SUCCESS;
}
EXPORT CUresult cuGraphRemoveDependencies_v2(CUgraph g, const CUgraphNode* from, const CUgraphNode* to,
                                             const CUgraphEdgeData* data, std::size_t count) {
  const auto begins = nodes_of(g, from, nullptr, count), ends = nodes_of(g, to, data, count);
  for (std::size_t i = 0; i < count; ++i) std::erase(state().nodes.at(ends[i]).from, begins[i]);
  return luck();
}

EXPORT CUresult cuGraphAddKernelNode_v2(CUgraphNode* n, CUgraph g, const CUgraphNode* before,
                                        std::size_t count, const CUDA_KERNEL_NODE_PARAMS* p) {
  return add(n, g, before, count, kernel_work(*p));
}
EXPORT CUresult cuGraphAddMemcpyNode(CUgraphNode* n, CUgraph g, const CUgraphNode* before, std::size_t count,
                                     const CUDA_MEMCPY3D* p, CUcontext) {
  return add(n, g, before, count, copy_work(*p));
}
EXPORT CUresult cuGraphAddMemsetNode(CUgraphNode* n, CUgraph g, const CUgraphNode* before, std::size_t count,
                                     const CUDA_MEMSET_NODE_PARAMS* p, CUcontext) {
  return add(n, g, before, count, fill_work(*p));
}
EXPORT CUresult cuGraphAddHostNode(CUgraphNode* n, CUgraph g, const CUgraphNode* before, std::size_t count,
                                   const CUDA_HOST_NODE_PARAMS* p) {
  return add(n, g, before, count, host_work(*p));
}
EXPORT CUresult cuGraphAddChildGraphNode(CUgraphNode* n, CUgraph g, const CUgraphNode* before,
                                         std::size_t count, CUgraph child) {
  return add(n, g, before, count, child_work(child));
}
EXPORT CUresult cuGraphAddEmptyNode(CUgraphNode* n, CUgraph g, const CUgraphNode* before, std::size_t count) {
  return add(n, g, before, count, Work{});
}
EXPORT CUresult cuGraphAddEventRecordNode(CUgraphNode* n, CUgraph g, const CUgraphNode* before,
                                          std::size_t count, CUevent e) {
  return add(n, g, before, count, event_work(CU_GRAPH_NODE_TYPE_EVENT_RECORD, e));
}
EXPORT CUresult cuGraphAddEventWaitNode(CUgraphNode* n, CUgraph g, const CUgraphNode* before,
                                        std::size_t count, CUevent e) {
  return add(n, g, before, count, event_work(CU_GRAPH_NODE_TYPE_WAIT_EVENT, e));
}
EXPORT CUresult cuGraphDestroyNode(CUgraphNode n) {
  const Node gone = node_lives(n);
  Graph& graph = state().graphs.at(gone.graph);
  if (graph.capture != 0) broken("takes a node out of a graph while a capture goes into it", number(n));
  std::erase(graph.nodes, number(n));
  for (const std::uintptr_t node : graph.nodes) std::erase(state().nodes.at(node).from, number(n));
  state().nodes.erase(number(n));
  if (gone.work.child != 0) erase_graph(gone.work.child);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphNodeGetType(CUgraphNode n, CUgraphNodeType* type) {
  return set(type, node_lives(n).work.type), luck();
}
// In either of the ways that a driver may tell of parameters.
EXPORT CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode n, CUDA_KERNEL_NODE_PARAMS* p) {
  static std::uint64_t word = 0;
  static std::vector<void*> one_by_one(2000, &word);
  static std::size_t bytes = 0;
  static void* extra[5] = {CU_LAUNCH_PARAM_BUFFER_POINTER, nullptr, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                           CU_LAUNCH_PARAM_END};
  if (!is(n, CU_GRAPH_NODE_TYPE_KERNEL)) return CUDA_ERROR_INVALID_VALUE;
  Work& work = node_lives(n).work;
  *p = work.kernel;
  bytes = work.parameters.size();
  extra[1] = work.parameters.data();
  p->extra = draw(2) == 0 ? extra : nullptr;
  p->kernelParams = p->extra != nullptr || draw(4) == 0 ? nullptr : one_by_one.data();
  return luck();
}
EXPORT CUresult cuGraphMemcpyNodeGetParams(CUgraphNode n, CUDA_MEMCPY3D* p) {
  if (!is(n, CU_GRAPH_NODE_TYPE_MEMCPY)) return CUDA_ERROR_INVALID_VALUE;
  return *p = node_lives(n).work.copy, luck();
}
EXPORT CUresult cuGraphMemsetNodeGetParams(CUgraphNode n, CUDA_MEMSET_NODE_PARAMS* p) {
  if (!is(n, CU_GRAPH_NODE_TYPE_MEMSET)) return CUDA_ERROR_INVALID_VALUE;
  return *p = node_lives(n).work.fill, luck();
}
EXPORT CUresult cuGraphHostNodeGetParams(CUgraphNode n, CUDA_HOST_NODE_PARAMS* p) {
  if (!is(n, CU_GRAPH_NODE_TYPE_HOST)) return CUDA_ERROR_INVALID_VALUE;
  return *p = node_lives(n).work.host, luck();
}
EXPORT CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode n, CUgraph* child) {
  if (!is(n, CU_GRAPH_NODE_TYPE_GRAPH)) return CUDA_ERROR_INVALID_VALUE;
  return *child = reinterpret_cast<CUgraph>(node_lives(n).work.child), luck();
}
EXPORT CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode n, CUevent* e) {
  if (!is(n, CU_GRAPH_NODE_TYPE_EVENT_RECORD)) return CUDA_ERROR_INVALID_VALUE;
  return *e = reinterpret_cast<CUevent>(node_lives(n).work.event), luck();
}
EXPORT CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode n, CUevent* e) {
  if (!is(n, CU_GRAPH_NODE_TYPE_WAIT_EVENT)) return CUDA_ERROR_INVALID_VALUE;
  return *e = reinterpret_cast<CUevent>(node_lives(n).work.event), luck();
}
EXPORT CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS* p) {
  return change(n, kernel_work(*p));
}
EXPORT CUresult cuGraphMemcpyNodeSetParams(CUgraphNode n, const CUDA_MEMCPY3D* p) {
  return change(n, copy_work(*p));
}
EXPORT CUresult cuGraphMemsetNodeSetParams(CUgraphNode n, const CUDA_MEMSET_NODE_PARAMS* p) {
  return change(n, fill_work(*p));
}
EXPORT CUresult cuGraphHostNodeSetParams(CUgraphNode n, const CUDA_HOST_NODE_PARAMS* p) {
  return change(n, host_work(*p));
}
EXPORT CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode n, CUevent e) {
  return change(n, event_work(CU_GRAPH_NODE_TYPE_EVENT_RECORD, e));
}
EXPORT CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode n, CUevent e) {
  return change(n, event_work(CU_GRAPH_NODE_TYPE_WAIT_EVENT, e));
}

EXPORT CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec x, CUgraphNode n,
                                                  const CUDA_KERNEL_NODE_PARAMS* p) {
  return change(x, n, kernel_work(*p));
}
EXPORT CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec x, CUgraphNode n, const CUDA_MEMCPY3D* p,
                                               CUcontext) {
  return change(x, n, copy_work(*p));
}
EXPORT CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec x, CUgraphNode n, const CUDA_MEMSET_NODE_PARAMS* p,
                                               CUcontext) {
  return change(x, n, fill_work(*p));
}
EXPORT CUresult cuGraphExecHostNodeSetParams(CUgraphExec x, CUgraphNode n, const CUDA_HOST_NODE_PARAMS* p) {
  return change(x, n, host_work(*p));
}
EXPORT CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec x, CUgraphNode n, CUgraph child) {
  return change(x, n, child_work(child));
}
EXPORT CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec x, CUgraphNode n, CUevent e) {
  return change(x, n, event_work(CU_GRAPH_NODE_TYPE_EVENT_RECORD, e));
}
EXPORT CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec x, CUgraphNode n, CUevent e) {
  return change(x, n, event_work(CU_GRAPH_NODE_TYPE_WAIT_EVENT, e));
}
EXPORT CUresult cuGraphNodeGetEnabled(CUgraphExec x, CUgraphNode n, unsigned* enabled) {
  return exec_lives(x), node_lives(n), set(enabled, 1), luck();
}
EXPORT CUresult cuGraphNodeSetEnabled(CUgraphExec x, CUgraphNode n, unsigned) {
  return exec_lives(x), node_lives(n), luck();
}
EXPORT CUresult cuGraphKernelNodeGetAttribute(CUgraphNode n, CUkernelNodeAttrID,
                                              CUkernelNodeAttrValue* value) {
  node_lives(n);
  std::memset(value, 5, sizeof *value);
  return luck();
}
EXPORT CUresult cuGraphKernelNodeSetAttribute(CUgraphNode n, CUkernelNodeAttrID,
                                              const CUkernelNodeAttrValue* value) {
  node_lives(n);
  read_all(value, sizeof *value);
  return luck();
}
EXPORT CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode to, CUgraphNode from) {
  return node_lives(to), node_lives(from), luck();
}

EXPORT CUresult cuGraphInstantiateWithParams(CUgraphExec* x, CUgraph g, CUDA_GRAPH_INSTANTIATE_PARAMS* p) {
  graph_lives(g);
  if (p->hUploadStream != nullptr || (p->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) != 0)
    broken("uploads to a stream that was not looked up", p->flags);
  if (draw(10) == 0) {
    p->result_out = CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
    p->hErrNode_out = some_node(number(g));
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::vector<Work> all;
  collect(number(g), all);
  for (const Work& work : all) {
    if (work.type == CU_GRAPH_NODE_TYPE_KERNEL) work_lives(work);
  }
  *x = fresh<CUgraphExec>();
  state().execs[number(*x)] = std::move(all);
  p->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuGraphExecUpdate_v2(CUgraphExec x, CUgraph g, CUgraphExecUpdateResultInfo* info) {
  std::vector<Work>& all = exec_lives(x);
  graph_lives(g);
  if (draw(3) == 0) {
    info->result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    info->errorNode = some_node(number(g));
    info->errorFromNode = some_node(number(g));
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  }
  all.clear();
  collect(number(g), all);
  info->result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuGraphExecDestroy(CUgraphExec x) {
  exec_lives(x);
  state().execs.erase(number(x));
  return luck();
}
EXPORT CUresult cuGraphExecGetFlags(CUgraphExec x, cuuint64_t* flags) {
  return exec_lives(x), set(flags, 0), luck();
}
// What it runs must be there; memory may be gone, which the GPU itself would tell.
EXPORT CUresult cuGraphLaunch(CUgraphExec x, CUstream s) {
  for (const Work& work : exec_lives(x)) {
    if (work.type == CU_GRAPH_NODE_TYPE_MEMCPY) {
      if (work.copy.srcArray != nullptr) array_lives(work.copy.srcArray);
      if (work.copy.dstArray != nullptr) array_lives(work.copy.dstArray);
    } else if (work.type != CU_GRAPH_NODE_TYPE_MEMSET) {
      work_lives(work);
    }
  }
  Work work;
  work.type = CU_GRAPH_NODE_TYPE_GRAPH;
  if (state().capturing.count(number(s)) != 0) {
    const std::uintptr_t child = number(fresh<CUgraph>());
    state().graphs[child].child = true;
    for (const Work& each : exec_lives(x)) add_node(child, each, {});
    work.child = child;
    const CUresult result = on(s, work);
    if (result != CUDA_SUCCESS) erase_graph(child);
    return result;
  }
  return on(s);
}
EXPORT CUresult cuGraphUpload(CUgraphExec x, CUstream s) {
  exec_lives(x);
  stream_lives(s);
  return luck();
}
