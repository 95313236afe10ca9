// The functions that begin, end and ask about stream captures (capture.hpp).
#include <algorithm>

#include "capture.hpp"
#include "entry.hpp"

namespace tfusion::software::driver {

namespace {

bool is_mode(CUstreamCaptureMode mode) {
  return mode >= CU_STREAM_CAPTURE_MODE_GLOBAL && mode <= CU_STREAM_CAPTURE_MODE_RELAXED;
}

// `into` is null for a graph of the capture's own.
CUresult begin(CUstream handle, CUstreamCaptureMode mode, const CUgraph* into,
               const CUgraphNode* dependencies, const CUgraphEdgeData* edges, std::size_t count) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(is_mode(mode));
    const auto stream = stream_of(*context, handle);
    require(!stream->is_legacy(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    const GraphLock lock;
    require(stream->capture == nullptr, CUDA_ERROR_ILLEGAL_STATE);
    std::shared_ptr<Graph> graph;
    std::vector<GraphNode*> tips;
    if (into != nullptr) {
      graph = graph_of(*into);
      require_plain_edges(edges, count);
      tips = nodes_of(*graph, dependencies, count);
    } else {
      graph = std::make_shared<Graph>(true);
      publish(graph);
    }
    join(std::make_shared<Capture>(mode, graph, into == nullptr), stream, std::move(tips));
  });
}

struct CaptureInfo {
  CUstreamCaptureStatus* status = nullptr;
  cuuint64_t* id = nullptr;
  CUgraph* graph = nullptr;
  const CUgraphNode** dependencies = nullptr;
  const CUgraphEdgeData** edges = nullptr;
  std::size_t* count = nullptr;
};

CUresult answer(CUstream handle, const CaptureInfo& to) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(to.status != nullptr && (to.edges == nullptr || to.dependencies != nullptr));
    const auto stream = stream_of(*context, handle);
    const GraphLock lock;
    if (stream->capture == nullptr) {
      // The one thing about the legacy stream that does not invalidate the capture in its way.
      require(!stream->is_legacy() || context_of(*stream)->capturing_blocking_streams == 0,
              CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
      *to.status = CU_STREAM_CAPTURE_STATUS_NONE;
      return;
    }
    const Capture& capture = *stream->capture;
    *to.status = capture.invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    if (to.id != nullptr) *to.id = capture.id;
    if (capture.invalidated) return;
    if (to.graph != nullptr) *to.graph = handle_of<CUgraph>(*capture.graph);
    stream->told_tips.clear();
    for (const GraphNode* tip : stream->tips) stream->told_tips.push_back(handle_of<CUgraphNode>(*tip));
    stream->told_edges.assign(stream->tips.size(), CUgraphEdgeData{});
    if (to.dependencies != nullptr) *to.dependencies = stream->told_tips.data();
    if (to.edges != nullptr) *to.edges = stream->told_edges.data();
    if (to.count != nullptr) *to.count = stream->told_tips.size();
  });
}

CUresult update_dependencies(CUstream handle, const CUgraphNode* dependencies, const CUgraphEdgeData* edges,
                             std::size_t count, unsigned flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(flags == CU_STREAM_ADD_CAPTURE_DEPENDENCIES || flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES);
    require_plain_edges(edges, count);
    const auto stream = stream_of(*context, handle);
    const GraphLock lock;
    require(stream->capture != nullptr, CUDA_ERROR_ILLEGAL_STATE);
    require(!stream->capture->invalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    std::vector<GraphNode*> tips;
    if (flags == CU_STREAM_ADD_CAPTURE_DEPENDENCIES) tips = stream->tips;
    for (GraphNode* node : nodes_of(*stream->capture->graph, dependencies, count)) {
      if (std::find(tips.begin(), tips.end(), node) == tips.end()) tips.push_back(node);
    }
    stream->tips = std::move(tips);
  });
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuStreamBeginCapture(CUstream hStream) {
  return begin(hStream, CU_STREAM_CAPTURE_MODE_GLOBAL, nullptr, nullptr, nullptr, 0);
}

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) {
  return begin(hStream, mode, nullptr, nullptr, nullptr, 0);
}

CUresult cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph, const CUgraphNode* dependencies,
                                     const CUgraphEdgeData* dependencyData, size_t numDependencies,
                                     CUstreamCaptureMode mode) {
  return begin(hStream, mode, &hGraph, dependencies, dependencyData, numDependencies);
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph* phGraph) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(phGraph != nullptr);
    *phGraph = nullptr;
    const auto stream = stream_of(*context, hStream);
    GraphLock lock;
    const auto capture = stream->capture;
    require(capture != nullptr, CUDA_ERROR_ILLEGAL_STATE);
    require(capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED || capture->thread == std::this_thread::get_id(),
            CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    if (capture->streams[0] != stream) {
      capture->invalidated = true;
      throw Failure(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    }
    const CUresult code = capture->invalidated    ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                          : !capture->is_joined() ? CUDA_ERROR_STREAM_CAPTURE_UNJOINED
                                                  : CUDA_SUCCESS;
    if (code == CUDA_SUCCESS) *phGraph = handle_of<CUgraph>(*capture->graph);
    end(*capture, code == CUDA_SUCCESS, lock);
    return code;
  });
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus* captureStatus) {
  return answer(hStream, {captureStatus});
}

CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                cuuint64_t* id_out) {
  return answer(hStream, {captureStatus_out, id_out});
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                   cuuint64_t* id_out, CUgraph* graph_out,
                                   const CUgraphNode** dependencies_out, size_t* numDependencies_out) {
  return answer(hStream,
                {captureStatus_out, id_out, graph_out, dependencies_out, nullptr, numDependencies_out});
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                   cuuint64_t* id_out, CUgraph* graph_out,
                                   const CUgraphNode** dependencies_out, const CUgraphEdgeData** edgeData_out,
                                   size_t* numDependencies_out) {
  return answer(hStream,
                {captureStatus_out, id_out, graph_out, dependencies_out, edgeData_out, numDependencies_out});
}

CUresult cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode* dependencies,
                                           size_t numDependencies, unsigned int flags) {
  return update_dependencies(hStream, dependencies, nullptr, numDependencies, flags);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode* dependencies,
                                              const CUgraphEdgeData* dependencyData, size_t numDependencies,
                                              unsigned int flags) {
  return update_dependencies(hStream, dependencies, dependencyData, numDependencies, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  return call([&] {
    require(mode != nullptr && is_mode(*mode));
    std::swap(*mode, thread_capture_mode());
  });
}
