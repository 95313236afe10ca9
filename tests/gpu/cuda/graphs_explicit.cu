// Graphs built node by node: kernels, copies, memsets, host functions, child graphs; changing what was
// instantiated.
#include "check.cuh"

__global__ void add(int* x, int term, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += term;
}

__global__ void multiply(int* x, int factor, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= factor;
}

void CUDART_CB note(void* data) {
  *static_cast<int*>(data) += 1;
}

cudaKernelNodeParams kernel_params(void* function, void** arguments, int n) {
  cudaKernelNodeParams params{};
  params.func = function;
  params.gridDim = dim3(n / 256);
  params.blockDim = dim3(256);
  params.kernelParams = arguments;
  return params;
}

struct Ints {
  int* first;
  int count;
  int* data() const { return first; }
  int* begin() const { return first; }
  int* end() const { return first + count; }
  int& operator[](int i) const { return first[i]; }
};

int main() {
  int n = 2048;
  int* x = device_array<int>(n);
  int* pinned = nullptr;  // a slice cannot copy a graph's data to pageable memory
  CHECK(cudaMallocHost(&pinned, n * sizeof(int)));
  const Ints host{pinned, n};
  for (int& value : host) value = -1;
  int three = 3, five = 5, called = 0;
  void* add_arguments[] = {&x, &three, &n};
  void* multiply_arguments[] = {&x, &five, &n};

  cudaGraph_t graph;
  CHECK(cudaGraphCreate(&graph, 0));
  cudaGraphNode_t clear, added, multiplied, down, noted;
  cudaMemsetParams memset{};
  memset.dst = x;
  memset.value = 7;
  memset.elementSize = sizeof(int);
  memset.width = n;
  memset.height = 1;
  CHECK(cudaGraphAddMemsetNode(&clear, graph, nullptr, 0, &memset));
  cudaKernelNodeParams add_params = kernel_params(reinterpret_cast<void*>(add), add_arguments, n);
  CHECK(cudaGraphAddKernelNode(&added, graph, &clear, 1, &add_params));
  cudaKernelNodeParams multiply_params =
      kernel_params(reinterpret_cast<void*>(multiply), multiply_arguments, n);
  CHECK(cudaGraphAddKernelNode(&multiplied, graph, &added, 1, &multiply_params));
  CHECK(cudaGraphAddMemcpyNode1D(&down, graph, &multiplied, 1, host.data(), x, n * sizeof(int),
                                 cudaMemcpyDeviceToHost));
  cudaHostNodeParams host_params{note, &called};
  CHECK(cudaGraphAddHostNode(&noted, graph, &down, 1, &host_params));

  cudaGraphNodeType type;
  CHECK(cudaGraphNodeGetType(down, &type));
  EXPECT(type == cudaGraphNodeTypeMemcpy);
  CHECK(cudaGraphNodeGetType(noted, &type));
  EXPECT(type == cudaGraphNodeTypeHost);
  std::size_t count = 0;
  CHECK(cudaGraphGetRootNodes(graph, nullptr, &count));
  EXPECT(count == 1);
  CHECK(cudaGraphGetEdges(graph, nullptr, nullptr, nullptr, &count));
  EXPECT(count == 4);
  cudaKernelNodeParams seen{};
  CHECK(cudaGraphKernelNodeGetParams(added, &seen));
  EXPECT(seen.gridDim.x == static_cast<unsigned>(n / 256) && *static_cast<int*>(seen.kernelParams[1]) == 3);
  pass("nodes can be looked at");

  cudaGraphExec_t exec;
  CHECK(cudaGraphInstantiate(&exec, graph, 0));
  CHECK(cudaGraphLaunch(exec, 0));
  CHECK(cudaDeviceSynchronize());
  for (int value : host) EXPECT(value == (7 + 3) * 5);
  EXPECT(called == 1);
  three = 1000;  // the values were taken when the node was made
  CHECK(cudaGraphLaunch(exec, 0));
  CHECK(cudaDeviceSynchronize());
  EXPECT(host[n - 1] == 50 && called == 2);
  pass("memset, kernels, copy and host function in their order");

  three = 4;
  CHECK(cudaGraphExecKernelNodeSetParams(exec, added, &add_params));
  memset.value = 1;
  CHECK(cudaGraphExecMemsetNodeSetParams(exec, clear, &memset));
  CHECK(cudaGraphLaunch(exec, 0));
  CHECK(cudaDeviceSynchronize());
  for (int value : host) EXPECT(value == (1 + 4) * 5);
  CHECK(cudaGraphNodeSetEnabled(exec, multiplied, 0));
  CHECK(cudaGraphLaunch(exec, 0));
  CHECK(cudaDeviceSynchronize());
  EXPECT(host[0] == 5);
  CHECK(cudaGraphNodeSetEnabled(exec, multiplied, 1));
  pass("an instantiated graph can be changed");

  // A clone with other parameters updates the same executable graph.
  cudaGraph_t clone;
  CHECK(cudaGraphClone(&clone, graph));
  cudaGraphNode_t cloned;
  CHECK(cudaGraphNodeFindInClone(&cloned, multiplied, clone));
  five = 9;
  CHECK(cudaGraphKernelNodeSetParams(cloned, &multiply_params));
  cudaGraphExecUpdateResultInfo info{};
  CHECK(cudaGraphExecUpdate(exec, clone, &info));
  EXPECT(info.result == cudaGraphExecUpdateSuccess);
  CHECK(cudaGraphLaunch(exec, 0));
  CHECK(cudaDeviceSynchronize());
  for (int value : host) EXPECT(value == (7 + 3) * 9);
  pass("an update from a clone");

  // A graph of another shape cannot update it.
  cudaGraphNode_t extra;
  CHECK(cudaGraphAddEmptyNode(&extra, clone, nullptr, 0));
  CHECK_ERROR(cudaErrorGraphExecUpdateFailure, cudaGraphExecUpdate(exec, clone, &info));
  EXPECT(info.result == cudaGraphExecUpdateErrorTopologyChanged);
  (void)cudaGetLastError();
  pass("an update with another shape is refused");

  cudaGraph_t parent;
  CHECK(cudaGraphCreate(&parent, 0));
  cudaGraphNode_t before, after;
  CHECK(cudaGraphAddChildGraphNode(&before, parent, nullptr, 0, graph));
  five = 2;
  CHECK(cudaGraphAddKernelNode(&after, parent, &before, 1, &multiply_params));
  cudaGraphExec_t whole;
  CHECK(cudaGraphInstantiate(&whole, parent, 0));
  CHECK(cudaGraphLaunch(whole, 0));
  CHECK(cudaDeviceSynchronize());
  for (int value : from_device(x, n)) EXPECT(value == 100);
  pass("a child graph");

  // A ring of dependencies is refused.
  cudaGraph_t ring;
  CHECK(cudaGraphCreate(&ring, 0));
  cudaGraphNode_t a, b;
  CHECK(cudaGraphAddEmptyNode(&a, ring, nullptr, 0));
  CHECK(cudaGraphAddEmptyNode(&b, ring, &a, 1));
  cudaGraphExec_t none;
  EXPECT(cudaGraphAddDependencies(ring, &b, &a, nullptr, 1) != cudaSuccess ||
         cudaGraphInstantiate(&none, ring, 0) != cudaSuccess);
  (void)cudaGetLastError();
  pass("a ring is refused");

  CHECK(cudaGraphExecDestroy(exec));
  CHECK(cudaGraphExecDestroy(whole));
  for (cudaGraph_t g : {graph, clone, parent, ring}) CHECK(cudaGraphDestroy(g));
  CHECK(cudaFree(x));
}
