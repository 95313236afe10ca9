// Whole graphs and their executables. All of it is asked of the worker but the launches, which are sent like
// any other.
#include "graph.hpp"

#include <cstring>

#include "api.hpp"
#include "call.hpp"
#include "capture.hpp"
#include "context.hpp"
#include "protocol/graph_node.hpp"

namespace tfusion::hook {

namespace {

using wire::GraphListing;

template <typename Item>
CUresult list(std::uint64_t object, GraphListing what, std::vector<Item>* out) {
  for (;;) {
    wire::GraphList command{};
    command.object = object;
    command.what = static_cast<std::uint32_t>(what);
    command.first = static_cast<std::uint32_t>(out->size());
    Reply reply;
    if (CUresult r = call_with(reply, command); r != CUDA_SUCCESS) return r;
    wire::GraphListReply page;
    if (reply.payload_bytes() < sizeof page) return CUDA_ERROR_UNKNOWN;
    std::memcpy(&page, reply.payload(), sizeof page);
    if ((reply.payload_bytes() - sizeof page) / sizeof(Item) < page.listed) return CUDA_ERROR_UNKNOWN;
    const std::size_t before = out->size();
    out->resize(before + page.listed);
    std::memcpy(out->data() + before, reply.payload() + sizeof page, page.listed * sizeof(Item));
    if (out->size() >= page.total) return CUDA_SUCCESS;
    if (page.listed == 0) return CUDA_ERROR_UNKNOWN;
  }
}

CUresult list_nodes(CUgraph graph, GraphListing what, CUgraphNode* out, std::size_t* count) {
  if (count == nullptr || !is_graph(graph)) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::uint64_t> numbers;
  if (CUresult r = list(number(graph), what, &numbers); r != CUDA_SUCCESS) return r;
  std::vector<CUgraphNode> nodes;
  for (const std::uint64_t n : numbers) nodes.push_back(reinterpret_cast<CUgraphNode>(n));
  deliver_list(nodes, out, count);
  return CUDA_SUCCESS;
}

// `data` may be nullptr; edges that it would have to tell of are then an error, if `lossless`.
CUresult list_edges(std::uint64_t object, GraphListing what, CUgraphNode* from, CUgraphNode* to,
                    CUgraphEdgeData* data, std::size_t* count, bool lossless) {
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<wire::GraphEdge> edges;
  if (CUresult r = list(object, what, &edges); r != CUDA_SUCCESS) return r;
  std::vector<CUgraphNode> begins, ends;
  std::vector<CUgraphEdgeData> all_data;
  bool plain = true;
  for (const wire::GraphEdge& edge : edges) {
    CUgraphEdgeData one;
    std::memcpy(&one, edge.data, sizeof one);
    begins.push_back(reinterpret_cast<CUgraphNode>(edge.from));
    ends.push_back(reinterpret_cast<CUgraphNode>(edge.to));
    all_data.push_back(one);
    plain = plain && one.from_port == 0 && one.to_port == 0 && one.type == 0;
  }
  if (data == nullptr && lossless && !plain && from != nullptr) return CUDA_ERROR_LOSSY_QUERY;
  std::size_t room = *count;
  deliver_list(begins, from, &room);
  if (from != nullptr) {
    room = *count;
    if (to != nullptr) deliver_list(ends, to, &room);
    room = *count;
    if (data != nullptr) deliver_list(all_data, data, &room);
  }
  *count = room;
  return CUDA_SUCCESS;
}

CUresult change_edges(CUgraph graph, bool add, const CUgraphNode* from, const CUgraphNode* to,
                      const CUgraphEdgeData* data, std::size_t count) {
  if (!is_graph(graph)) return CUDA_ERROR_INVALID_VALUE;
  if (count == 0) return CUDA_SUCCESS;
  std::vector<std::byte> tail;
  if (CUresult r = append_ends(&tail, from, nullptr, count); r != CUDA_SUCCESS) return r;
  if (CUresult r = append_ends(&tail, to, data, count); r != CUDA_SUCCESS) return r;
  wire::GraphChangeEdges command{};
  command.graph = number(graph);
  command.add = add ? 1 : 0;
  command.dependencies = static_cast<std::uint32_t>(count);
  command.edges = data != nullptr ? command.dependencies : 0;
  return call(command, nullptr, tail.data(), static_cast<std::uint32_t>(tail.size()));
}

struct Instantiated {
  CUgraphExec exec = nullptr;
  CUgraphNode error_node = nullptr;
  CUgraphInstantiateResult outcome = CUDA_GRAPH_INSTANTIATE_ERROR;
};

CUresult instantiate(CUgraph graph, std::uint64_t flags, Instantiated* out) {
  if (!is_graph(graph)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphInstantiate command{};
  command.graph = number(graph);
  command.flags = flags;
  wire::GraphInstantiateReply reply{};
  const CUresult result = call(command, &reply);
  out->exec = reinterpret_cast<CUgraphExec>(reply.exec);
  out->error_node = reinterpret_cast<CUgraphNode>(reply.error_node);
  out->outcome = static_cast<CUgraphInstantiateResult>(reply.outcome);
  if (result == CUDA_SUCCESS) holds_as_well(command.graph, reply.exec);
  return result;
}

CUresult instantiate_with_log(CUgraphExec* exec, CUgraph graph, CUgraphNode* error_node, char* log,
                              std::size_t log_bytes) {
  if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Instantiated made;
  const CUresult result = instantiate(graph, 0, &made);
  if (log != nullptr && log_bytes > 0) log[0] = '\0';
  if (error_node != nullptr) *error_node = made.error_node;
  if (result == CUDA_SUCCESS) *exec = made.exec;
  return result;
}

template <typename Command>
CUresult send_exec(CUgraphExec exec, CUstream stream) {
  if (!is_exec(exec)) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  Command command{};
  command.exec = number(exec);
  if (CUresult r = stream_on_wire(stream, &command.stream); r != CUDA_SUCCESS) return r;
  exec_launched(command.exec, command.stream);
  return post(command);
}

}  // namespace

CUresult append_ends(std::vector<std::byte>* tail, const CUgraphNode* nodes, const CUgraphEdgeData* data,
                     std::size_t count) {
  if (count > 0 && nodes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (count > (wire::kMaxCommandBytes / 4) / sizeof(std::uint64_t)) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    if (!is_node(nodes[i])) return CUDA_ERROR_INVALID_VALUE;
  }
  auto append = [&](const void* from, std::size_t bytes) {
    const auto* start = static_cast<const std::byte*>(from);
    tail->insert(tail->end(), start, start + bytes);
  };
  if (count > 0) append(nodes, count * sizeof *nodes);
  if (data != nullptr) append(data, count * sizeof *data);
  return CUDA_SUCCESS;
}

namespace api {

CUresult cuGraphCreate(CUgraph* phGraph, unsigned int flags) {
  if (phGraph == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphCreate command{};
  wire::GraphCreateReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) *phGraph = reinterpret_cast<CUgraph>(reply.graph);
  return result;
}

CUresult cuGraphDestroy(CUgraph hGraph) {
  if (!is_graph(hGraph)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphDestroy command{};
  command.graph = number(hGraph);
  const CUresult result = call(command);
  if (result == CUDA_SUCCESS) graph_holds_no_more(command.graph);
  return result;
}

CUresult cuGraphClone(CUgraph* phGraphClone, CUgraph originalGraph) {
  if (phGraphClone == nullptr || !is_graph(originalGraph)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphClone command{};
  command.graph = number(originalGraph);
  wire::GraphCloneReply reply{};
  const CUresult result = call(command, &reply);
  if (result != CUDA_SUCCESS) return result;
  holds_as_well(command.graph, reply.clone);
  *phGraphClone = reinterpret_cast<CUgraph>(reply.clone);
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeFindInClone(CUgraphNode* phNode, CUgraphNode hOriginalNode, CUgraph hClonedGraph) {
  if (phNode == nullptr || !is_node(hOriginalNode) || !is_graph(hClonedGraph))
    return CUDA_ERROR_INVALID_VALUE;
  wire::GraphFindInClone command{};
  command.node = number(hOriginalNode);
  command.clone = number(hClonedGraph);
  wire::GraphFindInCloneReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) *phNode = reinterpret_cast<CUgraphNode>(reply.found);
  return result;
}

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode* nodes, size_t* numNodes) {
  return list_nodes(hGraph, GraphListing::nodes, nodes, numNodes);
}

CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode* rootNodes, size_t* numRootNodes) {
  return list_nodes(hGraph, GraphListing::roots, rootNodes, numRootNodes);
}

CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, size_t* numEdges) {
  if (!is_graph(hGraph)) return CUDA_ERROR_INVALID_VALUE;
  return list_edges(number(hGraph), GraphListing::edges, from, to, nullptr, numEdges, true);
}

CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* edgeData,
                            size_t* numEdges) {
  if (!is_graph(hGraph)) return CUDA_ERROR_INVALID_VALUE;
  return list_edges(number(hGraph), GraphListing::edges, from, to, edgeData, numEdges, true);
}

CUresult cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode* dependencies, size_t* numDependencies) {
  return api::cuGraphNodeGetDependencies_v2(hNode, dependencies, nullptr, numDependencies);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode* dependencies,
                                       CUgraphEdgeData* edgeData, size_t* numDependencies) {
  if (!is_node(hNode)) return CUDA_ERROR_INVALID_VALUE;
  return list_edges(number(hNode), GraphListing::dependencies, dependencies, nullptr, edgeData,
                    numDependencies, true);
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode* dependentNodes,
                                      size_t* numDependentNodes) {
  return api::cuGraphNodeGetDependentNodes_v2(hNode, dependentNodes, nullptr, numDependentNodes);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode* dependentNodes,
                                         CUgraphEdgeData* edgeData, size_t* numDependentNodes) {
  if (!is_node(hNode)) return CUDA_ERROR_INVALID_VALUE;
  return list_edges(number(hNode), GraphListing::dependents, dependentNodes, nullptr, edgeData,
                    numDependentNodes, true);
}

CUresult cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                size_t numDependencies) {
  return change_edges(hGraph, true, from, to, nullptr, numDependencies);
}

CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* edgeData, size_t numDependencies) {
  return change_edges(hGraph, true, from, to, edgeData, numDependencies);
}

CUresult cuGraphRemoveDependencies(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                   size_t numDependencies) {
  return change_edges(hGraph, false, from, to, nullptr, numDependencies);
}

CUresult cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                      const CUgraphEdgeData* edgeData, size_t numDependencies) {
  return change_edges(hGraph, false, from, to, edgeData, numDependencies);
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* phGraphExec, CUgraph hGraph, unsigned long long flags) {
  if (phGraphExec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Instantiated made;
  const CUresult result = instantiate(hGraph, flags, &made);
  if (result == CUDA_SUCCESS) *phGraphExec = made.exec;
  return result;
}

CUresult cuGraphInstantiate(CUgraphExec* phGraphExec, CUgraph hGraph, CUgraphNode* phErrorNode,
                            char* logBuffer, size_t bufferSize) {
  return instantiate_with_log(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult cuGraphInstantiate_v2(CUgraphExec* phGraphExec, CUgraph hGraph, CUgraphNode* phErrorNode,
                               char* logBuffer, size_t bufferSize) {
  return instantiate_with_log(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec* phGraphExec, CUgraph hGraph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* instantiateParams) {
  if (phGraphExec == nullptr || instantiateParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Instantiated made;
  const CUresult result = instantiate(hGraph, instantiateParams->flags, &made);
  instantiateParams->hErrNode_out = made.error_node;
  instantiateParams->result_out = made.outcome;
  if (result != CUDA_SUCCESS) return result;
  *phGraphExec = made.exec;
  if ((instantiateParams->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) == 0) return CUDA_SUCCESS;
  return api::cuGraphUpload(made.exec, instantiateParams->hUploadStream);
}

CUresult cuGraphExecGetFlags(CUgraphExec hGraphExec, cuuint64_t* flags) {
  if (flags == nullptr || !is_exec(hGraphExec)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphExecFlags command{};
  command.exec = number(hGraphExec);
  wire::GraphExecFlagsReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) *flags = reply.flags;
  return result;
}

CUresult cuGraphExecDestroy(CUgraphExec hGraphExec) {
  if (!is_exec(hGraphExec)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphExecDestroy command{};
  command.exec = number(hGraphExec);
  const CUresult result = post(command);
  graph_holds_no_more(command.exec);
  return result;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph,
                              CUgraphExecUpdateResultInfo* resultInfo) {
  if (resultInfo == nullptr || !is_exec(hGraphExec) || !is_graph(hGraph)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphUpdate command{};
  command.exec = number(hGraphExec);
  command.graph = number(hGraph);
  wire::GraphUpdateReply reply{};
  const CUresult result = call(command, &reply);
  resultInfo->result = static_cast<CUgraphExecUpdateResult>(reply.outcome);
  resultInfo->errorNode = reinterpret_cast<CUgraphNode>(reply.error_node);
  resultInfo->errorFromNode = reinterpret_cast<CUgraphNode>(reply.error_from);
  if (result == CUDA_SUCCESS) exec_holds_instead(command.graph, command.exec);
  return result;
}

CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode* hErrorNode_out,
                           CUgraphExecUpdateResult* updateResult_out) {
  CUgraphExecUpdateResultInfo info{};
  const CUresult result = api::cuGraphExecUpdate_v2(hGraphExec, hGraph, &info);
  if (hErrorNode_out != nullptr) *hErrorNode_out = info.errorNode;
  if (updateResult_out != nullptr) *updateResult_out = info.result;
  return result;
}

CUresult cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream) {
  return send_exec<wire::GraphLaunch>(hGraphExec, hStream);
}

CUresult cuGraphUpload(CUgraphExec hGraphExec, CUstream hStream) {
  return send_exec<wire::GraphUpload>(hGraphExec, hStream);
}

// Graphs here allocate nothing: nodes that would are refused.
CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr, void* value) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  if (value == nullptr || attr > CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH) return CUDA_ERROR_INVALID_VALUE;
  *static_cast<cuuint64_t*>(value) = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceSetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr, void* value) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  const bool high = attr == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH || attr == CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH;
  return value != nullptr && high && *static_cast<cuuint64_t*>(value) == 0 ? CUDA_SUCCESS
                                                                           : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGraphMemTrim(CUdevice device) {
  return device == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

}  // namespace api
}  // namespace tfusion::hook
