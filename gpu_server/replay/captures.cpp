// Stream capture. What stands in a stream that captures becomes nodes of a graph that the driver has made;
// the client may ask for that graph's number while the capture goes on.
//
// A capture's graph ends with a capture that fails, at a moment that the driver chooses. So its number is
// forgotten as soon as the capture is seen not to be active any more, before any command that could name it.
#include <algorithm>
#include <string_view>

#include "dispatch.hpp"
#include "graphs.hpp"
#include "protocol/graph_node.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

bool Session::is_capturing(CUstream stream) const {
  if (captures_.empty()) return false;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult result = driver().cuStreamIsCapturing(stream, &status);
  // The default stream, while another captures that it would wait for, is as little to be touched; and who
  // cannot say may be capturing.
  return result != CUDA_SUCCESS || status != CU_STREAM_CAPTURE_STATUS_NONE;
}

bool Session::is_captured_into(std::uint64_t graph) {
  for (const Graph* each = graphs.graph(graph); each != nullptr;
       graph = each->parent, each = graphs.graph(graph)) {
    for (const auto& [origin, number] : captures_) {
      if (number == graph) return true;
    }
  }
  return false;
}

void Session::capture_began(CUstream stream, std::uint64_t into) {
  if (captures_.empty()) {
    captured_commands_ = 0;
    captured_weight_ = 0;
  }
  captures_[stream] = into;
}

std::uint64_t Session::capture_ended(CUstream stream, CUresult result) {
  const auto found = captures_.find(stream);
  if (found == captures_.end()) return 0;
  const std::uint64_t number = found->second;
  // An end may fail and leave the capture as it is; its graph then gets another number when it is asked for.
  if (result != CUDA_SUCCESS) {
    graphs.forget_graph(number);  // the driver has destroyed it, or will
    found->second = 0;
    if (is_capturing(stream)) return 0;
  }
  captures_.erase(found);
  return result == CUDA_SUCCESS ? number : 0;
}

std::uint64_t Session::capture_graph(CUstream stream, CUgraph graph) {
  for (const auto& [origin, number] : captures_) {
    const Graph* known = number != 0 ? graphs.graph(number) : nullptr;
    if (known != nullptr && known->graph == graph) return number;
  }
  // Asked of the stream that began, or of one that joined a capture which nobody asked about yet.
  auto origin = captures_.find(stream);
  if (origin == captures_.end()) {
    origin = std::find_if(captures_.begin(), captures_.end(), [&](const auto& entry) {
      CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
      CUgraph its = nullptr;
      const CUresult result =
          driver().cuStreamGetCaptureInfo_v3(entry.first, &status, nullptr, &its, nullptr, nullptr, nullptr);
      return result == CUDA_SUCCESS && status == CU_STREAM_CAPTURE_STATUS_ACTIVE && its == graph;
    });
  }
  // A number that its capture does not know of would outlive the graph.
  if (origin == captures_.end()) return 0;
  origin->second = graphs.add_graph(graph, 0);
  return origin->second;
}

void Session::before_command_in_capture(wire::Opcode opcode, std::span<const std::byte> bytes) {
  const std::string_view name = wire::kCommands[static_cast<std::uint16_t>(opcode)].name;
  if (name.starts_with("Graph") || name.starts_with("Capture")) {
    for (auto& [origin, number] : captures_) {
      const Graph* known = graphs.graph(number);
      if (known == nullptr) continue;
      CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
      CUgraph graph = nullptr;
      const CUresult result =
          driver().cuStreamGetCaptureInfo_v3(origin, &status, nullptr, &graph, nullptr, nullptr, nullptr);
      if (result == CUDA_SUCCESS && status == CU_STREAM_CAPTURE_STATUS_ACTIVE && graph == known->graph) {
        continue;
      }
      graphs.forget_graph(number);
      number = 0;
    }
  }
  // Generated replays, which know nothing of graphs: an external event becomes a node.
  if (opcode == wire::Opcode::EventRecordWithFlags) {
    const auto command = read<wire::EventRecordWithFlags>(bytes);
    if (const CUevent* event = events.find(command.hEvent); event != nullptr && command.flags != 0)
      put_in_graph(*event);
  } else if (opcode == wire::Opcode::StreamWaitEvent) {
    const auto command = read<wire::StreamWaitEvent>(bytes);
    if (const CUevent* event = events.find(command.hEvent); event != nullptr && command.Flags != 0)
      put_in_graph(*event);
  }
}

bool Session::may_launch_graph(CUstream stream, std::uint64_t weight) {
  if (!is_capturing(stream)) return true;
  if (!graphs.has_room(captured_weight_ + weight)) return false;
  captured_weight_ += weight;
  return true;
}

void Session::put_in_graph(const Kernel& kernel) {
  if (Module* module = modules.find(kernel.module)) module->in_graph = true;
}

void Session::keep_for_graphs(std::function<void()> end) {
  if (graphs.empty() && captures_.empty()) return end();
  kept_.push_back(std::move(end));
  if (kept_.size() > kMostKept)
    protocol_error("more than " + std::to_string(kMostKept) + " objects ended that graphs may still use");
}

void Session::end_kept() {
  for (const std::function<void()>& end : kept_) end();
  kept_.clear();
}

void Session::abandon_captures() {
  for (const auto& [origin, number] : captures_) {
    CUgraph graph = nullptr;
    if (driver().cuStreamEndCapture(origin, &graph) != CUDA_SUCCESS) {
      graphs.forget_graph(number);
    } else if (graphs.graph(number) == nullptr) {
      driver().cuGraphDestroy(graph);
    }
  }
  captures_.clear();
}

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
    // A node's own graph would be lost with a capture that breaks, and its node not know of it.
    if (graph != nullptr && graph->parent != 0)
      return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
    GraphEnds ends;
    if (graph == nullptr ||
        !ends.read(session, command.header, &tail, graph->graph, command.dependencies, command.edges))
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
  if (result == CUDA_SUCCESS) {
    const std::uint64_t weight = weigh(session.driver(), graph);
    if (reply.graph != 0) {
      session.graphs.set_weight(reply.graph, weight);
    } else {
      result = number_graph(session, graph, weight, &reply.graph);
    }
  }
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
      listed.push_back(graph_edge(session.graphs.number_of(reply.graph, nodes[i]), 0,
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
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  CUgraph graph = nullptr;
  const CUresult result =
      session.driver().cuStreamGetCaptureInfo_v3(stream, &status, nullptr, &graph, nullptr, nullptr, nullptr);
  if (result != CUDA_SUCCESS) return session.reply(command.header, result);
  if (status != CU_STREAM_CAPTURE_STATUS_ACTIVE) graph = nullptr;  // no node is of that
  GraphEnds ends;
  if (!ends.read(session, command.header, &tail, graph, command.dependencies, command.edges)) return;
  session.reply(command.header,
                session.driver().cuStreamUpdateCaptureDependencies_v2(
                    stream, ends.nodes_or_null(), ends.edges_or_null(), ends.nodes.size(), command.flags));
}

}  // namespace tfusion::replay
