// Atomic operations of all kinds and types, in global and shared memory, and at system scope in host memory.
#include "check.cuh"

__global__ void integers(int* out, unsigned* bits, unsigned long long* wide) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&out[0], t);
  atomicSub(&out[1], 2 * t);
  atomicMin(&out[2], -t);
  atomicMax(&out[3], t);
  atomicAnd(&bits[0], ~(1u << (t % 16)));
  atomicOr(&bits[1], 1u << (t % 32));
  atomicXor(&bits[2], 1u << (t % 7));
  atomicInc(&bits[3], 99);
  atomicDec(&bits[4], 1000);
  atomicAdd(&wide[0], 1ull << 33);
  atomicMax(&wide[1], static_cast<unsigned long long>(t) << 20);
  atomicExch(&wide[2], 77ull);
}

__global__ void floats(float* f, double* d) {
  atomicAdd(&f[0], 0.5f);
  atomicAdd(&d[0], 0.25);
}

// A lock by compare-and-swap: the counter behind it is not atomic.
__global__ void locked(int* lock, volatile int* counter) {
  for (int lane = 0; lane < 32; lane++) {
    if (static_cast<int>(threadIdx.x % 32) == lane) {
      while (atomicCAS(lock, 0, 1) != 0) {
      }
      __threadfence();
      *counter = *counter + 1;
      __threadfence();
      atomicExch(lock, 0);
    }
    __syncwarp();
  }
}

__global__ void in_shared(const unsigned char* values, int n, int* bins) {
  __shared__ int local[256];
  local[threadIdx.x] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    atomicAdd(&local[values[i]], 1);
  __syncthreads();
  atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
}

__global__ void for_the_host(int* counter) {
  atomicAdd_system(counter, 1);
}

int main() {
  const int threads = 64 * 256;
  int* out = on_device(std::vector<int>{0, 0, 5, -5});
  unsigned* bits = on_device(std::vector<unsigned>{~0u, 0, 0, 0, 0});
  unsigned long long* wide = on_device(std::vector<unsigned long long>{0, 0, 0});
  integers<<<64, 256>>>(out, bits, wide);
  const std::vector<int> o = from_device(out, 4);
  const long long sum = static_cast<long long>(threads) * (threads - 1) / 2;
  EXPECT(o[0] == static_cast<int>(sum) && o[1] == static_cast<int>(-2 * sum));
  EXPECT(o[2] == 1 - threads && o[3] == threads - 1);
  print_sum("bits", from_device(bits, 5));
  const std::vector<unsigned> b = from_device(bits, 5);
  EXPECT(b[0] == 0xffff0000u && b[1] == ~0u && b[3] == threads % 100);
  const std::vector<unsigned long long> w = from_device(wide, 3);
  EXPECT(w[0] == (static_cast<unsigned long long>(threads) << 33) && w[1] == (threads - 1ull) << 20 &&
         w[2] == 77);
  pass("integers");

  float* f = on_device(std::vector<float>{0});
  double* d = on_device(std::vector<double>{0});
  floats<<<64, 256>>>(f, d);
  EXPECT(from_device(f, 1)[0] == threads * 0.5f && from_device(d, 1)[0] == threads * 0.25);
  pass("floating point");

  int* lock = on_device(std::vector<int>{0, 0});
  locked<<<8, 64>>>(lock, lock + 1);
  EXPECT(from_device(lock, 2)[1] == 8 * 64);
  pass("a lock");

  const int n = 1 << 20;
  std::vector<unsigned char> values(n);
  std::vector<int> expected(256, 0);
  for (int i = 0; i < n; i++) expected[values[i] = static_cast<unsigned char>((i * 2654435761u) >> 13)]++;
  unsigned char* on = on_device(values);
  int* bins = on_device(std::vector<int>(256, 0));
  in_shared<<<40, 256>>>(on, n, bins);
  EXPECT(from_device(bins, 256) == expected);
  pass("a histogram in shared memory");

  int *counter, *seen;
  CHECK(cudaHostAlloc(&counter, sizeof(int), cudaHostAllocMapped));
  CHECK(cudaHostGetDevicePointer(&seen, counter, 0));
  *counter = 5;
  for_the_host<<<10, 100>>>(seen);
  CHECK(cudaDeviceSynchronize());
  EXPECT(*counter == 1005);
  pass("at system scope, in host memory");
  CHECK(cudaFreeHost(counter));
}
