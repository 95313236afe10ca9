// Executables: making, launching and destroying them. See graph_exec.hpp.
#include "graph_exec.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

#include "entry.hpp"
#include "node_params.hpp"

namespace tfusion::software::driver {

GraphNode& GraphExec::own(CUgraphNode original) const {
  const auto found = nodes.find(node_of(original)->handle);
  require(found != nodes.end());
  return *found->second;
}

Steps& GraphExec::changeable_steps(GraphLock& lock) {
  if (steps->launches.load(std::memory_order_acquire) != 0) {
    auto copy = std::make_shared<Steps>();
    copy->all = steps->all;
    copy->ends = steps->ends;
    copy->contexts = steps->contexts;
    lock.discard(std::exchange(steps, std::move(copy)));
  }
  return *steps;
}

void GraphExec::change(GraphNode& node, NodeDescription what, GraphLock& lock) {
  Steps& changed = changeable_steps(lock);
  Step& step = changed.all[node.step];
  if (what.context != 0 &&
      std::find(changed.contexts.begin(), changed.contexts.end(), what.context) == changed.contexts.end()) {
    changed.contexts.push_back(what.context);
  }
  lock.discard(std::exchange(step.work, what.work));
  step.context = what.context;
  lock.discard(std::exchange(node.what.work, std::move(what.work)));
  node.what.context = what.context;
}

std::shared_ptr<GraphExec> executable_of(CUgraphExec handle) {
  return driver().handles.get<GraphExec>(number_of(handle), CUDA_ERROR_INVALID_VALUE);
}

namespace {

constexpr std::uint64_t kKnownFlags = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
                                      CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH |
                                      CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;

// Lays the nodes out, those of child graphs in the place of their node. False on a cycle, of which `cyclic`
// is a node.
bool lay_out(const Graph& graph, GraphExec& executable, std::uint64_t& cyclic) {
  const GraphNode* stuck = nullptr;
  const auto ordered = graph.order(&stuck);
  if (stuck != nullptr) {
    cyclic = stuck->original;
    return false;
  }
  Steps& steps = *executable.steps;
  for (GraphNode* node : ordered) {
    executable.nodes.emplace(node->original, node);
    if (node->what.child) {
      if (!lay_out(*node->what.child, executable, cyclic)) return false;
      continue;
    }
    node->step = steps.all.size();
    steps.all.push_back({node->what.work, node->what.context, true});
    if (node->what.type == CU_GRAPH_NODE_TYPE_EVENT_RECORD) steps.ends.push_back(steps.all.size());
    const std::uint64_t context = node->what.context;
    if (context != 0 &&
        std::find(steps.contexts.begin(), steps.contexts.end(), context) == steps.contexts.end()) {
      steps.contexts.push_back(context);
    }
  }
  return true;
}

// Answers the error node, if any, in `params`.
void instantiate(CUgraphExec* result, CUgraph handle, CUDA_GRAPH_INSTANTIATE_PARAMS& params) {
  params.hErrNode_out = nullptr;
  params.result_out = CUDA_GRAPH_INSTANTIATE_ERROR;
  const std::uint64_t flags = params.flags & ~static_cast<std::uint64_t>(CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD);
  require(result != nullptr && (flags & ~kKnownFlags) == 0);
  // No kernel of this device can launch a graph.
  require((flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) == 0, CUDA_ERROR_NOT_SUPPORTED);
  const auto executable = std::make_shared<GraphExec>();
  executable->flags = flags;
  executable->steps = std::make_shared<Steps>();
  GraphLock lock;
  const auto graph = graph_of(handle);
  require(graph->captures == 0 && !graph->is_moved);
  executable->has_memory_nodes = graph->has_memory_nodes();
  require(!executable->has_memory_nodes || graph->executable.expired());
  executable->graph = graph->clone(false);
  std::uint64_t cyclic = 0;
  if (!lay_out(*executable->graph, *executable, cyclic)) {
    params.hErrNode_out = reinterpret_cast<CUgraphNode>(cyclic);
    params.result_out = CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
    throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
  Steps& steps = *executable->steps;
  if (!steps.all.empty() && (steps.ends.empty() || steps.ends.back() != steps.all.size())) {
    steps.ends.push_back(steps.all.size());
  }
  if (executable->has_memory_nodes) graph->executable = executable;
  params.result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
  *result = handle_of<CUgraphExec>(*driver().handles.add(executable));
}

CUresult instantiate_old(CUgraphExec* result, CUgraph graph, CUgraphNode* error_node, char* log,
                         std::size_t log_bytes) {
  return call([&] {
    CUDA_GRAPH_INSTANTIATE_PARAMS params{};
    const CUresult code = guarded([&] { instantiate(result, graph, params); });
    if (error_node != nullptr) *error_node = params.hErrNode_out;
    if (log != nullptr && log_bytes != 0) {
      const bool cycle = params.result_out == CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
      std::snprintf(log, log_bytes, "%s", cycle ? "The graph's dependencies form a cycle." : "");
    }
    return code;
  });
}

// Allocations begin and end to live in the order of submission. Throws CUDA_ERROR_INVALID_VALUE, before
// anything is changed, if one lives already or one to be freed does not.
void claim_memory(const GraphExec& executable, GraphLock& lock) {
  const bool frees_first = (executable.flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH) != 0;
  std::map<std::shared_ptr<GraphAllocation>, bool> alive;
  const auto lives = [&](const std::shared_ptr<GraphAllocation>& allocation) {
    const auto found = alive.find(allocation);
    return found == alive.end() ? allocation->alive != nullptr : found->second;
  };
  for (const Step& step : executable.steps->all) {
    if (!step.work) continue;
    if (const auto* allocate = step.work->as<GraphAllocate>()) {
      require(!lives(allocate->allocation) || (frees_first && !alive.contains(allocate->allocation)));
      alive[allocate->allocation] = true;
    } else if (const auto* release = step.work->as<GraphRelease>()) {
      require(lives(release->allocation));
      alive[release->allocation] = false;
    }
  }
  for (const auto& [allocation, lives_after] : alive) {
    lock.discard(std::exchange(allocation->alive, lives_after ? allocation : nullptr));
  }
}

// One launch, shared by its tasks. Made under the lock, so that no change comes between.
struct Launch {
  explicit Launch(std::shared_ptr<const Steps> to_run) : steps(std::move(to_run)) {
    steps->launches.fetch_add(1, std::memory_order_relaxed);
  }
  ~Launch() { steps->launches.fetch_sub(1, std::memory_order_release); }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  void run(std::size_t first, std::size_t end, Context& launching) const noexcept {
    for (std::size_t index = first; index < end; ++index) {
      const Step& step = steps->all[index];
      if (!step.work || !step.enabled) continue;
      Context* context = &launching;
      if (step.context != 0 && step.context != launching.handle) {
        for (const auto& each : contexts) {
          if (each->handle == step.context) context = each.get();
        }
      }
      if (context->status() == CUDA_SUCCESS) step.work->run(*context);
    }
  }

  const std::shared_ptr<const Steps> steps;
  std::vector<std::shared_ptr<Context>> contexts;
};

void submit(Stream& stream, const std::shared_ptr<Context>& owner,
            const std::shared_ptr<const Launch>& launch) {
  std::size_t first = 0;
  for (const std::size_t end : launch->steps->ends) {
    const std::uint64_t number = enqueue(stream, owner, [launch, first, end](Context& launching) noexcept {
      launch->run(first, end, launching);
    });
    const auto& last = launch->steps->all[end - 1].work;
    if (const auto* record = last ? last->as<EventRecord>() : nullptr) {
      record->event->set_recorded(number);
      record->event->captured.store(false, std::memory_order_release);
    }
    first = end;
  }
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuGraphInstantiate(CUgraphExec* phGraphExec, CUgraph hGraph, CUgraphNode* phErrorNode,
                            char* logBuffer, size_t bufferSize) {
  return instantiate_old(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult cuGraphInstantiate_v2(CUgraphExec* phGraphExec, CUgraph hGraph, CUgraphNode* phErrorNode,
                               char* logBuffer, size_t bufferSize) {
  return instantiate_old(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* phGraphExec, CUgraph hGraph, unsigned long long flags) {
  return call([&] {
    require((flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) == 0);
    CUDA_GRAPH_INSTANTIATE_PARAMS params{};
    params.flags = flags;
    instantiate(phGraphExec, hGraph, params);
  });
}

CUresult cuGraphInstantiateWithParams(CUgraphExec* phGraphExec, CUgraph hGraph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* instantiateParams) {
  return call([&] {
    require(instantiateParams != nullptr);
    if ((instantiateParams->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) != 0) {
      stream_of(*current_context(), instantiateParams->hUploadStream);
    }
    instantiate(phGraphExec, hGraph, *instantiateParams);
  });
}

CUresult cuGraphExecDestroy(CUgraphExec hGraphExec) {
  return call([&] {
    forbid_unsafe_call();
    GraphLock lock;
    const auto executable = executable_of(hGraphExec);
    lock.discard(executable);
    driver().handles.remove(executable->handle);
  });
}

CUresult cuGraphExecGetFlags(CUgraphExec hGraphExec, cuuint64_t* flags) {
  return call([&] {
    require(flags != nullptr);
    const GraphLock lock;
    *flags = executable_of(hGraphExec)->flags;
  });
}

// There is nothing to prepare: a launch begins as quickly the first time.
CUresult cuGraphUpload(CUgraphExec hGraphExec, CUstream hStream) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto stream = stream_of(*context, hStream);
    forbid_on(*stream, *context_of(*stream));
    const GraphLock lock;
    executable_of(hGraphExec);
  });
}

CUresult cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto stream = stream_of(*context, hStream);
    const auto owner = context_of(*stream);
    forbid_on(*stream, *owner);  // a program adds the graph as a child instead
    std::shared_ptr<Launch> launch;
    {
      GraphLock lock;
      const auto executable = executable_of(hGraphExec);
      launch = std::make_shared<Launch>(executable->steps);
      for (const std::uint64_t each : launch->steps->contexts) {
        launch->contexts.push_back(driver().handles.get<Context>(each, CUDA_ERROR_CONTEXT_IS_DESTROYED));
      }
      if (executable->has_memory_nodes) claim_memory(*executable, lock);
    }
    submit(*stream, owner, launch);
  });
}
