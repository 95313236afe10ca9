// Managed memory: one pointer for host and device, touched by the host between kernels without any call.
#include "check.cuh"

struct Node {
  Node* next;
  int value;
};

__global__ void increment(int* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += 1;
}

__global__ void sum_list(const Node* node, int* total) {
  for (; node != nullptr; node = node->next) *total += node->value;
}

int main() {
  const int n = 1 << 20;
  int* x;
  CHECK(cudaMallocManaged(&x, n * sizeof(int)));
  for (int i = 0; i < n; i++) x[i] = i;
  for (int round = 0; round < 5; round++) {
    increment<<<n / 256, 256>>>(x, n);
    CHECK(cudaDeviceSynchronize());
    x[round] += 1000;  // the host's turn
  }
  for (int i = 0; i < n; i++) EXPECT(x[i] == i + 5 + (i < 5 ? 1000 : 0));
  pass("host and kernels in turn");

  // A list whose nodes are separate allocations, linked by the host.
  Node* head = nullptr;
  for (int i = 1; i <= 100; i++) {
    Node* node;
    CHECK(cudaMallocManaged(&node, sizeof(Node)));
    *node = {head, i};
    head = node;
  }
  int* total;
  CHECK(cudaMallocManaged(&total, sizeof *total));
  *total = 5;
  sum_list<<<1, 1>>>(head, total);
  CHECK(cudaDeviceSynchronize());
  EXPECT(*total == 5 + 5050);
  std::printf("total %d\n", *total);
  pass("a linked list");

  cudaPointerAttributes attributes;
  CHECK(cudaPointerGetAttributes(&attributes, x));
  EXPECT(attributes.type == cudaMemoryTypeManaged);
  std::vector<int> copy(n);
  CHECK(cudaMemcpy(copy.data(), x, n * sizeof(int), cudaMemcpyDefault));
  EXPECT(copy[n - 1] == n + 4);
  CHECK(cudaMemset(x, 0, n * sizeof(int)));
  CHECK(cudaDeviceSynchronize());
  EXPECT(x[77] == 0);
  pass("copies and memset");

  // Advice and prefetching may be ignored, but not refused.
  int device = 0;
  CHECK(cudaGetDevice(&device));
  const cudaMemLocation gpu{cudaMemLocationTypeDevice, device}, cpu{cudaMemLocationTypeHost, 0};
  CHECK(cudaMemAdvise(x, n * sizeof(int), cudaMemAdviseSetPreferredLocation, gpu));
  CHECK(cudaMemPrefetchAsync(x, n * sizeof(int), gpu, 0, 0));
  increment<<<n / 256, 256>>>(x, n);
  CHECK(cudaMemPrefetchAsync(x, n * sizeof(int), cpu, 0, 0));
  CHECK(cudaDeviceSynchronize());
  EXPECT(x[0] == 1 && x[n - 1] == 1);
  pass("advice and prefetching");

  while (head != nullptr) {
    Node* next = head->next;
    CHECK(cudaFree(head));
    head = next;
  }
  CHECK(cudaFree(x));
}
