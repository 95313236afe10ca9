// Many host threads at once, each with streams and memory of its own; and a stream that several threads use.
#include <atomic>
#include <thread>

#include "check.cuh"

__global__ void mix(unsigned* x, int n, unsigned seed) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = (x[i] ^ seed) * 2654435761u + i;
}

__global__ void increment(int* x) {
  atomicAdd(x, 1);
}

int main() {
  const int threads = 8, rounds = 60, n = 10'000;
  std::vector<std::uint64_t> sums(threads);
  std::vector<std::thread> running;
  for (int t = 0; t < threads; t++) {
    running.emplace_back([t, &sums] {
      cudaStream_t stream;
      CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
      std::vector<unsigned> host(n, t), expected(n, t);
      for (int round = 0; round < rounds; round++) {
        unsigned* x = device_array<unsigned>(n);
        CHECK(cudaMemcpyAsync(x, host.data(), n * sizeof(unsigned), cudaMemcpyHostToDevice, stream));
        mix<<<(n + 255) / 256, 256, 0, stream>>>(x, n, round);
        CHECK(cudaMemcpyAsync(host.data(), x, n * sizeof(unsigned), cudaMemcpyDeviceToHost, stream));
        CHECK(cudaStreamSynchronize(stream));
        CHECK(cudaFree(x));
        for (int i = 0; i < n; i++) expected[i] = (expected[i] ^ round) * 2654435761u + i;
        EXPECT(host == expected);
      }
      sums[t] = checksum(host.data(), n * sizeof(unsigned));
      CHECK(cudaStreamDestroy(stream));
    });
  }
  for (std::thread& thread : running) thread.join();
  print_sum("sums", sums);
  pass("eight threads with streams of their own");

  running.clear();
  int* counter = on_device(std::vector<int>{0});
  cudaStream_t shared;
  CHECK(cudaStreamCreate(&shared));
  for (int t = 0; t < threads; t++) {
    running.emplace_back([=] {
      for (int round = 0; round < 500; round++) {
        increment<<<1, 4, 0, shared>>>(counter);
        if (round % 50 == 0) CHECK(cudaStreamSynchronize(shared));
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  CHECK(cudaDeviceSynchronize());
  EXPECT(from_device(counter, 1)[0] == threads * 500 * 4);
  pass("one stream, eight threads");

  // The stream per thread: the same name is another stream in each thread.
  running.clear();
  std::atomic<int> right{0};
  for (int t = 0; t < threads; t++) {
    running.emplace_back([&] {
      int* mine = on_device(std::vector<int>{0});
      for (int i = 0; i < 100; i++) increment<<<1, 1, 0, cudaStreamPerThread>>>(mine);
      int value = 0;
      CHECK(cudaMemcpyAsync(&value, mine, sizeof value, cudaMemcpyDeviceToHost, cudaStreamPerThread));
      CHECK(cudaStreamSynchronize(cudaStreamPerThread));
      right += value == 100;
      CHECK(cudaFree(mine));
    });
  }
  for (std::thread& thread : running) thread.join();
  EXPECT(right == threads);
  pass("a default stream for each thread");
}
