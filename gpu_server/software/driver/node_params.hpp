// Between the parameter structures of cuda.h and descriptions of work: what graph nodes are made from, and
// what they answer. All checks of parameters are here, also those for changing an executable's node.
#pragma once

#include "graph.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

// Make descriptions; all that they point to is copied. They throw what the direct call of that kind would.
// A null context means the current one. Precondition of all: no lock of the driver is held.
NodeDescription kernel_node(const CUDA_KERNEL_NODE_PARAMS& params);
NodeDescription memcpy_node(const CUDA_MEMCPY3D& params, CUcontext context);
NodeDescription memset_node(const CUDA_MEMSET_NODE_PARAMS& params, CUcontext context);
NodeDescription host_node(const CUDA_HOST_NODE_PARAMS& params);
NodeDescription event_record_node(CUevent event);
NodeDescription event_wait_node(CUevent event);
NodeDescription allocation_node(CUDA_MEM_ALLOC_NODE_PARAMS& params);  // writes `dptr`
// The structure of CUDA 11, without a CUkernel.
CUDA_KERNEL_NODE_PARAMS widened(const CUDA_KERNEL_NODE_PARAMS_v1& params);
// Any of those that can be changed. CUDA_ERROR_NOT_SUPPORTED for those that this driver lacks.
NodeDescription node_of_any(const CUgraphNodeParams& params);

// A free node of this address in the graph. Throws CUDA_ERROR_INVALID_VALUE for what cannot be freed there.
// The caller says so in the allocation when it has added the node. Precondition: the graph lock is held.
NodeDescription release_node(const Graph& graph, std::uint64_t address);

// cuMemAllocAsync and cuMemFreeAsync of a capturing stream.
std::uint64_t capture_allocation(Stream& stream, const Context& owner, std::size_t bytes);
void capture_release(Stream& stream, const Context& owner, std::uint64_t address);

// Answer what a node was made from. Throw CUDA_ERROR_INVALID_VALUE for a node of another kind. What they
// point to belongs to the node. Precondition: the graph lock is held.
CUDA_KERNEL_NODE_PARAMS kernel_params(GraphNode& node);
CUDA_MEMSET_NODE_PARAMS memset_params(const GraphNode& node);

// The description of a node of this kind. Throws CUDA_ERROR_INVALID_VALUE for another.
template <class Description>
const Description& description(const NodeDescription& node) {
  const Description* const found = node.work ? node.work->as<Description>() : nullptr;
  if (found == nullptr) throw Failure(CUDA_ERROR_INVALID_VALUE);
  return *found;
}

// The new description of a node that is `old` now: parameters change, attributes of kernels and, where the
// call has no context, the context stay. Throws CUDA_ERROR_INVALID_VALUE for another kind.
NodeDescription changed(const NodeDescription& old, NodeDescription params, bool keeps_context);

// Whether an executable's node may become that: what cuda.h lists at cuGraphExecUpdate.
CUgraphExecUpdateResult may_become(const NodeDescription& old, const NodeDescription& next);

// The narrower rules of the functions that set one node of an executable. Throws CUDA_ERROR_INVALID_VALUE.
void require_settable(const NodeDescription& old, const NodeDescription& next);

}  // namespace tfusion::software::driver
