// What a graph's nodes do. A node's addresses and handles are checked when it is made or changed, as a
// command's are.
#include <algorithm>
#include <cstring>

#include "protocol/graph_node.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

// The struct that a tail is, exactly.
template <typename T>
bool read_whole(std::span<const std::byte> tail, T* out) {
  if (tail.size() != sizeof *out) return false;
  std::memcpy(out, tail.data(), sizeof *out);
  return true;
}

// One side of a copy: where its first byte lies and how far it reaches. False for what this session may not
// touch.
bool may_copy_side(Session& session, CUdeviceptr base, std::size_t x, std::size_t y, std::size_t z,
                   std::size_t pitch, std::size_t rows, const CUDA_MEMCPY3D& copy) {
  const std::uint64_t most = kDeviceArenaBytes;
  if (copy.WidthInBytes == 0 || copy.Height == 0 || copy.Depth == 0) return false;
  if (pitch == 0) pitch = x + copy.WidthInBytes;
  if (rows == 0) rows = y + copy.Height;
  if (copy.WidthInBytes > pitch || copy.Height > rows || pitch > most || rows > most / pitch) return false;
  const std::uint64_t slice = std::uint64_t{pitch} * rows;
  if (x > most || y > most / pitch || z > most / slice || copy.Depth > most / slice) return false;
  const std::uint64_t before = z * slice + y * pitch + x;
  const std::uint64_t bytes = (copy.Depth - 1) * slice + (copy.Height - 1) * pitch + copy.WidthInBytes;
  // A driver asks what kind of memory it is of the base.
  return before <= most && bytes <= most && session.may_copy(base, 1) &&
         session.may_copy(base + before, bytes);
}

// A copy of the client's between memory of the session, with addresses that the driver finds out about
// itself.
CUresult translate(Session& session, CUDA_MEMCPY3D* copy) {
  auto side = [](CUmemorytype* type, CUdeviceptr* device, const void* host) {
    if (*type == CU_MEMORYTYPE_HOST) {
      *device = reinterpret_cast<CUdeviceptr>(host);
    } else if (*type != CU_MEMORYTYPE_DEVICE && *type != CU_MEMORYTYPE_UNIFIED) {
      return false;
    }
    *type = CU_MEMORYTYPE_UNIFIED;
    return true;
  };
  if (!side(&copy->srcMemoryType, &copy->srcDevice, copy->srcHost) ||
      !side(&copy->dstMemoryType, &copy->dstDevice, copy->dstHost)) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  copy->srcHost = nullptr;
  copy->dstHost = nullptr;
  copy->srcArray = copy->dstArray = nullptr;
  copy->reserved0 = copy->reserved1 = nullptr;
  copy->srcLOD = copy->dstLOD = 0;
  const bool ok = may_copy_side(session, copy->srcDevice, copy->srcXInBytes, copy->srcY, copy->srcZ,
                                copy->srcPitch, copy->srcHeight, *copy) &&
                  may_copy_side(session, copy->dstDevice, copy->dstXInBytes, copy->dstY, copy->dstZ,
                                copy->dstPitch, copy->dstHeight, *copy);
  return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult check(Session& session, const CUDA_MEMSET_NODE_PARAMS& fill) {
  const std::uint64_t element = fill.elementSize;
  if (element != 1 && element != 2 && element != 4) return CUDA_ERROR_INVALID_VALUE;
  if (fill.width == 0 || fill.height == 0 || fill.width > kDeviceArenaBytes / element)
    return CUDA_ERROR_INVALID_VALUE;
  const std::uint64_t row = fill.width * element;
  std::uint64_t bytes = row;
  if (fill.height > 1) {
    if (fill.pitch < row || fill.pitch > kDeviceArenaBytes || fill.height > kDeviceArenaBytes / fill.pitch)
      return CUDA_ERROR_INVALID_VALUE;
    bytes = (fill.height - 1) * fill.pitch + row;
  }
  return session.may_copy(fill.dst, bytes) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// A kernel node of the client's for the driver: valid as long as the object and the tail it was read from.
class KernelNodeParameters {
 public:
  bool read(Session& session, const wire::CommandHeader& header, std::span<const std::byte> tail) {
    wire::KernelNode node;
    if (tail.size() < sizeof node) return wrong(session);
    std::memcpy(&node, tail.data(), sizeof node);
    if (node.parameter_bytes != tail.size() - sizeof node) return wrong(session);
    Kernel* kernel = nullptr;
    if (!session.resolve(header, node.kernel, &kernel)) return false;
    session.put_in_graph(*kernel);
    parameters_.func = kernel->function;
    parameters_.gridDimX = node.grid[0], parameters_.gridDimY = node.grid[1],
    parameters_.gridDimZ = node.grid[2];
    parameters_.blockDimX = node.block[0], parameters_.blockDimY = node.block[1];
    parameters_.blockDimZ = node.block[2];
    parameters_.sharedMemBytes = node.shared_bytes;
    bytes_ = node.parameter_bytes;
    extra_[1] = const_cast<std::byte*>(tail.data() + sizeof node);
    if (bytes_ > 0) parameters_.extra = extra_;
    return true;
  }
  const CUDA_KERNEL_NODE_PARAMS* get() const { return &parameters_; }

 private:
  static bool wrong(Session& session) {
    session.protocol_error("a kernel node's parameters do not fit its tail");
    return false;
  }
  CUDA_KERNEL_NODE_PARAMS parameters_{};
  std::size_t bytes_ = 0;
  void* extra_[5] = {CU_LAUNCH_PARAM_BUFFER_POINTER, nullptr, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes_,
                     CU_LAUNCH_PARAM_END};
};

// What a tail says of a node of any type. Precondition of use: read() was true.
struct NodeParameters {
  CUgraphNodeType type{};
  KernelNodeParameters kernel;
  CUDA_MEMCPY3D copy{};
  CUDA_MEMSET_NODE_PARAMS fill{};
  CUDA_HOST_NODE_PARAMS host{};
  CUgraph child = nullptr;
  std::uint64_t weight = 1;  // the node, with those of a child graph
  CUevent event = nullptr;

  // No node came to have them.
  void give_up(Session& session) {
    if (host.userData != nullptr)
      session.host_functions().drop(static_cast<HostFunctions::Call*>(host.userData));
  }

  // False: the reply was made, or the session ended.
  bool read(Session& session, const wire::CommandHeader& header, std::uint32_t kind,
            std::span<const std::byte> tail) {
    type = static_cast<CUgraphNodeType>(kind);
    CUresult result = CUDA_SUCCESS;
    bool fits = true;
    wire::ObjectNode object{};
    switch (type) {
      case CU_GRAPH_NODE_TYPE_KERNEL:
        return kernel.read(session, header, tail);
      case CU_GRAPH_NODE_TYPE_MEMCPY:
        fits = read_whole(tail, &copy);
        if (fits) result = translate(session, &copy);
        break;
      case CU_GRAPH_NODE_TYPE_MEMSET:
        fits = read_whole(tail, &fill);
        if (fits) result = check(session, fill);
        break;
      case CU_GRAPH_NODE_TYPE_HOST: {
        wire::HostNode function{};
        fits = read_whole(tail, &function);
        if (!fits) break;
        HostFunctions::Call* call =
            session.host_functions().make(HostCall::function, function.code, function.argument, 0, true);
        if (call == nullptr) result = CUDA_ERROR_OUT_OF_MEMORY;
        host = {HostFunctions::run, call};
        break;
      }
      case CU_GRAPH_NODE_TYPE_GRAPH: {
        fits = read_whole(tail, &object);
        if (!fits) break;
        const Graph* graph = session.graphs.graph(object.handle);
        if (graph == nullptr) result = CUDA_ERROR_INVALID_VALUE;
        child = graph != nullptr ? graph->graph : nullptr;
        if (graph != nullptr) weight += weight_of(session.driver(), *graph);
        break;
      }
      case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        fits = read_whole(tail, &object);
        if (fits && !session.resolve(header, object.handle, &event)) return false;
        if (fits) session.put_in_graph(event);
        break;
      case CU_GRAPH_NODE_TYPE_EMPTY:
        fits = tail.empty();
        break;
      default:
        result = CUDA_ERROR_NOT_SUPPORTED;
        break;
    }
    if (!fits) {
      session.protocol_error("a graph node's parameters do not fit its tail");
      return false;
    }
    if (result != CUDA_SUCCESS) session.reply(header, result);
    return result == CUDA_SUCCESS;
  }
};

// The parameters of a kernel node as one block, in the layout that the driver gave for the kernel.
CUresult gather(const DriverFunctions& driver, CUfunction function, const CUDA_KERNEL_NODE_PARAMS& parameters,
                std::vector<std::byte>* block) {
  if (parameters.extra != nullptr) {
    const void* data = nullptr;
    std::size_t bytes = 0;
    for (int i = 0; i < 4 && parameters.extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
      if (parameters.extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) data = parameters.extra[i + 1];
      if (parameters.extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
        bytes = *static_cast<const std::size_t*>(parameters.extra[i + 1]);
    }
    const auto* from = static_cast<const std::byte*>(data);
    if (data != nullptr) block->assign(from, from + bytes);
    return CUDA_SUCCESS;
  }
  for (std::size_t i = 0;; ++i) {
    std::size_t offset = 0, bytes = 0;
    if (driver.cuFuncGetParamInfo(function, i, &offset, &bytes) != CUDA_SUCCESS) return CUDA_SUCCESS;
    if (parameters.kernelParams == nullptr) return CUDA_ERROR_UNKNOWN;
    if (block->size() < offset + bytes) block->resize(offset + bytes);
    std::memcpy(block->data() + offset, parameters.kernelParams[i], bytes);
  }
}

template <typename T>
void append(std::vector<std::byte>* to, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to->insert(to->end(), bytes.begin(), bytes.end());
}

CUresult describe_kernel_node(Session& session, CUgraphNode node, std::vector<std::byte>* out) {
  CUDA_KERNEL_NODE_PARAMS parameters{};
  if (CUresult r = session.driver().cuGraphKernelNodeGetParams_v2(node, &parameters); r != CUDA_SUCCESS)
    return r;
  const auto [handle, function] = session.kernel_of(parameters.func, parameters.kern);
  if (handle == 0) return CUDA_ERROR_INVALID_HANDLE;  // its module was unloaded
  std::vector<std::byte> block;
  if (CUresult r = gather(session.driver(), function, parameters, &block); r != CUDA_SUCCESS) return r;
  const wire::KernelNode described{handle,
                                   {parameters.gridDimX, parameters.gridDimY, parameters.gridDimZ},
                                   {parameters.blockDimX, parameters.blockDimY, parameters.blockDimZ},
                                   parameters.sharedMemBytes,
                                   static_cast<std::uint32_t>(block.size())};
  append(out, described);
  out->insert(out->end(), block.begin(), block.end());
  return CUDA_SUCCESS;
}

CUresult describe(Session& session, const GraphNode& node, CUgraphNodeType type,
                  std::vector<std::byte>* out) {
  const DriverFunctions& driver = session.driver();
  CUresult result = CUDA_SUCCESS;
  switch (type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return describe_kernel_node(session, node.node, out);
    case CU_GRAPH_NODE_TYPE_MEMCPY: {
      CUDA_MEMCPY3D copy{};
      result = driver.cuGraphMemcpyNodeGetParams(node.node, &copy);
      if (copy.srcMemoryType == CU_MEMORYTYPE_ARRAY || copy.dstMemoryType == CU_MEMORYTYPE_ARRAY)
        return CUDA_ERROR_NOT_SUPPORTED;
      copy.reserved0 = copy.reserved1 = nullptr;
      append(out, copy);
      return result;
    }
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      CUDA_MEMSET_NODE_PARAMS fill{};
      result = driver.cuGraphMemsetNodeGetParams(node.node, &fill);
      append(out, fill);
      return result;
    }
    case CU_GRAPH_NODE_TYPE_HOST: {
      CUDA_HOST_NODE_PARAMS host{};
      result = driver.cuGraphHostNodeGetParams(node.node, &host);
      if (result != CUDA_SUCCESS || host.fn != HostFunctions::run) return result;
      const auto* call = static_cast<const HostFunctions::Call*>(host.userData);
      append(out, wire::HostNode{call->code, call->argument});
      return result;
    }
    case CU_GRAPH_NODE_TYPE_GRAPH: {
      CUgraph child = nullptr;
      result = driver.cuGraphChildGraphNodeGetGraph(node.node, &child);
      const std::uint64_t number = result == CUDA_SUCCESS ? session.graphs.number_of_child(node, child) : 0;
      append(out, wire::ObjectNode{number});
      return result == CUDA_SUCCESS && number == 0 ? CUDA_ERROR_OUT_OF_MEMORY : result;
    }
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD: {
      CUevent event = nullptr;
      result = type == CU_GRAPH_NODE_TYPE_WAIT_EVENT
                   ? driver.cuGraphEventWaitNodeGetEvent(node.node, &event)
                   : driver.cuGraphEventRecordNodeGetEvent(node.node, &event);
      append(out, wire::ObjectNode{session.event_handle(event)});
      return result;
    }
    default:
      return CUDA_SUCCESS;
  }
}

// Sets what a node of a graph does; `exec`: of an executable made from it.
CUresult change(Session& session, CUgraphExec exec, CUgraphNode node, const NodeParameters& p) {
  const DriverFunctions& d = session.driver();
  const CUcontext context = session.device().context();
  switch (p.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return exec != nullptr ? d.cuGraphExecKernelNodeSetParams_v2(exec, node, p.kernel.get())
                             : d.cuGraphKernelNodeSetParams_v2(node, p.kernel.get());
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return exec != nullptr ? d.cuGraphExecMemcpyNodeSetParams(exec, node, &p.copy, context)
                             : d.cuGraphMemcpyNodeSetParams(node, &p.copy);
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return exec != nullptr ? d.cuGraphExecMemsetNodeSetParams(exec, node, &p.fill, context)
                             : d.cuGraphMemsetNodeSetParams(node, &p.fill);
    case CU_GRAPH_NODE_TYPE_HOST:
      return exec != nullptr ? d.cuGraphExecHostNodeSetParams(exec, node, &p.host)
                             : d.cuGraphHostNodeSetParams(node, &p.host);
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return exec != nullptr ? d.cuGraphExecChildGraphNodeSetParams(exec, node, p.child)
                             : CUDA_ERROR_NOT_SUPPORTED;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return exec != nullptr ? d.cuGraphExecEventWaitNodeSetEvent(exec, node, p.event)
                             : d.cuGraphEventWaitNodeSetEvent(node, p.event);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return exec != nullptr ? d.cuGraphExecEventRecordNodeSetEvent(exec, node, p.event)
                             : d.cuGraphEventRecordNodeSetEvent(node, p.event);
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

CUresult add(Session& session, CUgraph graph, const GraphEnds& ends, const NodeParameters& p,
             CUgraphNode* node) {
  const DriverFunctions& d = session.driver();
  const CUgraphNode* before = ends.nodes_or_null();
  const std::size_t count = ends.nodes.size();
  const CUcontext context = session.device().context();
  switch (p.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return d.cuGraphAddKernelNode_v2(node, graph, before, count, p.kernel.get());
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return d.cuGraphAddMemcpyNode(node, graph, before, count, &p.copy, context);
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return d.cuGraphAddMemsetNode(node, graph, before, count, &p.fill, context);
    case CU_GRAPH_NODE_TYPE_HOST:
      return d.cuGraphAddHostNode(node, graph, before, count, &p.host);
    case CU_GRAPH_NODE_TYPE_GRAPH:
      return d.cuGraphAddChildGraphNode(node, graph, before, count, p.child);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return d.cuGraphAddEventWaitNode(node, graph, before, count, p.event);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return d.cuGraphAddEventRecordNode(node, graph, before, count, p.event);
    case CU_GRAPH_NODE_TYPE_EMPTY:
      return d.cuGraphAddEmptyNode(node, graph, before, count);
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

// Attributes that hold plain values; those that name events, or lead into memory, do not travel.
bool is_plain(std::uint32_t attribute) {
  switch (attribute) {
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      return true;
    default:
      return false;
  }
}

}  // namespace

void replay(Session& session, const wire::GraphAddNode& command, std::span<const std::byte> tail) {
  GraphEnds ends;
  NodeParameters parameters;
  const Graph* graph = session.graphs.graph(command.graph);
  if (graph == nullptr) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  if (!ends.read(session, command.header, &tail, graph->graph, command.dependencies, command.edges)) return;
  if (!parameters.read(session, command.header, command.type, tail)) return;
  const DriverFunctions& driver = session.driver();
  const bool captured_into = session.is_captured_into(command.graph);
  // These may have to take the node out again.
  if (captured_into && !ends.edges.empty()) {
    parameters.give_up(session);
    return session.reply(command.header, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  }
  if (!session.graphs.has_room(parameters.weight)) {
    parameters.give_up(session);
    return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  }
  CUgraphNode node = nullptr;
  wire::GraphAddNodeReply reply{};
  CUresult result = CUDA_SUCCESS;
  if (ends.edges.empty()) {
    result = add(session, graph->graph, ends, parameters, &node);
  } else {
    // Edges with ports: the node first, then what it depends on.
    result = add(session, graph->graph, GraphEnds{}, parameters, &node);
    const std::vector<CUgraphNode> to(ends.nodes.size(), node);
    if (result == CUDA_SUCCESS) {
      result = driver.cuGraphAddDependencies_v2(graph->graph, ends.nodes_or_null(), to.data(),
                                                ends.edges_or_null(), to.size());
      if (result != CUDA_SUCCESS) driver.cuGraphDestroyNode(node);
    }
  }
  if (result == CUDA_SUCCESS) {
    reply.node = session.graphs.number_of(command.graph, node);
    if (reply.node == 0) {
      if (captured_into) {
        parameters.host.userData = nullptr;  // it stays
      } else {
        driver.cuGraphDestroyNode(node);
      }
      result = CUDA_ERROR_OUT_OF_MEMORY;
    }
  }
  if (result == CUDA_SUCCESS) {
    session.graphs.change_weight(command.graph, static_cast<std::int64_t>(parameters.weight));
  } else {
    parameters.give_up(session);
  }
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphDestroyNode& command) {
  const GraphNode* node = session.graphs.node(command.node);
  if (node == nullptr) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  if (session.is_captured_into(node->graph))
    return session.reply(command.header, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  const DriverFunctions& driver = session.driver();
  CUgraphNodeType type{};
  CUgraph child = nullptr;
  std::uint64_t weight = 1;
  if (driver.cuGraphNodeGetType(node->node, &type) == CUDA_SUCCESS && type == CU_GRAPH_NODE_TYPE_GRAPH &&
      driver.cuGraphChildGraphNodeGetGraph(node->node, &child) == CUDA_SUCCESS) {
    weight += weigh(driver, child);
  }
  const CUresult result = driver.cuGraphDestroyNode(node->node);
  if (result == CUDA_SUCCESS) {
    session.graphs.change_weight(node->graph, -static_cast<std::int64_t>(weight));
    session.graphs.forget_node(command.node);
  }
  session.reply(command.header, result);
}

void replay(Session& session, const wire::GraphNodeGet& command) {
  const GraphNode* node = session.graphs.node(command.node);
  if (node == nullptr) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  CUgraphNodeType type{};
  std::vector<std::byte> description;
  CUresult result = session.driver().cuGraphNodeGetType(node->node, &type);
  if (result == CUDA_SUCCESS) result = describe(session, *node, type, &description);
  const wire::GraphNodeGetReply reply{static_cast<std::uint32_t>(type)};
  if (description.size() >
      kReplyPayloadBytes - sizeof reply) {  // a kernel with more parameters than a reply holds
    description.clear();
    result = CUDA_ERROR_NOT_SUPPORTED;
  }
  session.reply(command.header, result, &reply, sizeof reply, description);
}

void replay(Session& session, const wire::GraphNodeSet& command, std::span<const std::byte> tail) {
  const GraphNode* node = session.graphs.node(command.node);
  const GraphExec* exec = command.exec != 0 ? session.graphs.exec(command.exec) : nullptr;
  if (node == nullptr || (command.exec != 0 && exec == nullptr))
    return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  NodeParameters parameters;
  if (!parameters.read(session, command.header, command.type, tail)) return;
  const CUresult result = change(session, exec != nullptr ? exec->exec : nullptr, node->node, parameters);
  if (result != CUDA_SUCCESS) parameters.give_up(session);
  session.reply(command.header, result);
}

void replay(Session& session, const wire::GraphNodeEnable& command) {
  const GraphNode* node = session.graphs.node(command.node);
  const GraphExec* exec = session.graphs.exec(command.exec);
  if (node == nullptr || exec == nullptr) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  wire::GraphNodeEnableReply reply{command.enabled};
  const CUresult result =
      command.set != 0 ? session.driver().cuGraphNodeSetEnabled(exec->exec, node->node, command.enabled)
                       : session.driver().cuGraphNodeGetEnabled(exec->exec, node->node, &reply.enabled);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphKernelAttribute& command) {
  const GraphNode* node = session.graphs.node(command.node);
  if (node == nullptr) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  if (!is_plain(command.attribute)) return session.reply(command.header, CUDA_ERROR_NOT_SUPPORTED);
  const auto attribute = static_cast<CUkernelNodeAttrID>(command.attribute);
  CUkernelNodeAttrValue value{};
  static_assert(sizeof value == sizeof command.value);
  std::memcpy(&value, command.value, sizeof value);
  const CUresult result = command.set != 0
                              ? session.driver().cuGraphKernelNodeSetAttribute(node->node, attribute, &value)
                              : session.driver().cuGraphKernelNodeGetAttribute(node->node, attribute, &value);
  wire::GraphKernelAttributeReply reply{};
  std::memcpy(reply.value, &value, sizeof value);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::GraphKernelCopyAttributes& command) {
  const GraphNode* to = session.graphs.node(command.to);
  const GraphNode* from = session.graphs.node(command.from);
  if (to == nullptr || from == nullptr) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  session.reply(command.header, session.driver().cuGraphKernelNodeCopyAttributes(to->node, from->node));
}

}  // namespace tfusion::replay
