// Whole graphs: making, listing, instantiating and launching them, and stream capture. What their nodes do is
// in graph_nodes.cpp.
#include "graphs.hpp"

#include <algorithm>
#include <cstring>

#include "protocol/graph_node.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

std::uint64_t GraphTables::add_graph(CUgraph graph) {
  Graph made;
  made.graph = graph;
  return graphs_.put(std::move(made));
}

std::uint64_t GraphTables::number_of(std::uint64_t graph, CUgraphNode node) {
  Graph* owner = graphs_.find(graph);
  if (owner == nullptr || node == nullptr) return 0;
  const auto known = owner->nodes.find(node);
  if (known != owner->nodes.end()) return known->second;
  const std::uint64_t number = nodes_.put({node, graph});
  if (number != 0) owner->nodes.emplace(node, number);
  return number;
}

std::uint64_t GraphTables::number_of_child(std::uint64_t parent, CUgraph child) {
  Graph* owner = graphs_.find(parent);
  if (owner == nullptr || child == nullptr) return 0;
  for (const std::uint64_t number : owner->children) {
    const Graph* known = graphs_.find(number);
    if (known != nullptr && known->graph == child) return number;
  }
  Graph made;
  made.graph = child;
  made.child = true;
  const std::uint64_t number = graphs_.put(std::move(made));
  if (number != 0) graphs_.find(parent)->children.push_back(number);  // put() may have moved the owner
  return number;
}

void GraphTables::forget_node(std::uint64_t number) {
  const GraphNode* node = nodes_.find(number);
  if (node == nullptr) return;
  if (Graph* owner = graphs_.find(node->graph)) owner->nodes.erase(node->node);
  nodes_.forget(number);
}

void GraphTables::forget_graph(std::uint64_t number) {
  Graph* graph = graphs_.find(number);
  if (graph == nullptr) return;
  const auto nodes = std::move(graph->nodes);
  const auto children = std::move(graph->children);
  graphs_.forget(number);
  for (const auto& [node, its_number] : nodes) nodes_.forget(its_number);
  for (const std::uint64_t child : children) forget_graph(child);
}

void GraphTables::destroy_all(const DriverFunctions& driver) {
  execs_.for_each([&](CUgraphExec exec) { driver.cuGraphExecDestroy(exec); });
  execs_.clear();
  graphs_.for_each([&](const Graph& graph) {
    if (!graph.child) driver.cuGraphDestroy(graph.graph);
  });
  graphs_.clear();
  nodes_.clear();
}

bool Session::has_graphs() const {
  const DriverFunctions& d = driver();
  return d.cuThreadExchangeStreamCaptureMode != nullptr && d.cuStreamBeginCapture_v2 != nullptr &&
         d.cuStreamBeginCaptureToGraph != nullptr && d.cuStreamGetCaptureInfo_v3 != nullptr &&
         d.cuGraphAddKernelNode_v2 != nullptr && d.cuGraphGetEdges_v2 != nullptr &&
         d.cuGraphInstantiateWithParams != nullptr && d.cuGraphExecUpdate_v2 != nullptr &&
         d.cuGraphExecGetFlags != nullptr;
}

bool Session::is_capturing(CUstream stream) const {
  if (captures_ == 0) return false;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult result = driver().cuStreamIsCapturing(stream, &status);
  // The default stream, while another captures that it would wait for, is as little to be touched.
  return result == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT || status != CU_STREAM_CAPTURE_STATUS_NONE;
}

bool GraphEnds::read(Session& session, const wire::CommandHeader& header, std::span<const std::byte>* tail,
                     std::uint32_t count, std::uint32_t edge_count) {
  constexpr std::size_t kEach = sizeof(std::uint64_t) + sizeof(CUgraphEdgeData);
  if ((edge_count != 0 && edge_count != count) || count > tail->size() / sizeof(std::uint64_t) ||
      (edge_count != 0 && count > tail->size() / kEach)) {
    session.protocol_error(std::string(wire::kCommands[header.opcode].name) +
                           "'s dependencies do not fit its tail");
    return false;
  }
  nodes.resize(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint64_t number = 0;
    std::memcpy(&number, tail->data() + i * sizeof number, sizeof number);
    const GraphNode* node = session.graphs.node(number);
    if (node == nullptr) {
      session.reply(header, CUDA_ERROR_INVALID_VALUE);
      return false;
    }
    nodes[i] = node->node;
  }
  *tail = tail->subspan(count * sizeof(std::uint64_t));
  edges.resize(edge_count);
  if (edge_count > 0) std::memcpy(edges.data(), tail->data(), edge_count * sizeof(CUgraphEdgeData));
  *tail = tail->subspan(edge_count * sizeof(CUgraphEdgeData));
  return true;
}

namespace {

// A graph or executable of the client's; without it, the reply was made.
Graph* find_graph(Session& session, const wire::CommandHeader& header, std::uint64_t number) {
  Graph* graph = session.graphs.graph(number);
  if (graph == nullptr) session.reply(header, CUDA_ERROR_INVALID_VALUE);
  return graph;
}

CUgraphExec* find_exec(Session& session, const wire::CommandHeader& header, std::uint64_t number) {
  CUgraphExec* exec = session.graphs.exec(number);
  if (exec == nullptr) session.refuse(header, CUDA_ERROR_INVALID_VALUE);
  return exec;
}

// Gives a fresh graph of the driver's its number; destroys it if there are too many.
CUresult number_graph(Session& session, CUgraph graph, std::uint64_t* number) {
  *number = session.graphs.add_graph(graph);
  if (*number != 0) return CUDA_SUCCESS;
  session.driver().cuGraphDestroy(graph);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// Lists nodes by calls as CUDA has them: once for how many, once for what.
template <typename Ask>
CUresult list_nodes(std::vector<CUgraphNode>* nodes, Ask&& ask) {
  std::size_t count = 0;
  if (CUresult r = ask(nullptr, &count); r != CUDA_SUCCESS) return r;
  nodes->resize(count);
  const CUresult result = count == 0 ? CUDA_SUCCESS : ask(nodes->data(), &count);
  nodes->resize(std::min(count, nodes->size()));
  return result;
}

template <typename Item>
void reply_page(Session& session, const wire::GraphList& command, const std::vector<Item>& items) {
  wire::GraphListReply reply{static_cast<std::uint32_t>(items.size()), 0};
  constexpr std::size_t kMost = (kReplyPayloadBytes - sizeof reply) / sizeof(Item);
  const std::size_t first = std::min<std::size_t>(command.first, items.size());
  const auto page = std::span(items).subspan(first, std::min(kMost, items.size() - first));
  reply.listed = static_cast<std::uint32_t>(page.size());
  session.reply(command.header, CUDA_SUCCESS, &reply, sizeof reply, std::as_bytes(page));
}

wire::GraphEdge edge(std::uint64_t from, std::uint64_t to, const CUgraphEdgeData& data) {
  wire::GraphEdge made{from, to, {}};
  static_assert(sizeof made.data == sizeof data);
  std::memcpy(made.data, &data, sizeof data);
  return made;
}

}  // namespace

// --- capture
// -----------------------------------------------------------------------------------------------------------

void replay(Session& session, const wire::CaptureBegin& command, std::span<const std::byte> tail) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (command.mode > CU_STREAM_CAPTURE_MODE_RELAXED)
    return session.protocol_error("CaptureBegin asks for a mode that does not exist");
  if (!session.has_graphs()) return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
  const auto mode = static_cast<CUstreamCaptureMode>(command.mode);
  CUresult result = CUDA_SUCCESS;
  if (command.graph == 0) {
    result = session.driver().cuStreamBeginCapture_v2(stream, mode);
  } else {
    const Graph* graph = find_graph(session, command.header, command.graph);
    GraphEnds ends;
    if (graph == nullptr || !ends.read(session, command.header, &tail, command.dependencies, command.edges))
      return;
    result = session.driver().cuStreamBeginCaptureToGraph(stream, graph->graph, ends.nodes_or_null(),
                                                          ends.edges_or_null(), ends.nodes.size(), mode);
  }
  if (result == CUDA_SUCCESS) session.capture_began(stream, command.graph);
  session.reply(command.header, result);
}

void replay(Session& session, const wire::CaptureEnd& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (!session.has_graphs()) return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
  CUgraph graph = nullptr;
  wire::CaptureEndReply reply{};
  CUresult result = session.driver().cuStreamEndCapture(stream, &graph);
  // The graph may have its number already: the capture went into one, or was asked for its.
  reply.graph = session.capture_ended(stream, result);
  if (result == CUDA_SUCCESS && reply.graph == 0) result = number_graph(session, graph, &reply.graph);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::CaptureInfo& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (!session.has_graphs()) return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  cuuint64_t id = 0;
  CUgraph graph = nullptr;
  const CUgraphNode* nodes = nullptr;
  const CUgraphEdgeData* edges = nullptr;
  std::size_t count = 0;
  wire::CaptureInfoReply reply{};
  const CUresult result =
      session.driver().cuStreamGetCaptureInfo_v3(stream, &status, &id, &graph, &nodes, &edges, &count);
  reply.status = status;
  reply.id = id;
  std::vector<wire::GraphEdge> listed;
  if (result == CUDA_SUCCESS && status == CU_STREAM_CAPTURE_STATUS_ACTIVE) {
    reply.graph = session.capture_graph(stream, graph);
    if (reply.graph == 0) return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
    reply.total = static_cast<std::uint32_t>(count);
    constexpr std::size_t kMost = (kReplyPayloadBytes - sizeof reply) / sizeof(wire::GraphEdge);
    for (std::size_t i = command.first; i < count && listed.size() < kMost; ++i) {
      listed.push_back(edge(session.graphs.number_of(reply.graph, nodes[i]), 0,
                            edges != nullptr ? edges[i] : CUgraphEdgeData{}));
    }
    reply.listed = static_cast<std::uint32_t>(listed.size());
  }
  session.reply(command.header, result, &reply, sizeof reply, std::as_bytes(std::span(listed)));
}

void replay(Session& session, const wire::CaptureUpdate& command, std::span<const std::byte> tail) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (!session.has_graphs()) return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
  GraphEnds ends;
  if (!ends.read(session, command.header, &tail, command.dependencies, command.edges)) return;
  session.reply(command.header,
                session.driver().cuStreamUpdateCaptureDependencies_v2(
                    stream, ends.nodes_or_null(), ends.edges_or_null(), ends.nodes.size(), command.flags));
}

void Session::capture_began(CUstream stream, std::uint64_t into) {
  ++captures_;
  captured_commands_ = 0;
  capture_graphs_[stream] = into;
}

std::uint64_t Session::capture_ended(CUstream stream, CUresult result) {
  const auto found = capture_graphs_.find(stream);
  if (found == capture_graphs_.end()) return 0;
  const std::uint64_t number = found->second;
  // Ended by its own thread, in whatever state: it is over. Anything else leaves it as it is.
  if (result == CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD || result == CUDA_ERROR_ILLEGAL_STATE ||
      result == CUDA_ERROR_STREAM_CAPTURE_UNMATCHED) {
    return 0;
  }
  capture_graphs_.erase(found);
  if (captures_ > 0) --captures_;
  if (result == CUDA_SUCCESS) return number;
  if (number != 0) graphs.forget_graph(number);  // the driver has destroyed it
  return 0;
}

std::uint64_t Session::capture_graph(CUstream stream, CUgraph graph) {
  for (const auto& [origin, number] : capture_graphs_) {
    const Graph* known = number != 0 ? graphs.graph(number) : nullptr;
    if (known != nullptr && known->graph == graph) return number;
  }
  // Asked of the stream that began, or of one that joined a capture which nobody asked about yet.
  const std::uint64_t number = graphs.add_graph(graph);
  auto origin = capture_graphs_.find(stream);
  if (origin == capture_graphs_.end()) {
    origin = std::find_if(capture_graphs_.begin(), capture_graphs_.end(), [&](const auto& entry) {
      CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
      CUgraph its = nullptr;
      driver().cuStreamGetCaptureInfo_v3(entry.first, &status, nullptr, &its, nullptr, nullptr, nullptr);
      return its == graph;
    });
  }
  if (origin != capture_graphs_.end()) origin->second = number;
  return number;
}

// --- graphs
// ------------------------------------------------------------------------------------------------------------

void replay(Session& session, const wire::GraphCreate& command) {
  if (!session.has_graphs()) return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
  CUgraph graph = nullptr;
  wire::GraphCreateReply reply{};
  CUresult result = session.driver().cuGraphCreate(&graph, command.flags);
  if (result == CUDA_SUCCESS) result = number_graph(session, graph, &reply.graph);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphDestroy& command) {
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  if (graph->child) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  const CUresult result = session.driver().cuGraphDestroy(graph->graph);
  if (result == CUDA_SUCCESS) session.graphs.forget_graph(command.graph);
  session.reply(command.header, result);
}

void replay(Session& session, const wire::GraphClone& command) {
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  CUgraph clone = nullptr;
  wire::GraphCloneReply reply{};
  CUresult result = session.driver().cuGraphClone(&clone, graph->graph);
  if (result == CUDA_SUCCESS) result = number_graph(session, clone, &reply.clone);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphFindInClone& command) {
  const GraphNode* node = session.graphs.node(command.node);
  const Graph* clone = session.graphs.graph(command.clone);
  if (node == nullptr || clone == nullptr) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  CUgraphNode found = nullptr;
  const CUresult result = session.driver().cuGraphNodeFindInClone(&found, node->node, clone->graph);
  wire::GraphFindInCloneReply reply{};
  if (result == CUDA_SUCCESS) reply.found = session.graphs.number_of(command.clone, found);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphList& command) {
  const auto what = static_cast<wire::GraphListing>(command.what);
  const DriverFunctions& driver = session.driver();
  const bool of_node = what == wire::GraphListing::dependencies || what == wire::GraphListing::dependents;
  if (command.what > static_cast<std::uint32_t>(wire::GraphListing::dependents))
    return session.protocol_error("GraphList asks for what does not exist");
  const GraphNode* node = of_node ? session.graphs.node(command.object) : nullptr;
  const std::uint64_t owner = of_node ? (node != nullptr ? node->graph : 0) : command.object;
  const Graph* graph = find_graph(session, command.header, owner);
  if (graph == nullptr) return;
  std::vector<CUgraphNode> nodes;
  if (what == wire::GraphListing::nodes || what == wire::GraphListing::roots) {
    const CUresult result = list_nodes(&nodes, [&](CUgraphNode* out, std::size_t* count) {
      return what == wire::GraphListing::nodes ? driver.cuGraphGetNodes(graph->graph, out, count)
                                               : driver.cuGraphGetRootNodes(graph->graph, out, count);
    });
    if (result != CUDA_SUCCESS) return session.reply(command.header, result);
    std::vector<std::uint64_t> numbers;
    for (const CUgraphNode each : nodes) numbers.push_back(session.graphs.number_of(owner, each));
    return reply_page(session, command, numbers);
  }
  std::vector<CUgraphNode> others;
  std::vector<CUgraphEdgeData> data;
  const CUresult result = list_nodes(&nodes, [&](CUgraphNode* out, std::size_t* count) {
    if (out != nullptr) {
      others.resize(*count);
      data.resize(*count);
    }
    CUgraphEdgeData* edges = out != nullptr ? data.data() : nullptr;
    switch (what) {
      case wire::GraphListing::edges:
        return driver.cuGraphGetEdges_v2(graph->graph, out, out != nullptr ? others.data() : nullptr, edges,
                                         count);
      case wire::GraphListing::dependencies:
        return driver.cuGraphNodeGetDependencies_v2(node->node, out, edges, count);
      default:
        return driver.cuGraphNodeGetDependentNodes_v2(node->node, out, edges, count);
    }
  });
  if (result != CUDA_SUCCESS) return session.reply(command.header, result);
  std::vector<wire::GraphEdge> edges;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const std::uint64_t to =
        what == wire::GraphListing::edges ? session.graphs.number_of(owner, others[i]) : 0;
    edges.push_back(edge(session.graphs.number_of(owner, nodes[i]), to, data[i]));
  }
  reply_page(session, command, edges);
}

void replay(Session& session, const wire::GraphChangeEdges& command, std::span<const std::byte> tail) {
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  // All that edges begin at, then all that they lead to with the edges' data.
  GraphEnds from, to;
  if (!from.read(session, command.header, &tail, command.dependencies, 0) ||
      !to.read(session, command.header, &tail, command.dependencies, command.edges)) {
    return;
  }
  const auto change = command.add != 0 ? session.driver().cuGraphAddDependencies_v2
                                       : session.driver().cuGraphRemoveDependencies_v2;
  session.reply(command.header, change(graph->graph, from.nodes_or_null(), to.nodes_or_null(),
                                       to.edges_or_null(), from.nodes.size()));
}

// --- executables
// ------------------------------------------------------------------------------------------------------

void replay(Session& session, const wire::GraphInstantiate& command) {
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  CUDA_GRAPH_INSTANTIATE_PARAMS parameters{};
  // Uploading is a call of its own, so that the client's stream is looked up where it is used.
  parameters.flags = command.flags & ~static_cast<std::uint64_t>(CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD);
  if ((parameters.flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) != 0)
    return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
  CUgraphExec exec = nullptr;
  wire::GraphInstantiateReply reply{};
  CUresult result = session.driver().cuGraphInstantiateWithParams(&exec, graph->graph, &parameters);
  reply.outcome = parameters.result_out;
  if (result == CUDA_SUCCESS) {
    reply.exec = session.graphs.add_exec(exec);
    if (reply.exec == 0) {
      session.driver().cuGraphExecDestroy(exec);
      result = CUDA_ERROR_OUT_OF_MEMORY;
    }
  } else {
    reply.error_node = session.graphs.number_of(command.graph, parameters.hErrNode_out);
  }
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphUpdate& command) {
  CUgraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr) return;
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  CUgraphExecUpdateResultInfo info{};
  const CUresult result = session.driver().cuGraphExecUpdate_v2(*exec, graph->graph, &info);
  wire::GraphUpdateReply reply{};
  reply.outcome = info.result;
  reply.error_node = session.graphs.number_of(command.graph, info.errorNode);
  reply.error_from = session.graphs.number_of(command.graph, info.errorFromNode);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphExecFlags& command) {
  CUgraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr) return;
  cuuint64_t flags = 0;
  const CUresult result = session.driver().cuGraphExecGetFlags(*exec, &flags);
  const wire::GraphExecFlagsReply reply{flags};
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphLaunch& command) {
  CUstream stream = nullptr;
  CUgraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr || !session.resolve(command.header, command.stream, &stream)) return;
  session.note(command.header, session.driver().cuGraphLaunch(*exec, stream));
}

void replay(Session& session, const wire::GraphUpload& command) {
  CUstream stream = nullptr;
  CUgraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr || !session.resolve(command.header, command.stream, &stream)) return;
  session.note(command.header, session.driver().cuGraphUpload(*exec, stream));
}

void replay(Session& session, const wire::GraphExecDestroy& command) {
  CUgraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr) return;
  const CUgraphExec ended = *exec;
  session.graphs.forget_exec(command.exec);
  session.note(command.header, session.driver().cuGraphExecDestroy(ended));
}

}  // namespace tfusion::replay
