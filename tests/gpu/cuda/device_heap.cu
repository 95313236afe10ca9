// malloc in kernels, deep recursion on the stack, and the limits of both.
#include "check.cuh"

struct Cell {
  Cell* next;
  int value;
};

__device__ Cell* heads[64];

__global__ void build(int length) {
  Cell* head = nullptr;
  for (int i = 0; i < length; i++) {
    Cell* cell = static_cast<Cell*>(malloc(sizeof(Cell)));
    if (cell == nullptr) break;
    *cell = {head, i + static_cast<int>(threadIdx.x)};
    head = cell;
  }
  heads[threadIdx.x] = head;
}

__global__ void sum(int* out) {
  int total = 0;
  for (Cell* cell = heads[threadIdx.x]; cell != nullptr;) {
    total += cell->value;
    Cell* next = cell->next;
    free(cell);
    cell = next;
  }
  out[threadIdx.x] = total;
}

__device__ __noinline__ int ackermann(int m, int n) {
  if (m == 0) return n + 1;
  if (n == 0) return ackermann(m - 1, 1);
  return ackermann(m - 1, ackermann(m, n - 1));
}

__global__ void recurse(int* out) {
  out[0] = ackermann(2, 10);
}

int main() {
  std::size_t bytes = 0;
  CHECK(cudaDeviceSetLimit(cudaLimitMallocHeapSize, 32 << 20));
  CHECK(cudaDeviceGetLimit(&bytes, cudaLimitMallocHeapSize));
  EXPECT(bytes >= 32 << 20);
  int* out = device_array<int>(64);
  build<<<1, 64>>>(100);
  CHECK(cudaGetLastError());
  sum<<<1, 64>>>(out);
  CHECK(cudaGetLastError());
  const std::vector<int> sums = from_device(out, 64);
  for (int i = 0; i < 64; i++) EXPECT(sums[i] == 4950 + 100 * i);
  pass("lists on the device's heap");
  CHECK(cudaDeviceSetLimit(cudaLimitStackSize, 16 << 10));
  CHECK(cudaDeviceGetLimit(&bytes, cudaLimitStackSize));
  EXPECT(bytes >= 16 << 10);
  recurse<<<1, 1>>>(out);
  EXPECT(from_device(out, 1)[0] == 23);
  pass("recursion");
  CHECK(cudaFree(out));
}
