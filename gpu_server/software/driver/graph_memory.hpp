// Memory of allocation nodes. Its address and its share of the GPU's memory are taken when the node is made
// and kept until nothing can use it any more: the node, executables made from its graph, and an allocation
// that a launch left behind. In between, kernels may touch it from the run of an allocation node to that of a
// free node, or to cuMemFree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "context.hpp"

namespace tfusion::software::driver {

class GraphAllocation {
 public:
  // Throws CUDA_ERROR_OUT_OF_MEMORY.
  GraphAllocation(const Context& context, std::size_t size);
  ~GraphAllocation();  // gives the memory back when the queue has passed what was submitted before
  GraphAllocation(const GraphAllocation&) = delete;
  GraphAllocation& operator=(const GraphAllocation&) = delete;

  // On the queue thread.
  void allow() const noexcept;
  void forbid() const noexcept;

  // False when the end of its context has taken the memory. Precondition: the MemoryMap is locked.
  bool is_placed() const;

  const std::size_t bytes;
  const std::uint64_t address;
  const CUmemPoolProps properties;

  // Guarded by Driver::graph_mutex.
  std::uint64_t graph = 0;                 // handle of the graph with the allocation node
  std::uint64_t freed_by = 0;              // handle of a graph with a free node
  std::shared_ptr<GraphAllocation> alive;  // itself, from a launch that allocates it to what frees it

 private:
  std::uint64_t region_id_ = 0;
};

struct GraphAllocate {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_MEM_ALLOC;
  void run(Context&) const noexcept { allocation->allow(); }

  std::shared_ptr<GraphAllocation> allocation;
};

struct GraphRelease {
  static constexpr CUgraphNodeType kNodeType = CU_GRAPH_NODE_TYPE_MEM_FREE;
  void run(Context&) const noexcept { allocation->forbid(); }

  std::shared_ptr<GraphAllocation> allocation;
};

// Makes a new allocation known by its address; once.
void publish_graph_allocation(const std::shared_ptr<GraphAllocation>& allocation);

// The allocation at this address, or null.
std::shared_ptr<GraphAllocation> find_graph_allocation(std::uint64_t address);

// The end of a context has taken memory from the MemoryMap: nothing will free it any more.
void drop_displaced_graph_allocations();

// cuMemFree and cuMemFreeAsync of such memory, which is freed when the queue comes to it. Answers the number
// of that task; throws CUDA_ERROR_INVALID_VALUE if no launch has allocated it.
std::uint64_t free_graph_allocation(const std::shared_ptr<GraphAllocation>& allocation);

}  // namespace tfusion::software::driver
