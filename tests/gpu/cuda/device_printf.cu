// printf in kernels: its text is on stdout before the synchronising call returns, between the host's own
// lines.
#include "check.cuh"

__global__ void greet(int launch) {
  printf("kernel %d says: %s %5.2f %c %llx %%\n", launch, "text", 2.5, 'x', 0x123456789abcull);
}

__global__ void one_by_one(int count) {
  for (int i = 0; i < count; i++) printf("line %d of %d\n", i, count);
}

__global__ void no_newline() {
  printf("[no newline]");
}

__global__ void returned(int* out) {
  out[0] = printf("%d %d\n", 1, 2);
}

void say(const char* text) {
  std::printf("%s\n", text);
  std::fflush(stdout);
}

int main() {
  // Before anything prints: later it cannot be changed.
  std::size_t bytes = 0;
  CHECK(cudaDeviceSetLimit(cudaLimitPrintfFifoSize, 4 << 20));
  CHECK(cudaDeviceGetLimit(&bytes, cudaLimitPrintfFifoSize));
  EXPECT(bytes >= 4 << 20);
  say("host before");
  greet<<<1, 1>>>(1);
  greet<<<1, 1>>>(2);
  CHECK(cudaDeviceSynchronize());
  say("host between");
  one_by_one<<<1, 1>>>(50);
  CHECK(cudaStreamSynchronize(0));
  say("host after fifty");
  no_newline<<<1, 1>>>();
  CHECK(cudaDeviceSynchronize());
  say("");
  int* out = device_array<int>(1);
  returned<<<1, 1>>>(out);
  CHECK(cudaDeviceSynchronize());
  EXPECT(from_device(out, 1)[0] == 2);  // how many arguments, unlike the host's printf
  CHECK(cudaFree(out));
  pass("printf");
}
