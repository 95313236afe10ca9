// What a graph's nodes do: parameters as programs give them, in the forms that CUDA has had over time, to and
// from the one form in which they travel (protocol/graph_node.hpp).
#include "protocol/graph_node.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "copy.hpp"
#include "graph.hpp"
#include "host_functions.hpp"
#include "kernel.hpp"

namespace tfusion::hook {

namespace {

// A node's parameters on their way: by type, as the tail of a command.
struct Encoded {
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  std::vector<std::byte> bytes;

  template <typename T>
  void put(const T& value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
  }
};

struct KernelParameters {
  CUfunction function;
  unsigned grid[3], block[3];
  unsigned shared_bytes;
  void** parameters;
  void** extra;
};

template <typename Params>
KernelParameters kernel_parameters(const Params& p) {
  KernelParameters out{p.func,
                       {p.gridDimX, p.gridDimY, p.gridDimZ},
                       {p.blockDimX, p.blockDimY, p.blockDimZ},
                       p.sharedMemBytes,
                       p.kernelParams,
                       p.extra};
  if constexpr (requires { p.kern; }) {
    if (out.function == nullptr) out.function = reinterpret_cast<CUfunction>(p.kern);
  }
  return out;
}

CUresult encode(const KernelParameters& p, Encoded* out) {
  const KernelDescription* kernel = nullptr;
  if (CUresult r = describe_kernel(number(p.function), &kernel); r != CUDA_SUCCESS) return r;
  std::vector<std::byte> block(kernel->parameter_bytes);
  if (p.parameters != nullptr) {
    gather_parameters(*kernel, p.parameters, block.data());
  } else if (p.extra != nullptr) {
    const void* data = nullptr;
    std::size_t bytes = 0;
    if (CUresult r = packed_parameters(p.extra, &data, &bytes); r != CUDA_SUCCESS) return r;
    const auto* from = static_cast<const std::byte*>(data);
    block.assign(from, from + bytes);
  } else if (!kernel->parameters.empty()) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (block.size() > wire::kMaxCommandBytes / 2) return CUDA_ERROR_INVALID_VALUE;
  out->type = CU_GRAPH_NODE_TYPE_KERNEL;
  out->put(wire::KernelNode{number(p.function),
                            {p.grid[0], p.grid[1], p.grid[2]},
                            {p.block[0], p.block[1], p.block[2]},
                            p.shared_bytes,
                            static_cast<std::uint32_t>(block.size())});
  out->bytes.insert(out->bytes.end(), block.begin(), block.end());
  return CUDA_SUCCESS;
}

CUresult encode(const CUDA_MEMCPY3D& copy, Encoded* out) {
  auto array = [](CUmemorytype type) { return type == CU_MEMORYTYPE_ARRAY; };
  if (array(copy.srcMemoryType) || array(copy.dstMemoryType))
    return refused("a graph's memcpy node with arrays");
  // A graph would have to read or write this process's own memory when it runs.
  auto out_of_reach = [](CUmemorytype type, const void* host, CUdeviceptr device) {
    return !worker_can_reach(type == CU_MEMORYTYPE_HOST ? number(host) : device);
  };
  if (out_of_reach(copy.srcMemoryType, copy.srcHost, copy.srcDevice) ||
      out_of_reach(copy.dstMemoryType, copy.dstHost, copy.dstDevice)) {
    return refused("a graph's memcpy node with pageable host memory (pin it)");
  }
  out->type = CU_GRAPH_NODE_TYPE_MEMCPY;
  out->put(copy);
  return CUDA_SUCCESS;
}

CUresult encode(const CUDA_MEMSET_NODE_PARAMS& fill, Encoded* out) {
  out->type = CU_GRAPH_NODE_TYPE_MEMSET;
  out->put(fill);
  return CUDA_SUCCESS;
}

CUresult encode_host(CUhostFn function, void* argument, Encoded* out) {
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = start_host_thread(); r != CUDA_SUCCESS) return r;
  out->type = CU_GRAPH_NODE_TYPE_HOST;
  out->put(wire::HostNode{reinterpret_cast<std::uint64_t>(function), number(argument)});
  return CUDA_SUCCESS;
}

CUresult encode_child(CUgraph child, Encoded* out) {
  if (!is_graph(child)) return CUDA_ERROR_INVALID_VALUE;
  out->type = CU_GRAPH_NODE_TYPE_GRAPH;
  out->put(wire::ObjectNode{number(child)});
  return CUDA_SUCCESS;
}

CUresult encode_event(CUgraphNodeType type, CUevent event, Encoded* out) {
  wire::ObjectNode object{};
  if (CUresult r = event_on_wire(event, &object.handle); r != CUDA_SUCCESS) return r;
  out->type = type;
  out->put(object);
  return CUDA_SUCCESS;
}

CUresult encode(const CUgraphNodeParams& p, Encoded* out) {
  switch (p.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return encode(kernel_parameters(p.kernel), out);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return encode(p.memcpy.copyParams, out);
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      CUDA_MEMSET_NODE_PARAMS fill{};
      fill.dst = p.memset.dst;
      fill.pitch = p.memset.pitch;
      fill.value = p.memset.value;
      fill.elementSize = p.memset.elementSize;
      fill.width = p.memset.width;
      fill.height = p.memset.height;
      return encode(fill, out);
    }
    case CU_GRAPH_NODE_TYPE_HOST:
      return encode_host(p.host.fn, p.host.userData, out);
    case CU_GRAPH_NODE_TYPE_GRAPH:
      if (p.graph.ownership != CU_GRAPH_CHILD_GRAPH_OWNERSHIP_CLONE)
        return refused("a child graph node that takes its graph over");
      return encode_child(p.graph.graph, out);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return encode_event(p.type, p.eventWait.event, out);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return encode_event(p.type, p.eventRecord.event, out);
    case CU_GRAPH_NODE_TYPE_EMPTY:
      out->type = p.type;
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
      return refused("cuGraphAddNode with a conditional node");
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      return refused("cuGraphAddNode with a memory allocation or free");
    default:
      return refused("cuGraphAddNode with a node of this kind");
  }
}

CUresult add(CUgraphNode* node, CUgraph graph, const CUgraphNode* dependencies, const CUgraphEdgeData* data,
             std::size_t count, const Encoded& parameters) {
  if (node == nullptr || !is_graph(graph)) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::byte> tail;
  if (CUresult r = append_ends(&tail, dependencies, data, count); r != CUDA_SUCCESS) return r;
  tail.insert(tail.end(), parameters.bytes.begin(), parameters.bytes.end());
  wire::GraphAddNode command{};
  command.graph = number(graph);
  command.type = parameters.type;
  command.dependencies = static_cast<std::uint32_t>(count);
  command.edges = data != nullptr ? command.dependencies : 0;
  wire::GraphAddNodeReply reply{};
  const CUresult result = call(command, &reply, tail.data(), static_cast<std::uint32_t>(tail.size()));
  if (result == CUDA_SUCCESS) *node = reinterpret_cast<CUgraphNode>(reply.node);
  return result;
}

// Whose node is changed: the graph's own, or that of an executable made from it.
struct Target {
  bool of_exec;
  CUgraphExec exec;
};
constexpr Target kOwn{false, nullptr};

Target of(CUgraphExec exec) {
  return {true, exec};
}

// encode_it(Encoded*) and then the node.
template <typename Encode>
CUresult set(const Target& target, CUgraphNode node, Encode&& encode_it) {
  if (!is_node(node) || (target.of_exec && !is_exec(target.exec))) return CUDA_ERROR_INVALID_VALUE;
  Encoded parameters;
  if (CUresult r = encode_it(&parameters); r != CUDA_SUCCESS) return r;
  wire::GraphNodeSet command{};
  command.exec = number(target.exec);
  command.node = number(node);
  command.type = parameters.type;
  return call(command, nullptr, parameters.bytes.data(), static_cast<std::uint32_t>(parameters.bytes.size()));
}

template <typename Params>
CUresult set_kernel(const Target& target, CUgraphNode node, const Params* p) {
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(target, node, [&](Encoded* out) { return encode(kernel_parameters(*p), out); });
}

// CUDA_MEMCPY3D, CUDA_MEMSET_NODE_PARAMS or CUgraphNodeParams.
template <typename Params>
CUresult set_plain(const Target& target, CUgraphNode node, const Params* p) {
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(target, node, [&](Encoded* out) { return encode(*p, out); });
}

CUresult set_host(const Target& target, CUgraphNode node, const CUDA_HOST_NODE_PARAMS* p) {
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return set(target, node, [&](Encoded* out) { return encode_host(p->fn, p->userData, out); });
}

CUresult set_event(const Target& target, CUgraphNode node, CUgraphNodeType type, CUevent event) {
  return set(target, node, [&](Encoded* out) { return encode_event(type, event, out); });
}

template <typename Encode>
CUresult add_encoded(CUgraphNode* node, CUgraph graph, const CUgraphNode* dependencies, std::size_t count,
                     Encode&& encode_it) {
  Encoded parameters;
  if (CUresult r = encode_it(&parameters); r != CUDA_SUCCESS) return r;
  return add(node, graph, dependencies, nullptr, count, parameters);
}

// The parameters of a node that must be of that type, as they travel.
CUresult get(CUgraphNode node, CUgraphNodeType type, std::vector<std::byte>* out) {
  if (!is_node(node)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphNodeGet command{};
  command.node = number(node);
  Reply reply;
  if (CUresult r = call_with(reply, command); r != CUDA_SUCCESS) return r;
  wire::GraphNodeGetReply head;
  if (reply.payload_bytes() < sizeof head) return CUDA_ERROR_UNKNOWN;
  std::memcpy(&head, reply.payload(), sizeof head);
  if (head.type != static_cast<std::uint32_t>(type)) return CUDA_ERROR_INVALID_VALUE;
  out->assign(reply.payload() + sizeof head, reply.payload() + reply.payload_bytes());
  return CUDA_SUCCESS;
}

template <typename T>
CUresult get_as(CUgraphNode node, CUgraphNodeType type, T* out) {
  std::vector<std::byte> bytes;
  if (CUresult r = get(node, type, &bytes); r != CUDA_SUCCESS) return r;
  if (bytes.size() < sizeof *out) return CUDA_ERROR_UNKNOWN;
  std::memcpy(out, bytes.data(), sizeof *out);
  return CUDA_SUCCESS;
}

// Where the pointers of a kernel node's parameters lead that a program asked for: they hold until the node is
// asked about again. The oldest are let go, since a program does not say when it is done with them.
struct KeptParameters {
  std::vector<std::byte> block;
  std::vector<void*> pointers;
  std::uint64_t turn = 0;  // when it was asked for
};
constexpr std::size_t kMostKept = 4096;
constinit std::mutex kept_mutex;
std::map<std::uint64_t, std::unique_ptr<KeptParameters>>& kept() {
  static auto& map = *new std::map<std::uint64_t, std::unique_ptr<KeptParameters>>;
  return map;
}

bool is_library_kernel(std::uint64_t handle) {
  const KernelObject* kernel = kernels().find(handle);
  const ModuleObject* module = kernel != nullptr ? modules().find(kernel->module) : nullptr;
  return module != nullptr && module->as_library;
}

template <typename Params>
CUresult get_kernel(CUgraphNode node, Params* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::byte> bytes;
  if (CUresult r = get(node, CU_GRAPH_NODE_TYPE_KERNEL, &bytes); r != CUDA_SUCCESS) return r;
  wire::KernelNode travelled;
  if (bytes.size() < sizeof travelled) return CUDA_ERROR_UNKNOWN;
  std::memcpy(&travelled, bytes.data(), sizeof travelled);
  const KernelDescription* kernel = nullptr;
  if (CUresult r = describe_kernel(travelled.kernel, &kernel); r != CUDA_SUCCESS) return r;
  auto keep = std::make_unique<KeptParameters>();
  keep->block.assign(bytes.begin() + sizeof travelled, bytes.end());
  keep->block.resize(std::max<std::size_t>(keep->block.size(), kernel->parameter_bytes));
  for (const ParameterInfo& info : kernel->parameters)
    keep->pointers.push_back(keep->block.data() + info.offset);
  *out = Params{};
  out->func = reinterpret_cast<CUfunction>(travelled.kernel);
  out->gridDimX = travelled.grid[0], out->gridDimY = travelled.grid[1], out->gridDimZ = travelled.grid[2];
  out->blockDimX = travelled.block[0], out->blockDimY = travelled.block[1],
  out->blockDimZ = travelled.block[2];
  out->sharedMemBytes = travelled.shared_bytes;
  out->kernelParams = keep->pointers.empty() ? nullptr : keep->pointers.data();
  if constexpr (requires { out->kern; }) {
    // The runtime finds its own functions again by the library's kernel.
    out->kern = is_library_kernel(travelled.kernel) ? reinterpret_cast<CUkernel>(travelled.kernel) : nullptr;
    if (out->kern != nullptr) out->func = nullptr;
    out->ctx = primary_context();
  }
  std::lock_guard lock(kept_mutex);
  if (kept().size() >= kMostKept && !kept().contains(number(node))) {
    kept().erase(std::min_element(kept().begin(), kept().end(), [](const auto& a, const auto& b) {
      return a.second->turn < b.second->turn;
    }));
  }
  static constinit std::uint64_t turns = 0;
  keep->turn = ++turns;
  kept()[number(node)] = std::move(keep);
  return CUDA_SUCCESS;
}

CUresult get_event(CUgraphNode node, CUgraphNodeType type, CUevent* event) {
  if (event == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::ObjectNode object{};
  const CUresult result = get_as(node, type, &object);
  if (result == CUDA_SUCCESS) *event = reinterpret_cast<CUevent>(object.handle);
  return result;
}

CUresult enable(CUgraphExec exec, CUgraphNode node, bool change, unsigned* enabled) {
  if (!is_exec(exec) || !is_node(node)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphNodeEnable command{};
  command.exec = number(exec);
  command.node = number(node);
  command.set = change ? 1 : 0;
  command.enabled = *enabled;
  wire::GraphNodeEnableReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) *enabled = reply.enabled;
  return result;
}

CUresult kernel_attribute(CUgraphNode node, bool change, CUkernelNodeAttrID attribute,
                          CUkernelNodeAttrValue* value) {
  if (!is_node(node) || value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphKernelAttribute command{};
  command.node = number(node);
  command.set = change ? 1 : 0;
  command.attribute = attribute;
  static_assert(sizeof command.value == sizeof *value);
  std::memcpy(command.value, value, sizeof *value);
  wire::GraphKernelAttributeReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS && !change) std::memcpy(value, reply.value, sizeof *value);
  return result;
}

}  // namespace

namespace api {

CUresult cuGraphAddKernelNode_v2(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                 size_t numDependencies, const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add_encoded(phGraphNode, hGraph, dependencies, numDependencies,
                     [&](Encoded* out) { return encode(kernel_parameters(*nodeParams), out); });
}

CUresult cuGraphAddKernelNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add_encoded(phGraphNode, hGraph, dependencies, numDependencies,
                     [&](Encoded* out) { return encode(kernel_parameters(*nodeParams), out); });
}

CUresult cuGraphAddMemcpyNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_MEMCPY3D* copyParams, CUcontext) {
  if (copyParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add_encoded(phGraphNode, hGraph, dependencies, numDependencies,
                     [&](Encoded* out) { return encode(*copyParams, out); });
}

CUresult cuGraphAddMemsetNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_MEMSET_NODE_PARAMS* memsetParams,
                              CUcontext) {
  if (memsetParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add_encoded(phGraphNode, hGraph, dependencies, numDependencies,
                     [&](Encoded* out) { return encode(*memsetParams, out); });
}

CUresult cuGraphAddHostNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                            size_t numDependencies, const CUDA_HOST_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return add_encoded(phGraphNode, hGraph, dependencies, numDependencies,
                     [&](Encoded* out) { return encode_host(nodeParams->fn, nodeParams->userData, out); });
}

CUresult cuGraphAddChildGraphNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                  size_t numDependencies, CUgraph childGraph) {
  const CUresult result = add_encoded(phGraphNode, hGraph, dependencies, numDependencies,
                                      [&](Encoded* out) { return encode_child(childGraph, out); });
  if (result == CUDA_SUCCESS) holds_as_well(number(childGraph), number(hGraph));
  return result;
}

CUresult cuGraphAddEmptyNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                             size_t numDependencies) {
  return add(phGraphNode, hGraph, dependencies, nullptr, numDependencies, Encoded{});
}

CUresult cuGraphAddEventRecordNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                   size_t numDependencies, CUevent event) {
  return add_encoded(phGraphNode, hGraph, dependencies, numDependencies,
                     [&](Encoded* out) { return encode_event(CU_GRAPH_NODE_TYPE_EVENT_RECORD, event, out); });
}

CUresult cuGraphAddEventWaitNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                 size_t numDependencies, CUevent event) {
  return add_encoded(phGraphNode, hGraph, dependencies, numDependencies,
                     [&](Encoded* out) { return encode_event(CU_GRAPH_NODE_TYPE_WAIT_EVENT, event, out); });
}

CUresult cuGraphAddNode_v2(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                           const CUgraphEdgeData* dependencyData, size_t numDependencies,
                           CUgraphNodeParams* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Encoded parameters;
  if (CUresult r = encode(*nodeParams, &parameters); r != CUDA_SUCCESS) return r;
  const CUresult result = add(phGraphNode, hGraph, dependencies, dependencyData, numDependencies, parameters);
  // A child graph node answers with the graph that is its own from now on.
  if (result != CUDA_SUCCESS || nodeParams->type != CU_GRAPH_NODE_TYPE_GRAPH) return result;
  holds_as_well(number(nodeParams->graph.graph), number(hGraph));
  return api::cuGraphChildGraphNodeGetGraph(*phGraphNode, &nodeParams->graph.graph);
}

CUresult cuGraphAddNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                        size_t numDependencies, CUgraphNodeParams* nodeParams) {
  return api::cuGraphAddNode_v2(phGraphNode, hGraph, dependencies, nullptr, numDependencies, nodeParams);
}

CUresult cuGraphDestroyNode(CUgraphNode hNode) {
  if (!is_node(hNode)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphDestroyNode command{};
  command.node = number(hNode);
  return call(command);
}

CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType* type) {
  if (type == nullptr || !is_node(hNode)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphNodeGet command{};
  command.node = number(hNode);
  wire::GraphNodeGetReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) *type = static_cast<CUgraphNodeType>(reply.type);
  return result;
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  return get_kernel(hNode, nodeParams);
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  return get_kernel(hNode, nodeParams);
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode hNode, CUDA_MEMCPY3D* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : get_as(hNode, CU_GRAPH_NODE_TYPE_MEMCPY, nodeParams);
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode hNode, CUDA_MEMSET_NODE_PARAMS* nodeParams) {
  return nodeParams == nullptr ? CUDA_ERROR_INVALID_VALUE
                               : get_as(hNode, CU_GRAPH_NODE_TYPE_MEMSET, nodeParams);
}

CUresult cuGraphHostNodeGetParams(CUgraphNode hNode, CUDA_HOST_NODE_PARAMS* nodeParams) {
  if (nodeParams == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::HostNode host{};
  const CUresult result = get_as(hNode, CU_GRAPH_NODE_TYPE_HOST, &host);
  if (result != CUDA_SUCCESS) return result;
  nodeParams->fn = reinterpret_cast<CUhostFn>(host.code);
  nodeParams->userData = reinterpret_cast<void*>(host.argument);
  return CUDA_SUCCESS;
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode hNode, CUgraph* phGraph) {
  if (phGraph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::ObjectNode object{};
  const CUresult result = get_as(hNode, CU_GRAPH_NODE_TYPE_GRAPH, &object);
  if (result == CUDA_SUCCESS) *phGraph = reinterpret_cast<CUgraph>(object.handle);
  return result;
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode hNode, CUevent* event_out) {
  return get_event(hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event_out);
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode hNode, CUevent* event_out) {
  return get_event(hNode, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event_out);
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  return set_kernel(kOwn, hNode, nodeParams);
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  return set_kernel(kOwn, hNode, nodeParams);
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode hNode, const CUDA_MEMCPY3D* nodeParams) {
  return set_plain(kOwn, hNode, nodeParams);
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode hNode, const CUDA_MEMSET_NODE_PARAMS* nodeParams) {
  return set_plain(kOwn, hNode, nodeParams);
}

CUresult cuGraphHostNodeSetParams(CUgraphNode hNode, const CUDA_HOST_NODE_PARAMS* nodeParams) {
  return set_host(kOwn, hNode, nodeParams);
}

CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode hNode, CUevent event) {
  return set_event(kOwn, hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode hNode, CUevent event) {
  return set_event(kOwn, hNode, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

CUresult cuGraphNodeSetParams(CUgraphNode hNode, CUgraphNodeParams* nodeParams) {
  return set_plain(kOwn, hNode, nodeParams);
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec hGraphExec, CUgraphNode hNode,
                                           const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  return set_kernel(of(hGraphExec), hNode, nodeParams);
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  return set_kernel(of(hGraphExec), hNode, nodeParams);
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMCPY3D* copyParams, CUcontext) {
  return set_plain(of(hGraphExec), hNode, copyParams);
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMSET_NODE_PARAMS* memsetParams, CUcontext) {
  return set_plain(of(hGraphExec), hNode, memsetParams);
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                      const CUDA_HOST_NODE_PARAMS* nodeParams) {
  return set_host(of(hGraphExec), hNode, nodeParams);
}

CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode, CUgraph childGraph) {
  const CUresult result =
      set(of(hGraphExec), hNode, [&](Encoded* out) { return encode_child(childGraph, out); });
  if (result == CUDA_SUCCESS) holds_as_well(number(childGraph), number(hGraphExec));
  return result;
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event) {
  return set_event(of(hGraphExec), hNode, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec hGraphExec, CUgraphNode hNode, CUevent event) {
  return set_event(of(hGraphExec), hNode, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

CUresult cuGraphExecNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode, CUgraphNodeParams* nodeParams) {
  return set_plain(of(hGraphExec), hNode, nodeParams);
}

CUresult cuGraphNodeSetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int isEnabled) {
  return enable(hGraphExec, hNode, true, &isEnabled);
}

CUresult cuGraphNodeGetEnabled(CUgraphExec hGraphExec, CUgraphNode hNode, unsigned int* isEnabled) {
  if (isEnabled == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return enable(hGraphExec, hNode, false, isEnabled);
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
                                       CUkernelNodeAttrValue* value_out) {
  return kernel_attribute(hNode, false, attr, value_out);
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode hNode, CUkernelNodeAttrID attr,
                                       const CUkernelNodeAttrValue* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUkernelNodeAttrValue copy = *value;
  return kernel_attribute(hNode, true, attr, &copy);
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode dst, CUgraphNode src) {
  if (!is_node(dst) || !is_node(src)) return CUDA_ERROR_INVALID_VALUE;
  wire::GraphKernelCopyAttributes command{};
  command.to = number(dst);
  command.from = number(src);
  return call(command);
}

}  // namespace api
}  // namespace tfusion::hook
