// Stream capture. The worker's driver captures: every command that follows in a capturing stream becomes a
// node there. What is known here is only whether anything is captured at all, so that the questions that
// frameworks ask before every allocation cost nothing while nothing is.
#include "capture.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "graph.hpp"
#include "protocol/graph_node.hpp"

namespace tfusion::hook {

namespace {

constinit std::atomic<int> captures{0};  // under way, or about to be
constinit std::mutex mutex;               // guards what follows and kept(); a leaf
std::set<std::uint64_t>& origins() {      // streams that captures began in and have not ended in
  static auto& set = *new std::set<std::uint64_t>;
  return set;
}

struct Info {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  std::uint64_t id = 0;
  std::uint64_t graph = 0;
  std::vector<CUgraphNode> nodes;
  std::vector<CUgraphEdgeData> edges;
};

// `dependencies`: whether all of them are wanted, which may take several answers.
CUresult ask(std::uint64_t stream, bool dependencies, Info* out) {
  for (;;) {
    wire::CaptureInfo command{};
    command.stream = stream;
    command.first = static_cast<std::uint32_t>(out->nodes.size());
    Reply reply;
    if (CUresult r = call_with(reply, command); r != CUDA_SUCCESS) return r;
    wire::CaptureInfoReply page;
    if (reply.payload_bytes() < sizeof page) return CUDA_ERROR_UNKNOWN;
    std::memcpy(&page, reply.payload(), sizeof page);
    if ((reply.payload_bytes() - sizeof page) / sizeof(wire::GraphEdge) < page.listed)
      return CUDA_ERROR_UNKNOWN;
    out->status = static_cast<CUstreamCaptureStatus>(page.status);
    out->id = page.id;
    out->graph = page.graph;
    for (std::uint32_t i = 0; i < page.listed; ++i) {
      wire::GraphEdge edge;
      std::memcpy(&edge, reply.payload() + sizeof page + i * sizeof edge, sizeof edge);
      CUgraphEdgeData data;
      std::memcpy(&data, edge.data, sizeof data);
      out->nodes.push_back(reinterpret_cast<CUgraphNode>(edge.from));
      out->edges.push_back(data);
    }
    if (!dependencies || out->nodes.size() >= page.total) return CUDA_SUCCESS;
    if (page.listed == 0) return CUDA_ERROR_UNKNOWN;
  }
}

// What the program's pointers into a capture's dependencies point to: valid until the stream is asked again, or
// nothing is captured any more.
struct Kept {
  std::vector<CUgraphNode> nodes;
  std::vector<CUgraphEdgeData> edges;
};
std::map<std::uint64_t, Kept>& kept() {
  static auto& map = *new std::map<std::uint64_t, Kept>;
  return map;
}

CUresult capture_info(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                      const CUgraphNode** nodes, const CUgraphEdgeData** edges, std::size_t* count) {
  if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(stream, &on); r != CUDA_SUCCESS) return r;
  Info info;
  if (captures.load(std::memory_order_acquire) > 0) {
    if (CUresult r = ask(on, nodes != nullptr, &info); r != CUDA_SUCCESS) return r;
  }
  *status = info.status;
  if (info.status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  if (id != nullptr) *id = info.id;
  if (graph != nullptr) *graph = reinterpret_cast<CUgraph>(info.graph);
  if (nodes == nullptr) {
    if (count != nullptr) *count = info.nodes.size();
    return CUDA_SUCCESS;
  }
  std::lock_guard lock(mutex);
  Kept& keep = kept()[on];
  keep = {std::move(info.nodes), std::move(info.edges)};
  *nodes = keep.nodes.data();
  if (count != nullptr) *count = keep.nodes.size();
  if (edges != nullptr) {
    *edges = keep.edges.data();
  } else if (std::any_of(keep.edges.begin(), keep.edges.end(), [](const CUgraphEdgeData& d) {
               return d.from_port != 0 || d.to_port != 0 || d.type != 0;
             })) {
    return CUDA_ERROR_LOSSY_QUERY;  // the caller's function cannot say what kind of edges these are
  }
  return CUDA_SUCCESS;
}

// The capture that began in this stream is over, if one did.
void over(std::uint64_t stream) {
  std::lock_guard lock(mutex);
  if (origins().erase(stream) > 0 && captures.fetch_sub(1) == 1) kept().clear();
}

CUresult begin(CUstream stream, CUstreamCaptureMode mode, CUgraph graph, const CUgraphNode* nodes,
               const CUgraphEdgeData* data, std::size_t count) {
  if (mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  wire::CaptureBegin command{};
  if (CUresult r = stream_on_wire(stream, &command.stream); r != CUDA_SUCCESS) return r;
  if (command.stream == kLegacyStream) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  std::vector<std::byte> tail;
  if (CUresult r = append_ends(&tail, nodes, data, count); r != CUDA_SUCCESS) return r;
  command.mode = mode;
  command.graph = number(graph);
  command.dependencies = static_cast<std::uint32_t>(count);
  command.edges = data != nullptr ? command.dependencies : 0;
  // Before the call: another thread's question may come between the capture's begin and its answer here.
  captures.fetch_add(1);
  const CUresult result = call(command, nullptr, tail.data(), static_cast<std::uint32_t>(tail.size()));
  std::lock_guard lock(mutex);
  if (result != CUDA_SUCCESS || !origins().insert(command.stream).second) captures.fetch_sub(1);
  return result;
}

CUresult update(CUstream stream, const CUgraphNode* nodes, const CUgraphEdgeData* data, std::size_t count,
                unsigned flags) {
  wire::CaptureUpdate command{};
  if (CUresult r = stream_on_wire(stream, &command.stream); r != CUDA_SUCCESS) return r;
  if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::byte> tail;
  if (CUresult r = append_ends(&tail, nodes, data, count); r != CUDA_SUCCESS) return r;
  command.flags = flags;
  command.dependencies = static_cast<std::uint32_t>(count);
  command.edges = data != nullptr ? command.dependencies : 0;
  return call(command, nullptr, tail.data(), static_cast<std::uint32_t>(tail.size()));
}

}  // namespace

bool is_capturing(std::uint64_t stream) {
  if (captures.load(std::memory_order_acquire) == 0) return false;
  Info info;
  const CUresult result = ask(stream, false, &info);
  return result == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT || info.status != CU_STREAM_CAPTURE_STATUS_NONE;
}

void capturing_stream_ends(std::uint64_t stream) {
  if (captures.load(std::memory_order_acquire) > 0) over(stream);
}

void forget_captures() {
  std::lock_guard lock(mutex);
  captures.fetch_sub(static_cast<int>(origins().size()));
  origins().clear();
  kept().clear();
}

namespace api {

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) {
  return begin(hStream, mode, nullptr, nullptr, nullptr, 0);
}

CUresult cuStreamBeginCapture(CUstream hStream) {
  return begin(hStream, CU_STREAM_CAPTURE_MODE_GLOBAL, nullptr, nullptr, nullptr, 0);
}

CUresult cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph, const CUgraphNode* dependencies,
                                     const CUgraphEdgeData* dependencyData, size_t numDependencies,
                                     CUstreamCaptureMode mode) {
  if (!is_graph(hGraph)) return CUDA_ERROR_INVALID_VALUE;
  return begin(hStream, mode, hGraph, dependencies, dependencyData, numDependencies);
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph* phGraph) {
  if (phGraph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *phGraph = nullptr;
  wire::CaptureEnd command{};
  if (CUresult r = stream_on_wire(hStream, &command.stream); r != CUDA_SUCCESS) return r;
  wire::CaptureEndReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) *phGraph = reinterpret_cast<CUgraph>(reply.graph);
  const bool goes_on = result == CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD ||
                       result == CUDA_ERROR_ILLEGAL_STATE || result == CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (!goes_on) over(command.stream);
  return result;
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus* captureStatus) {
  return capture_info(hStream, captureStatus, nullptr, nullptr, nullptr, nullptr, nullptr);
}

CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                cuuint64_t* id_out) {
  return capture_info(hStream, captureStatus_out, id_out, nullptr, nullptr, nullptr, nullptr);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                   cuuint64_t* id_out, CUgraph* graph_out,
                                   const CUgraphNode** dependencies_out, size_t* numDependencies_out) {
  return capture_info(hStream, captureStatus_out, id_out, graph_out, dependencies_out, nullptr,
                      numDependencies_out);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                   cuuint64_t* id_out, CUgraph* graph_out,
                                   const CUgraphNode** dependencies_out, const CUgraphEdgeData** edgeData_out,
                                   size_t* numDependencies_out) {
  return capture_info(hStream, captureStatus_out, id_out, graph_out, dependencies_out, edgeData_out,
                      numDependencies_out);
}

CUresult cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode* dependencies,
                                           size_t numDependencies, unsigned int flags) {
  return update(hStream, dependencies, nullptr, numDependencies, flags);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode* dependencies,
                                              const CUgraphEdgeData* dependencyData, size_t numDependencies,
                                              unsigned int flags) {
  return update(hStream, dependencies, dependencyData, numDependencies, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  static thread_local CUstreamCaptureMode mine = CU_STREAM_CAPTURE_MODE_GLOBAL;
  if (mode == nullptr || *mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
  const CUstreamCaptureMode before = mine;
  mine = *mode;
  *mode = before;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace tfusion::hook
