// The fuzz driver's streams, events and captures. Work in a stream that captures becomes nodes of its graph;
// what a capture does not allow invalidates it. When the graph of an invalidated capture goes is a matter of
// chance: at once, or with the capture's end.
#include <algorithm>

#include "driver_state.hpp"

namespace fuzz_driver {

namespace {

Capture* capture_of(CUstream stream) {
  const auto found = state().capturing.find(number(stream));
  return found == state().capturing.end() ? nullptr : &state().captures.at(found->second);
}

void lose_graph(Capture& capture) {
  if (capture.graph == 0) return;
  if (capture.into) {
    state().graphs.at(capture.graph).capture = 0;
  }
  // Whether a graph that there was before ends as well, a client cannot know; here it does.
  erase_graph(capture.graph);
  capture.graph = 0;
}

CUresult invalidate(Capture& capture, CUresult why) {
  capture.invalidated = true;
  if (draw(2) == 0) lose_graph(capture);
  return why;
}

// A capture is over, for all of its streams and events.
void forget_capture(std::uintptr_t id) {
  std::erase_if(state().capturing, [&](const auto& entry) { return entry.second == id; });
  std::erase_if(state().captured_events, [&](const auto& entry) { return entry.second.capture == id; });
  state().captures.erase(id);
}

// The default stream waits for others, which it must not while they capture.
bool default_stream_blocked(CUstream stream) {
  return stream == CU_STREAM_LEGACY && !state().captures.empty() && draw(2) == 0;
}

// A call that a capture does not allow; CUDA_SUCCESS if nothing captures there.
CUresult not_in_capture(CUstream stream) {
  stream_lives(stream);
  if (Capture* capture = capture_of(stream))
    return invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  return CUDA_SUCCESS;
}

CUresult record(CUevent e, CUstream s, bool external) {
  event_lives(e), stream_lives(s);
  state().captured_events.erase(number(e));
  Capture* capture = capture_of(s);
  if (capture == nullptr || external) {
    state().events[number(e)] = draw(4);
    Work work;
    work.type = CU_GRAPH_NODE_TYPE_EVENT_RECORD;
    work.event = number(e);
    return on(s, std::move(work));
  }
  if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  state().captured_events[number(e)] = {state().capturing.at(number(s)), capture->ends[number(s)]};
  return CUDA_SUCCESS;
}

}  // namespace

CUresult on(CUstream stream, Work work) {
  stream_lives(stream);
  if (default_stream_blocked(stream)) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  Capture* capture = capture_of(stream);
  if (capture == nullptr) return luck();
  if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return invalidate(*capture, r);
  std::vector<std::uintptr_t>& ends = capture->ends[number(stream)];
  ends = {add_node(capture->graph, std::move(work), ends)};
  return CUDA_SUCCESS;
}

void captures_end() {
  while (!state().captures.empty()) {
    lose_graph(state().captures.begin()->second);
    forget_capture(state().captures.begin()->first);
  }
}

}  // namespace fuzz_driver

using namespace fuzz_driver;

EXPORT CUresult cuStreamCreateWithPriority(CUstream* s, unsigned, int) {
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  std::vector<std::uintptr_t>& ended = state().ended_streams;
  if (!ended.empty() && draw(2) == 0) {
    *s = reinterpret_cast<CUstream>(ended.back());
    ended.pop_back();
  } else {
    *s = fresh<CUstream>();
  }
  state().streams.insert(number(*s));
  return CUDA_SUCCESS;
}
EXPORT CUresult cuStreamDestroy_v2(CUstream s) {
  if (s == CU_STREAM_LEGACY) broken("destroys the default stream", 1);
  stream_lives(s);
  if (Capture* capture = capture_of(s)) {
    if (capture->origin == number(s)) {
      lose_graph(*capture);
      forget_capture(state().capturing.at(number(s)));
    } else {
      invalidate(*capture, CUDA_SUCCESS);
      capture->ends.erase(number(s));
      state().capturing.erase(number(s));
    }
  }
  state().streams.erase(number(s));
  state().ended_streams.push_back(number(s));
  return luck();
}
EXPORT CUresult cuStreamQuery(CUstream s) {
  if (const CUresult r = not_in_capture(s); r != CUDA_SUCCESS) return r;
  if (default_stream_blocked(s)) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  return draw(3) == 0 ? CUDA_ERROR_NOT_READY : luck();
}
EXPORT CUresult cuStreamSynchronize(CUstream s) {
  if (const CUresult r = not_in_capture(s); r != CUDA_SUCCESS) return r;
  return luck();
}
EXPORT CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags) {
  event_lives(e), stream_lives(s);
  const auto captured = state().captured_events.find(number(e));
  Capture* capture = capture_of(s);
  if ((flags & CU_EVENT_WAIT_EXTERNAL) != 0) {
    Work work;
    work.type = CU_GRAPH_NODE_TYPE_WAIT_EVENT;
    work.event = number(e);
    return on(s, std::move(work));
  }
  if (captured == state().captured_events.end())
    return capture != nullptr ? invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION) : luck();
  const std::uintptr_t id = captured->second.capture;
  Capture& its = state().captures.at(id);
  if (s == CU_STREAM_LEGACY) return invalidate(its, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  if (its.invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (capture != nullptr && capture != &its) {
    invalidate(its, CUDA_SUCCESS);
    return invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
  }
  state().capturing[number(s)] = id;
  std::vector<std::uintptr_t>& ends = its.ends[number(s)];
  for (const std::uintptr_t node : captured->second.ends) {
    if (std::find(ends.begin(), ends.end(), node) == ends.end()) ends.push_back(node);
  }
  return CUDA_SUCCESS;
}
EXPORT CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void* argument) {
  // Never run here: the target has no client to run it.
  Work work;
  work.type = CU_GRAPH_NODE_TYPE_HOST;
  work.host = {function, argument};
  const bool captured = state().capturing.count(number(stream)) != 0;
  for (const void* earlier : state().host_arguments) read_all(earlier, 8);
  const CUresult result = on(stream, std::move(work));
  if (result == CUDA_SUCCESS && !captured && state().host_arguments.size() < 64)
    state().host_arguments.push_back(argument);
  return result;
}
EXPORT CUresult cuStreamGetAttribute(CUstream s, CUstreamAttrID, CUstreamAttrValue* value) {
  stream_lives(s);
  std::memset(value, 3, sizeof *value);
  return luck();
}
EXPORT CUresult cuStreamSetAttribute(CUstream s, CUstreamAttrID, const CUstreamAttrValue* value) {
  stream_lives(s);
  read_all(value, sizeof *value);
  return luck();
}
EXPORT CUresult cuStreamCopyAttributes(CUstream to, CUstream from) {
  return stream_lives(to), stream_lives(from), luck();
}

EXPORT CUresult cuEventCreate(CUevent* e, unsigned) {
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *e = fresh<CUevent>();
  state().events[number(*e)] = 0;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuEventDestroy_v2(CUevent e) {
  event_lives(e);
  state().events.erase(number(e));
  state().captured_events.erase(number(e));
  return luck();
}
EXPORT CUresult cuEventQuery(CUevent e) {
  event_lives(e);
  if (const auto captured = state().captured_events.find(number(e));
      captured != state().captured_events.end())
    return invalidate(state().captures.at(captured->second.capture), CUDA_ERROR_CAPTURED_EVENT);
  unsigned& busy = state().events[number(e)];
  if (busy > 0) return --busy, CUDA_ERROR_NOT_READY;
  return luck();
}
EXPORT CUresult cuEventRecord(CUevent e, CUstream s) {
  return record(e, s, false);
}
EXPORT CUresult cuEventRecordWithFlags(CUevent e, CUstream s, unsigned flags) {
  return record(e, s, (flags & CU_EVENT_RECORD_EXTERNAL) != 0);
}
EXPORT CUresult cuEventElapsedTime(float* ms, CUevent a, CUevent b) {
  return event_lives(a), event_lives(b), set(ms, 1), luck();
}

EXPORT CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  if (*mode != CU_STREAM_CAPTURE_MODE_RELAXED) broken("a thread that forbids itself calls", *mode);
  return set(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

namespace {
CUresult begin(CUstream s, std::uintptr_t graph, std::vector<std::uintptr_t> ends) {
  stream_lives(s);
  if (s == CU_STREAM_LEGACY) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (Capture* already = capture_of(s)) return invalidate(*already, CUDA_ERROR_ILLEGAL_STATE);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  const bool into = graph != 0;
  if (into && state().graphs.at(graph).child) broken("captures into a node's own graph", graph);
  if (into && state().graphs.at(graph).capture != 0) return CUDA_ERROR_INVALID_VALUE;
  if (!into) {
    graph = number(fresh<CUgraph>());
    state().graphs[graph];
  }
  const std::uintptr_t id = number(fresh<CUgraph>());
  state().graphs[graph].capture = id;
  state().captures[id] = Capture{graph, number(s), into, false, {{number(s), std::move(ends)}}};
  state().capturing[number(s)] = id;
  return CUDA_SUCCESS;
}
}  // namespace

EXPORT CUresult cuStreamBeginCapture_v2(CUstream s, CUstreamCaptureMode) {
  return begin(s, 0, {});
}
EXPORT CUresult cuStreamBeginCaptureToGraph(CUstream s, CUgraph g, const CUgraphNode* nodes,
                                            const CUgraphEdgeData* edges, std::size_t count,
                                            CUstreamCaptureMode) {
  return begin(s, number(g), nodes_of(g, nodes, edges, count));
}
EXPORT CUresult cuStreamEndCapture(CUstream s, CUgraph* graph) {
  stream_lives(s);
  Capture* capture = capture_of(s);
  if (capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != number(s)) return invalidate(*capture, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  if (draw(40) == 0) return CUDA_ERROR_OUT_OF_MEMORY;  // and it goes on
  CUresult result = capture->invalidated                       ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                    : capture->ends.size() > 1 && draw(3) == 0 ? CUDA_ERROR_STREAM_CAPTURE_UNJOINED
                                                               : CUDA_SUCCESS;
  if (result == CUDA_SUCCESS) {
    state().graphs.at(capture->graph).capture = 0;
    *graph = reinterpret_cast<CUgraph>(capture->graph);
  } else {
    lose_graph(*capture);
  }
  forget_capture(state().capturing.at(number(s)));
  return result;
}
EXPORT CUresult cuStreamIsCapturing(CUstream s, CUstreamCaptureStatus* status) {
  stream_lives(s);
  if (default_stream_blocked(s)) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  const Capture* capture = capture_of(s);
  return set(status, capture == nullptr     ? CU_STREAM_CAPTURE_STATUS_NONE
                     : capture->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                            : CU_STREAM_CAPTURE_STATUS_ACTIVE);
}
// The lists are the stream's: valid until something happens there.
EXPORT CUresult cuStreamGetCaptureInfo_v3(CUstream s, CUstreamCaptureStatus* status, cuuint64_t* id,
                                          CUgraph* graph, const CUgraphNode** nodes,
                                          const CUgraphEdgeData** edges, std::size_t* count) {
  static std::vector<CUgraphNode> listed;
  static std::vector<CUgraphEdgeData> data;
  if (const CUresult r = cuStreamIsCapturing(s, status); r != CUDA_SUCCESS) return r;
  if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  Capture& capture = *capture_of(s);
  if (id != nullptr) *id = state().capturing.at(number(s));
  if (graph != nullptr) *graph = reinterpret_cast<CUgraph>(capture.graph);
  if (nodes == nullptr) return CUDA_SUCCESS;  // another stream's lists stay as they are
  listed.clear();
  for (const std::uintptr_t node : capture.ends[number(s)]) {
    if (state().nodes.count(node) != 0) listed.push_back(reinterpret_cast<CUgraphNode>(node));
  }
  data.assign(listed.size(), CUgraphEdgeData{});
  *nodes = listed.data();
  if (edges != nullptr) *edges = draw(2) == 0 ? data.data() : nullptr;
  if (count != nullptr) *count = listed.size();
  return CUDA_SUCCESS;
}
EXPORT CUresult cuStreamUpdateCaptureDependencies_v2(CUstream s, CUgraphNode* nodes,
                                                     const CUgraphEdgeData* edges, std::size_t count,
                                                     unsigned flags) {
  stream_lives(s);
  Capture* capture = capture_of(s);
  if (capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  const std::vector<std::uintptr_t> given =
      nodes_of(reinterpret_cast<CUgraph>(capture->graph), nodes, edges, count);
  std::vector<std::uintptr_t>& ends = capture->ends[number(s)];
  if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES) ends.clear();
  ends.insert(ends.end(), given.begin(), given.end());
  return CUDA_SUCCESS;
}
