// Host functions in a stream: they run in its order, the stream waits for them, and they see what was copied
// before.
#include <atomic>
#include <thread>

#include "check.cuh"

__global__ void add(int* x, int term) {
  *x += term;
}

struct Diary {
  int* down;
  std::vector<int> seen;
};

void CUDART_CB write_down(void* data) {
  Diary* diary = static_cast<Diary*>(data);
  diary->seen.push_back(*diary->down);
  *diary->down = -1;
}

void CUDART_CB set_input(void* data) {
  *static_cast<int*>(data) = 500;
}

void CUDART_CB wait_for_leave(void* data) {
  while (!static_cast<std::atomic<bool>*>(data)->load()) std::this_thread::yield();
}

void CUDART_CB calls_cuda(void* data) {
  void* pointer = nullptr;
  *static_cast<cudaError_t*>(data) = cudaMalloc(&pointer, 16);
}

void CUDART_CB old_style(cudaStream_t, cudaError_t status, void* data) {
  *static_cast<int*>(data) = status == cudaSuccess ? 1 : 2;
}

int main() {
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  int* x = on_device(std::vector<int>{0});
  int* down;
  CHECK(cudaMallocHost(&down, sizeof(int)));
  Diary diary{down, {}};
  for (int i = 1; i <= 100; i++) {
    add<<<1, 1, 0, stream>>>(x, i);
    CHECK(cudaMemcpyAsync(down, x, sizeof(int), cudaMemcpyDeviceToHost, stream));
    CHECK(cudaLaunchHostFunc(stream, write_down, &diary));
  }
  CHECK(cudaStreamSynchronize(stream));
  EXPECT(diary.seen.size() == 100);
  for (int i = 1; i <= 100; i++) EXPECT(diary.seen[i - 1] == i * (i + 1) / 2);
  print_sum("diary", diary.seen);
  pass("a hundred functions in the stream's order");

  // What a function writes, the next copy reads.
  CHECK(cudaLaunchHostFunc(stream, set_input, down));
  CHECK(cudaMemcpyAsync(x, down, sizeof(int), cudaMemcpyHostToDevice, stream));
  add<<<1, 1, 0, stream>>>(x, 1);
  CHECK(cudaStreamSynchronize(stream));
  EXPECT(from_device(x, 1)[0] == 501);
  pass("the stream waits for a function's writes");

  std::atomic<bool> leave{false};
  CHECK(cudaLaunchHostFunc(stream, wait_for_leave, &leave));
  add<<<1, 1, 0, stream>>>(x, 1);
  EXPECT(cudaStreamQuery(stream) == cudaErrorNotReady);
  leave = true;
  CHECK(cudaStreamSynchronize(stream));
  EXPECT(from_device(x, 1)[0] == 502);
  pass("the stream waits for a function's end");

  cudaError_t inside = cudaSuccess;
  CHECK(cudaLaunchHostFunc(stream, calls_cuda, &inside));
  CHECK(cudaStreamSynchronize(stream));
  std::printf("a call from inside: %s\n", cudaGetErrorName(inside));
  EXPECT(inside != cudaSuccess);
  (void)cudaGetLastError();
  pass("a function may not call CUDA");

  int called = 0;
  CHECK(cudaStreamAddCallback(stream, old_style, &called, 0));
  CHECK(cudaStreamSynchronize(stream));
  EXPECT(called == 1);
  pass("callbacks of the older kind");

  CHECK(cudaFreeHost(down));
  CHECK(cudaFree(x));
  CHECK(cudaStreamDestroy(stream));
}
