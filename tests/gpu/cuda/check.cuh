// What the conformance programs share: checking calls and conditions, and printing results so that two runs
// compare. A program prints what it computed, a PASS line for each part that held, and exits 0. Natively and
// under a slice it must print the same, so it prints nothing that may differ: no addresses, times, names of
// devices or amounts of memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define CHECK(call)                                                                      \
  do {                                                                                   \
    const cudaError_t status_ = (call);                                                  \
    if (status_ != cudaSuccess) {                                                        \
      std::printf("FAIL line %d: %s: %s\n", __LINE__, #call, cudaGetErrorName(status_)); \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (false)

// The call must give this error, and no other.
#define CHECK_ERROR(error, call)                                                                         \
  do {                                                                                                   \
    const cudaError_t status_ = (call);                                                                  \
    if (status_ != (error)) {                                                                            \
      std::printf("FAIL line %d: %s: %s, not %s\n", __LINE__, #call, cudaGetErrorName(status_), #error); \
      std::exit(1);                                                                                      \
    }                                                                                                    \
  } while (false)

#define EXPECT(condition)                                      \
  do {                                                         \
    if (!(condition)) {                                        \
      std::printf("FAIL line %d: %s\n", __LINE__, #condition); \
      std::exit(1);                                            \
    }                                                          \
  } while (false)

// FNV-1a of the bytes: equal results have equal sums.
inline std::uint64_t checksum(const void* data, std::size_t bytes) {
  std::uint64_t sum = 14695981039346656037u;
  for (std::size_t i = 0; i < bytes; i++) {
    sum = (sum ^ static_cast<const unsigned char*>(data)[i]) * 1099511628211u;
  }
  return sum;
}

template <typename T>
void print_sum(const char* what, const std::vector<T>& values) {
  std::printf("%s %016llx\n", what,
              static_cast<unsigned long long>(checksum(values.data(), values.size() * sizeof(T))));
}

template <typename T>
T* device_array(std::size_t count) {
  T* pointer = nullptr;
  CHECK(cudaMalloc(&pointer, count * sizeof(T)));
  return pointer;
}

template <typename T>
T* on_device(const std::vector<T>& values) {
  T* pointer = device_array<T>(values.size());
  CHECK(cudaMemcpy(pointer, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  return pointer;
}

template <typename T>
std::vector<T> from_device(const T* pointer, std::size_t count) {
  std::vector<T> values(count);
  CHECK(cudaMemcpy(values.data(), pointer, count * sizeof(T), cudaMemcpyDeviceToHost));
  return values;
}

inline void pass(const char* what) {
  std::printf("PASS %s\n", what);
}
