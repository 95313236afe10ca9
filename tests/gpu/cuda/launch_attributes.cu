// Launches by cudaLaunchKernelEx: priorities, programmatic dependent launch, large parameters, wrong shapes.
#include "check.cuh"

__global__ void produce(int* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
  if (i < n) x[i] = i;
}

__global__ void consume(const int* x, int* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  if (i < n) y[i] += 3 * x[i];
}

struct Large {
  double values[400];
};

__global__ void by_value(Large large, double* out, char letter, short number) {
  double sum = letter + number;
  for (double value : large.values) sum += value;
  *out = sum;
}

int main() {
  int n = 1 << 16;
  int* x = on_device(std::vector<int>(n, -1));
  int* y = on_device(std::vector<int>(n, 0));
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(n / 256);
  config.blockDim = dim3(256);
  config.stream = stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  int major = 0;
  CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  for (int round = 0; round < 20; round++) {
    config.numAttrs = 0;
    CHECK(cudaLaunchKernelEx(&config, produce, x, n));
    config.numAttrs = major >= 9 ? 1 : 0;
    CHECK(cudaLaunchKernelEx(&config, consume, static_cast<const int*>(x), y, n));
  }
  CHECK(cudaStreamSynchronize(stream));
  const std::vector<int> result = from_device(y, n);
  for (int i = 0; i < n; i++) EXPECT(result[i] == 60 * i);
  pass("programmatic dependent launch");

  int least = 0, greatest = 0;
  CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  attribute = {};
  attribute.id = cudaLaunchAttributePriority;
  attribute.val.priority = greatest;
  config.numAttrs = 1;
  CHECK(cudaLaunchKernelEx(&config, produce, x, n));
  CHECK(cudaStreamSynchronize(stream));
  pass("a priority for one launch");

  Large large{};
  for (int i = 0; i < 400; i++) large.values[i] = i;
  double* out = device_array<double>(1);
  by_value<<<1, 1, 0, stream>>>(large, out, 'a', static_cast<short>(-7));
  CHECK(cudaStreamSynchronize(stream));
  EXPECT(from_device(out, 1)[0] == 400 * 399 / 2 + 'a' - 7);
  pass("three kilobytes of parameters");

  void* arguments[] = {&x, &n};
  CHECK(cudaLaunchKernel(reinterpret_cast<void*>(produce), dim3(1), dim3(32), arguments, 0, stream));
  CHECK_ERROR(cudaErrorInvalidValue,
              cudaLaunchKernel(reinterpret_cast<void*>(produce), dim3(0), dim3(32), arguments, 0, stream));
  CHECK_ERROR(cudaErrorInvalidValue,
              cudaLaunchKernel(reinterpret_cast<void*>(produce), dim3(1), dim3(1025), arguments, 0, stream));
  (void)cudaGetLastError();
  CHECK(cudaStreamSynchronize(stream));
  pass("wrong launches are refused");
  CHECK(cudaStreamDestroy(stream));
}
