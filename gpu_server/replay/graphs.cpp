// Whole graphs: making, listing, instantiating and launching them. What their nodes do is in graph_nodes.cpp,
// stream capture in captures.cpp.
#include "graphs.hpp"

#include <algorithm>
#include <cstring>

#include "protocol/graph_node.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

std::uint64_t GraphTables::add_graph(CUgraph graph, std::uint64_t weight) {
  Graph made;
  made.graph = graph;
  made.weight = weight;
  const std::uint64_t number = graphs_.put(std::move(made));
  if (number != 0) weight_ += weight;
  return number;
}

std::uint64_t GraphTables::add_exec(CUgraphExec exec, std::uint64_t weight) {
  const std::uint64_t number = execs_.put({exec, weight});
  if (number != 0) weight_ += weight;
  return number;
}

void GraphTables::forget_exec(std::uint64_t number) {
  weight_ -= execs_.find(number)->weight;
  execs_.forget(number);
}

void GraphTables::change_weight(std::uint64_t graph, std::int64_t change) {
  Graph* outermost = graphs_.find(graph);
  while (outermost != nullptr && outermost->parent != 0) outermost = graphs_.find(outermost->parent);
  if (outermost == nullptr) return;
  // Not below nothing: a driver may know of nodes that were never counted.
  const std::uint64_t less =
      change < 0 ? std::min(outermost->weight, static_cast<std::uint64_t>(-change)) : 0;
  const std::uint64_t more = change > 0 ? static_cast<std::uint64_t>(change) : 0;
  outermost->weight += more - less;
  weight_ += more - less;
}

void GraphTables::set_weight(std::uint64_t graph, std::uint64_t weight) {
  Graph* its = graphs_.find(graph);
  if (its == nullptr) return;
  weight_ += weight - its->weight;
  its->weight = weight;
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

std::uint64_t GraphTables::number_of_child(const GraphNode& node, CUgraph child) {
  Graph* owner = graphs_.find(node.graph);
  if (owner == nullptr || child == nullptr) return 0;
  const std::uint64_t its_node = owner->nodes.at(node.node);
  if (const auto known = owner->children.find(its_node); known != owner->children.end()) return known->second;
  Graph made;
  made.graph = child;
  made.parent = node.graph;
  const std::uint64_t number = graphs_.put(std::move(made));
  if (number != 0) graphs_.find(node.graph)->children.emplace(its_node, number);  // put() may have moved it
  return number;
}

void GraphTables::forget_node(std::uint64_t number) {
  const GraphNode* node = nodes_.find(number);
  if (node == nullptr) return;
  if (Graph* owner = graphs_.find(node->graph)) {
    owner->nodes.erase(node->node);
    if (const auto child = owner->children.extract(number)) forget_graph(child.mapped());
  }
  nodes_.forget(number);
}

void GraphTables::forget_graph(std::uint64_t number) {
  Graph* graph = graphs_.find(number);
  if (graph == nullptr) return;
  const auto nodes = std::move(graph->nodes);
  const auto children = std::move(graph->children);
  weight_ -= graph->weight;
  graphs_.forget(number);
  for (const auto& [node, its_number] : nodes) nodes_.forget(its_number);
  for (const auto& [node, child] : children) forget_graph(child);
}

void GraphTables::destroy_all(const DriverFunctions& driver) {
  execs_.for_each([&](const GraphExec& exec) { driver.cuGraphExecDestroy(exec.exec); });
  execs_.clear();
  graphs_.for_each([&](const Graph& graph) {
    if (graph.parent == 0) driver.cuGraphDestroy(graph.graph);
  });
  graphs_.clear();
  nodes_.clear();
  weight_ = 0;
}

bool Session::has_graphs() const {
  const DriverFunctions& d = driver();
  return d.cuThreadExchangeStreamCaptureMode != nullptr && d.cuStreamBeginCapture_v2 != nullptr &&
         d.cuStreamBeginCaptureToGraph != nullptr && d.cuStreamGetCaptureInfo_v3 != nullptr &&
         d.cuGraphAddKernelNode_v2 != nullptr && d.cuGraphGetEdges_v2 != nullptr &&
         d.cuGraphInstantiateWithParams != nullptr && d.cuGraphExecUpdate_v2 != nullptr &&
         d.cuGraphExecGetFlags != nullptr;
}

bool GraphEnds::read(Session& session, const wire::CommandHeader& header, std::span<const std::byte>* tail,
                     CUgraph graph, std::uint32_t count, std::uint32_t edge_count) {
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
    const Graph* owner = node != nullptr ? session.graphs.graph(node->graph) : nullptr;
    if (owner == nullptr || owner->graph != graph) {
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

Graph* find_graph(Session& session, const wire::CommandHeader& header, std::uint64_t number) {
  Graph* graph = session.graphs.graph(number);
  if (graph == nullptr) session.reply(header, CUDA_ERROR_INVALID_VALUE);
  return graph;
}

namespace {

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

}  // namespace

std::uint64_t weigh(const DriverFunctions& driver, CUgraph graph) {
  std::uint64_t weight = 0;
  std::vector<CUgraph> left{graph};
  while (!left.empty()) {
    const CUgraph one = left.back();
    left.pop_back();
    std::vector<CUgraphNode> nodes;
    list_nodes(&nodes,
               [&](CUgraphNode* out, std::size_t* count) { return driver.cuGraphGetNodes(one, out, count); });
    weight += nodes.size();
    for (const CUgraphNode node : nodes) {
      CUgraphNodeType type{};
      CUgraph child = nullptr;
      if (driver.cuGraphNodeGetType(node, &type) == CUDA_SUCCESS && type == CU_GRAPH_NODE_TYPE_GRAPH &&
          driver.cuGraphChildGraphNodeGetGraph(node, &child) == CUDA_SUCCESS) {
        left.push_back(child);
      }
    }
  }
  return weight;
}

std::uint64_t weight_of(const DriverFunctions& driver, const Graph& graph) {
  return graph.parent == 0 ? graph.weight : weigh(driver, graph.graph);
}

CUresult number_graph(Session& session, CUgraph graph, std::uint64_t weight, std::uint64_t* number) {
  *number = session.graphs.has_room(weight) ? session.graphs.add_graph(graph, weight) : 0;
  if (*number != 0) return CUDA_SUCCESS;
  session.driver().cuGraphDestroy(graph);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

wire::GraphEdge graph_edge(std::uint64_t from, std::uint64_t to, const CUgraphEdgeData& data) {
  wire::GraphEdge made{from, to, {}};
  static_assert(sizeof made.data == sizeof data);
  std::memcpy(made.data, &data, sizeof data);
  return made;
}

namespace {

// An executable of the client's; without it, the note or reply was made.
GraphExec* find_exec(Session& session, const wire::CommandHeader& header, std::uint64_t number) {
  GraphExec* exec = session.graphs.exec(number);
  if (exec == nullptr) session.refuse(header, CUDA_ERROR_INVALID_VALUE);
  return exec;
}

// The number of a node that an error names, which may be in a graph within that graph: then it has none, as a
// node must not be known as two graphs'.
std::uint64_t number_if_in(Session& session, std::uint64_t graph, CUgraphNode node) {
  const CUgraph its = session.graphs.graph(graph)->graph;
  std::vector<CUgraphNode> nodes;
  if (node == nullptr || list_nodes(&nodes, [&](CUgraphNode* out, std::size_t* count) {
                           return session.driver().cuGraphGetNodes(its, out, count);
                         }) != CUDA_SUCCESS) {
    return 0;
  }
  const bool inside = std::find(nodes.begin(), nodes.end(), node) != nodes.end();
  return inside ? session.graphs.number_of(graph, node) : 0;
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

}  // namespace

// --- graphs
// ------------------------------------------------------------------------------------------------------------

void replay(Session& session, const wire::GraphCreate& command) {
  if (!session.has_graphs()) return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
  CUgraph graph = nullptr;
  wire::GraphCreateReply reply{};
  CUresult result = session.driver().cuGraphCreate(&graph, command.flags);
  if (result == CUDA_SUCCESS) result = number_graph(session, graph, 0, &reply.graph);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphDestroy& command) {
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  if (graph->parent != 0) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  if (session.is_captured_into(command.graph))
    return session.reply(command.header, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  const CUresult result = session.driver().cuGraphDestroy(graph->graph);
  if (result == CUDA_SUCCESS) session.graphs.forget_graph(command.graph);
  session.reply(command.header, result);
}

void replay(Session& session, const wire::GraphClone& command) {
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  const std::uint64_t weight = weight_of(session.driver(), *graph);
  if (!session.graphs.has_room(weight)) return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  CUgraph clone = nullptr;
  wire::GraphCloneReply reply{};
  CUresult result = session.driver().cuGraphClone(&clone, graph->graph);
  if (result == CUDA_SUCCESS) result = number_graph(session, clone, weight, &reply.clone);
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
    edges.push_back(graph_edge(session.graphs.number_of(owner, nodes[i]), to, data[i]));
  }
  reply_page(session, command, edges);
}

void replay(Session& session, const wire::GraphChangeEdges& command, std::span<const std::byte> tail) {
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  // All that edges begin at, then all that they lead to with the edges' data.
  GraphEnds from, to;
  if (!from.read(session, command.header, &tail, graph->graph, command.dependencies, 0) ||
      !to.read(session, command.header, &tail, graph->graph, command.dependencies, command.edges)) {
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
  const std::uint64_t weight = weight_of(session.driver(), *graph);
  if (!session.graphs.has_room(weight)) return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  CUgraphExec exec = nullptr;
  wire::GraphInstantiateReply reply{};
  CUresult result = session.driver().cuGraphInstantiateWithParams(&exec, graph->graph, &parameters);
  reply.outcome = parameters.result_out;
  if (result == CUDA_SUCCESS) {
    reply.exec = session.graphs.add_exec(exec, weight);
    if (reply.exec == 0) {
      session.driver().cuGraphExecDestroy(exec);
      result = CUDA_ERROR_OUT_OF_MEMORY;
    }
  } else {
    reply.error_node = number_if_in(session, command.graph, parameters.hErrNode_out);
  }
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphUpdate& command) {
  GraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr) return;
  const Graph* graph = find_graph(session, command.header, command.graph);
  if (graph == nullptr) return;
  CUgraphExecUpdateResultInfo info{};
  const CUresult result = session.driver().cuGraphExecUpdate_v2(exec->exec, graph->graph, &info);
  wire::GraphUpdateReply reply{};
  reply.outcome = info.result;
  reply.error_node = number_if_in(session, command.graph, info.errorNode);
  reply.error_from = number_if_in(session, command.graph, info.errorFromNode);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphExecFlags& command) {
  GraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr) return;
  cuuint64_t flags = 0;
  const CUresult result = session.driver().cuGraphExecGetFlags(exec->exec, &flags);
  const wire::GraphExecFlagsReply reply{flags};
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphLaunch& command) {
  CUstream stream = nullptr;
  GraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr || !session.resolve(command.header, command.stream, &stream)) return;
  if (!session.may_launch_graph(stream, exec->weight))
    return session.note(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  session.note(command.header, session.driver().cuGraphLaunch(exec->exec, stream));
  session.launched(stream, std::max<std::uint64_t>(1, exec->weight));
}

void replay(Session& session, const wire::GraphUpload& command) {
  CUstream stream = nullptr;
  GraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr || !session.resolve(command.header, command.stream, &stream)) return;
  session.note(command.header, session.driver().cuGraphUpload(exec->exec, stream));
}

void replay(Session& session, const wire::GraphExecDestroy& command) {
  GraphExec* exec = find_exec(session, command.header, command.exec);
  if (exec == nullptr) return;
  const CUgraphExec ended = exec->exec;
  session.graphs.forget_exec(command.exec);
  session.note(command.header, session.driver().cuGraphExecDestroy(ended));
}

}  // namespace tfusion::replay
