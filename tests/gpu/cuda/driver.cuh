// Driver API functions by name: the programs link with the CUDA runtime alone, so they start where there is
// no libcuda to link with. DRIVER(cuMemAlloc) is the function that cuda.h means by that name, with its
// version.
#pragma once

#include <cuda.h>
#include <dlfcn.h>

#include "check.cuh"

inline void* driver_symbol(const char* name) {
  static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
  EXPECT(library != nullptr);
  void* const symbol = dlsym(library, name);
  if (symbol == nullptr) {
    std::printf("FAIL the driver has no %s\n", name);
    std::exit(1);
  }
  return symbol;
}

#define DRIVER_TEXT(name) #name
#define DRIVER_NAME(name) DRIVER_TEXT(name)
#define DRIVER(name) reinterpret_cast<decltype(&name)>(driver_symbol(DRIVER_NAME(name)))

inline const char* driver_error(CUresult result) {
  const char* name = nullptr;
  DRIVER(cuGetErrorName)(result, &name);
  return name != nullptr ? name : "?";
}

// DCHECK(cuMemAlloc, &address, 16)
#define DCHECK(name, ...)                                                            \
  do {                                                                               \
    const CUresult result_ = DRIVER(name)(__VA_ARGS__);                              \
    if (result_ != CUDA_SUCCESS) {                                                   \
      std::printf("FAIL line %d: %s: %s\n", __LINE__, #name, driver_error(result_)); \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (false)

#define DCHECK_ERROR(error, name, ...)                                                               \
  do {                                                                                               \
    const CUresult result_ = DRIVER(name)(__VA_ARGS__);                                              \
    if (result_ != (error)) {                                                                        \
      std::printf("FAIL line %d: %s: %s, not %s\n", __LINE__, #name, driver_error(result_), #error); \
      std::exit(1);                                                                                  \
    }                                                                                                \
  } while (false)
