// Variables of a module: constants, device variables, arrays and structures, their addresses and sizes.
#include <cstddef>

#include "check.cuh"

struct Settings {
  float scale;
  int shift;
  char name[8];
};

__constant__ Settings settings = {2.0f, 3, "initial"};
__constant__ float coefficients[16];
__device__ int counter = 40;
__device__ double matrix[8][8];
static __device__ int own[4] = {4, 3, 2, 1};

__global__ void apply(float* x, int n) {
  const int i = threadIdx.x;
  if (i < n) x[i] = coefficients[i % 16] * settings.scale + settings.shift;
  if (i == 0) counter += own[1];
  if (i < 64) matrix[i / 8][i % 8] = i * 0.5;
}

__global__ void name(char* out) {
  if (threadIdx.x < 8) out[threadIdx.x] = settings.name[threadIdx.x];
}

using Function = float (*)(float);
__device__ float doubled(float x) {
  return 2 * x;
}
__device__ float squared(float x) {
  return x * x;
}
__device__ Function functions[2] = {doubled, squared};

__global__ void by_pointer(float* x) {
  *x = functions[1](*x) + functions[0](*x);
}

int main() {
  const int n = 64;
  float* x = device_array<float>(n);
  std::vector<float> values(16);
  for (int i = 0; i < 16; i++) values[i] = static_cast<float>(i);
  CHECK(cudaMemcpyToSymbol(coefficients, values.data(), 16 * sizeof(float)));
  apply<<<1, n>>>(x, n);
  std::vector<float> result = from_device(x, n);
  for (int i = 0; i < n; i++) EXPECT(result[i] == static_cast<float>(i % 16) * 2 + 3);
  pass("constants, with and without a first value");

  int seen = 0;
  CHECK(cudaMemcpyFromSymbol(&seen, counter, sizeof seen));
  EXPECT(seen == 43);
  const int hundred = 100;
  CHECK(cudaMemcpyToSymbolAsync(counter, &hundred, sizeof hundred, 0, cudaMemcpyHostToDevice, 0));
  apply<<<1, n>>>(x, n);
  CHECK(cudaMemcpyFromSymbol(&seen, counter, sizeof seen));
  EXPECT(seen == 103);
  pass("a device variable");

  void* address = nullptr;
  std::size_t bytes = 0;
  CHECK(cudaGetSymbolAddress(&address, matrix));
  CHECK(cudaGetSymbolSize(&bytes, matrix));
  EXPECT(bytes == sizeof(double) * 64);
  EXPECT(from_device(static_cast<double*>(address), 64)[63] == 31.5);
  double part = 0;
  CHECK(cudaMemcpyFromSymbol(&part, matrix, sizeof part, 10 * sizeof(double)));
  EXPECT(part == 5.0);
  const int two = 2;
  CHECK(cudaMemcpyToSymbol(settings, &two, sizeof two, offsetof(Settings, shift)));
  apply<<<1, n>>>(x, n);
  EXPECT(from_device(x, 1)[0] == 2.0f);
  pass("addresses, sizes, parts");

  char* text = device_array<char>(8);
  name<<<1, 8>>>(text);
  std::printf("name %s\n", from_device(text, 8).data());
  float* argument = on_device(std::vector<float>{3.0f});
  by_pointer<<<1, 1>>>(argument);
  EXPECT(from_device(argument, 1)[0] == 15.0f);
  pass("structures and pointers to functions");

  CHECK_ERROR(cudaErrorInvalidSymbol, cudaGetSymbolAddress(&address, &hundred));
  (void)cudaGetLastError();
  CHECK_ERROR(cudaErrorInvalidValue, cudaMemcpyToSymbol(counter, values.data(), 64));
  (void)cudaGetLastError();
  pass("what is no symbol, and too much for one");
  CHECK(cudaFree(x));
}
