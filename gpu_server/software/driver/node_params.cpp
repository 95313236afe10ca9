// Parameters of graph nodes: see node_params.hpp.
#include "node_params.hpp"

#include <string.h>

#include "device.hpp"
#include "entry.hpp"

namespace tfusion::software::driver {

namespace {

std::shared_ptr<Context> context_or_current(CUcontext handle) {
  if (handle == nullptr) return current_context();
  return driver().handles.get<Context>(number_of(handle), CUDA_ERROR_INVALID_CONTEXT);
}

template <class Description>
NodeDescription node_with(Description what, std::uint64_t context) {
  return {Description::kNodeType, std::make_shared<const Work>(std::move(what)), nullptr, context};
}

template <class Description>
NodeDescription event_node(CUevent handle) {
  auto event = driver().handles.get<Event>(number_of(handle), CUDA_ERROR_INVALID_VALUE);
  const std::uint64_t context = event->owner;
  return node_with(Description{std::move(event)}, context);
}

// True if one is page-locked host memory and the other the device's, as far as they are still there.
bool differ_in_kind(const Side& one, const Side& other) {
  const auto lock = driver().memory.lock();
  const Region* const first = driver().memory.find(one.address);
  const Region* const second = driver().memory.find(other.address);
  return first != nullptr && second != nullptr && first->is_host() != second->is_host();
}

bool is_flat(const Transfer& transfer) {
  return transfer.what.height == 1 && transfer.what.depth == 1;
}

}  // namespace

CUDA_KERNEL_NODE_PARAMS widened(const CUDA_KERNEL_NODE_PARAMS_v1& params) {
  return {params.func,         params.gridDimX,  params.gridDimY,  params.gridDimZ,
          params.blockDimX,    params.blockDimY, params.blockDimZ, params.sharedMemBytes,
          params.kernelParams, params.extra,     nullptr,          nullptr};
}

NodeDescription kernel_node(const CUDA_KERNEL_NODE_PARAMS& params) {
  const Shape shape{{params.gridDimX, params.gridDimY, params.gridDimZ},
                    {params.blockDimX, params.blockDimY, params.blockDimZ},
                    params.sharedMemBytes,
                    false};
  const bool is_kernel = params.func == nullptr;
  require(!is_kernel || params.kern != nullptr);
  const auto context = is_kernel ? context_or_current(params.ctx) : current_context();
  KernelLaunch launch =
      make_launch(context, is_kernel ? reinterpret_cast<CUfunction>(params.kern) : params.func, shape,
                  params.kernelParams, params.extra);
  launch.function = params.func;
  if (is_kernel) launch.kernel = params.kern;
  const std::uint64_t owner = launch.loaded.module->owner;
  return node_with(std::move(launch), owner);
}

NodeDescription memcpy_node(const CUDA_MEMCPY3D& params, CUcontext context) {
  const auto owner = context_or_current(context);
  const Copy what = copy_of(params);
  require(what.width != 0 && what.height != 0 && what.depth != 0);
  Transfer transfer = make_transfer(what);
  transfer.described = std::make_shared<const CUDA_MEMCPY3D>(params);
  return node_with(std::move(transfer), owner->handle);
}

NodeDescription memset_node(const CUDA_MEMSET_NODE_PARAMS& params, CUcontext context) {
  const auto owner = context_or_current(context);
  const Fill fill{params.dst, params.pitch, params.value, params.elementSize, params.width, params.height};
  require_fillable(fill);
  return node_with(fill, owner->handle);
}

NodeDescription host_node(const CUDA_HOST_NODE_PARAMS& params) {
  require(params.fn != nullptr);
  return node_with(HostCall{params.fn, params.userData}, 0);
}

NodeDescription event_record_node(CUevent event) {
  return event_node<EventRecord>(event);
}

NodeDescription event_wait_node(CUevent event) {
  return event_node<EventWait>(event);
}

NodeDescription allocation_node(CUDA_MEM_ALLOC_NODE_PARAMS& params) {
  require(params.poolProps.allocType == CU_MEM_ALLOCATION_TYPE_PINNED &&
          params.poolProps.location.type == CU_MEM_LOCATION_TYPE_DEVICE);
  require(params.poolProps.handleTypes == CU_MEM_HANDLE_TYPE_NONE, CUDA_ERROR_NOT_SUPPORTED);
  require_device(params.poolProps.location.id);
  require(params.accessDescCount <= 1 && (params.accessDescCount == 0 || params.accessDescs != nullptr));
  require(params.bytesize != 0);
  const auto context = current_context();
  auto allocation = std::make_shared<GraphAllocation>(*context, params.bytesize);
  publish_graph_allocation(allocation);
  params.dptr = allocation->address;
  return node_with(GraphAllocate{std::move(allocation)}, context->handle);
}

NodeDescription node_of_any(const CUgraphNodeParams& params) {
  for (const int each : params.reserved0) require(each == 0);
  require(params.reserved2 == 0);
  switch (params.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: {
      CUDA_KERNEL_NODE_PARAMS kernel{};
      static_assert(sizeof kernel == sizeof params.kernel);
      memcpy(&kernel, &params.kernel, sizeof kernel);
      return kernel_node(kernel);
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      require(params.memcpy.flags == 0 && params.memcpy.reserved == 0);
      return memcpy_node(params.memcpy.copyParams, params.memcpy.copyCtx);
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return memset_node({params.memset.dst, params.memset.pitch, params.memset.value,
                          params.memset.elementSize, params.memset.width, params.memset.height},
                         params.memset.ctx);
    case CU_GRAPH_NODE_TYPE_HOST:
      return host_node({params.host.fn, params.host.userData});
    case CU_GRAPH_NODE_TYPE_EMPTY:
      return {};
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return event_record_node(params.eventRecord.event);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return event_wait_node(params.eventWait.event);
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
    case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      throw Failure(CUDA_ERROR_NOT_SUPPORTED);
    default:
      throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
}

NodeDescription release_node(const Graph& graph, std::uint64_t address) {
  auto allocation = find_graph_allocation(address);
  require(allocation != nullptr && allocation->graph != 0);
  const bool here = allocation->graph == graph.handle;
  require(allocation->freed_by == 0 ||
          (!here && allocation->freed_by != allocation->graph && allocation->freed_by != graph.handle));
  return node_with(GraphRelease{std::move(allocation)}, 0);
}

std::uint64_t capture_allocation(Stream& stream, const Context& owner, std::size_t bytes) {
  auto allocation = std::make_shared<GraphAllocation>(owner, bytes);
  publish_graph_allocation(allocation);
  {
    const GraphLock lock;
    require(stream.capture != nullptr, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    allocation->graph = stream.capture->graph->handle;
  }
  const std::uint64_t address = allocation->address;
  capture_work(stream, owner, std::make_shared<const Work>(GraphAllocate{std::move(allocation)}));
  return address;
}

void capture_release(Stream& stream, const Context& owner, std::uint64_t address) {
  NodeDescription what;
  {
    const GraphLock lock;
    require(stream.capture != nullptr, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    const Graph& graph = *stream.capture->graph;
    what = release_node(graph, address);
    description<GraphRelease>(what).allocation->freed_by = graph.handle;
  }
  capture_work(stream, owner, what.work);
}

CUDA_KERNEL_NODE_PARAMS kernel_params(GraphNode& node) {
  const KernelLaunch& launch = description<KernelLaunch>(node.what);
  if (node.told_arguments.empty()) {
    // The block belongs to the description; CUDA forbids to change it through these pointers.
    auto* const block = const_cast<std::byte*>(launch.parameters.data());
    if (launch.packed) {
      node.told_bytes = launch.parameters.size();
      node.told_arguments = {CU_LAUNCH_PARAM_BUFFER_POINTER, block, CU_LAUNCH_PARAM_BUFFER_SIZE,
                             &node.told_bytes, CU_LAUNCH_PARAM_END};
    } else {
      for (const ptx::ParameterInfo& each : launch.loaded.function->info.parameters) {
        node.told_arguments.push_back(block + each.offset);
      }
    }
  }
  CUDA_KERNEL_NODE_PARAMS params{};
  params.func = launch.function;
  params.gridDimX = launch.shape.grid[0];
  params.gridDimY = launch.shape.grid[1];
  params.gridDimZ = launch.shape.grid[2];
  params.blockDimX = launch.shape.block[0];
  params.blockDimY = launch.shape.block[1];
  params.blockDimZ = launch.shape.block[2];
  params.sharedMemBytes = static_cast<unsigned>(launch.shape.dynamic_shared_bytes);
  void** const arguments = node.told_arguments.empty() ? nullptr : node.told_arguments.data();
  (launch.packed ? params.extra : params.kernelParams) = arguments;
  params.kern = launch.kernel;
  params.ctx = reinterpret_cast<CUcontext>(node.what.context);
  return params;
}

CUDA_MEMSET_NODE_PARAMS memset_params(const GraphNode& node) {
  const Fill& fill = description<Fill>(node.what);
  return {fill.address, fill.pitch, fill.value, fill.element_bytes, fill.width, fill.height};
}

NodeDescription changed(const NodeDescription& old, NodeDescription params, bool keeps_context) {
  require(old.type == params.type);
  if (keeps_context) params.context = old.context;
  if (old.type != CU_GRAPH_NODE_TYPE_KERNEL) return params;
  const KernelLaunch& before = description<KernelLaunch>(old);
  KernelLaunch launch = description<KernelLaunch>(params);
  launch.attributes = before.attributes;
  launch.shape.cooperative = before.shape.cooperative;
  require(!launch.shape.cooperative || !launch.packed);
  require_launchable(launch);
  params.work = std::make_shared<const Work>(std::move(launch));
  return params;
}

CUgraphExecUpdateResult may_become(const NodeDescription& old, const NodeDescription& next) {
  if (old.type != next.type) return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
  const auto unless = [](bool wrong, CUgraphExecUpdateResult result) {
    return wrong ? result : CU_GRAPH_EXEC_UPDATE_SUCCESS;
  };
  switch (old.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: {
      if (old.context != next.context) return CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE;
      return unless(description<KernelLaunch>(old).shape.cooperative !=
                        description<KernelLaunch>(next).shape.cooperative,
                    CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED);
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY: {
      const Transfer& before = description<Transfer>(old);
      const Transfer& after = description<Transfer>(next);
      return unless(old.context != next.context || before.from_device != after.from_device ||
                        before.to_device != after.to_device ||
                        differ_in_kind(before.what.from, after.what.from) ||
                        differ_in_kind(before.what.to, after.what.to),
                    CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED);
    }
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      const Fill& before = description<Fill>(old);
      const Fill& after = description<Fill>(next);
      const bool wrong = before.height != after.height || old.context != next.context ||
                         (before.height != 1 && (before.width != after.width || before.pitch != after.pitch ||
                                                 before.element_bytes != after.element_bytes));
      return unless(wrong, CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED);
    }
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      return unless(description<GraphAllocate>(old).allocation != description<GraphAllocate>(next).allocation,
                    CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED);
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      return unless(description<GraphRelease>(old).allocation != description<GraphRelease>(next).allocation,
                    CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED);
    default:
      return CU_GRAPH_EXEC_UPDATE_SUCCESS;
  }
}

void require_settable(const NodeDescription& old, const NodeDescription& next) {
  require(may_become(old, next) == CU_GRAPH_EXEC_UPDATE_SUCCESS);
  if (old.type == CU_GRAPH_NODE_TYPE_MEMCPY) {
    require(is_flat(description<Transfer>(old)) && is_flat(description<Transfer>(next)));
  }
}

}  // namespace tfusion::software::driver
