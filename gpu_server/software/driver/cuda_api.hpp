// cuda.h as the software GPU's driver needs it: every function under its exact exported name (cuMemAlloc_v2,
// not the macro cuMemAlloc) and with default visibility. A definition in this folder whose signature differs
// from NVIDIA's declaration does not compile; everything that cuda.h does not declare stays hidden.
#pragma once

#define __CUDA_API_VERSION_INTERNAL
#pragma GCC visibility push(default)
#include <cuda.h>

extern "C" {
// Declared by cudaProfiler.h, which the wheel does not carry.
CUresult CUDAAPI cuProfilerStart(void);
CUresult CUDAAPI cuProfilerStop(void);

// Our own: where text from device-side printf goes. Null restores standard output. `print` is called from one
// thread at a time, in the order of the work, before a synchronising call that waits for that work returns.
void tfusionSoftwareSetPrint(void (*print)(const char* text, size_t bytes, void* user), void* user);
}
#pragma GCC visibility pop
