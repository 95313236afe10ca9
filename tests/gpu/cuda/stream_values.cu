// Stream memory operations of the driver API: a stream writes a word, another waits for it.
#include "driver.cuh"

__global__ void add(int* x, int term) {
  *x += term;
}

int main() {
  CHECK(cudaFree(nullptr));
  int* x = on_device(std::vector<int>{0, 0});
  const CUdeviceptr word = reinterpret_cast<CUdeviceptr>(x + 1);
  cudaStream_t first, second;
  CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
  CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
  // The waiting stream is filled first: only the written word lets it go on.
  DCHECK(cuStreamWaitValue32, second, word, 7, CU_STREAM_WAIT_VALUE_GEQ);
  add<<<1, 1, 0, second>>>(x, 100);
  EXPECT(cudaStreamQuery(second) == cudaErrorNotReady);
  (void)cudaGetLastError();
  DCHECK(cuStreamWriteValue32, first, word, 7, CU_STREAM_WRITE_VALUE_DEFAULT);
  CHECK(cudaStreamSynchronize(first));
  CHECK(cudaStreamSynchronize(second));
  const std::vector<int> seen = from_device(x, 2);
  EXPECT(seen[0] == 100 && seen[1] == 7);
  pass("a stream waits for a word that another writes");
  CHECK(cudaStreamDestroy(first));
  CHECK(cudaStreamDestroy(second));
  CHECK(cudaFree(x));
}
