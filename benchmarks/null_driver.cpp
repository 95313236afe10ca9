// A libcuda.so.1 that does nothing: every call the worker makes succeeds at once. Benchmarks measure with it
// what the ring and the replay core cost by themselves; the fuzz target replays commands on it. Not
// installed.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#define NOTHING(name, ...)     \
  CUresult name(__VA_ARGS__) { \
    return CUDA_SUCCESS;       \
  }

namespace {

std::atomic<std::uintptr_t> next_handle{0x1000};

template <typename T>
CUresult give(T* out) {
  *out = reinterpret_cast<T>(next_handle.fetch_add(16, std::memory_order_relaxed));
  return CUDA_SUCCESS;
}

template <typename T, typename V>
CUresult set(T* out, V value) {
  if (out != nullptr) *out = static_cast<T>(value);
  return CUDA_SUCCESS;
}

// Kernels of every module: name, and how many 8-byte parameters.
struct NullKernel {
  const char* name;
  std::size_t parameters;
} const kKernels[] = {{"nothing", 0}, {"eight", 8}};

std::size_t parameters_of(const void* kernel) {
  return reinterpret_cast<std::uintptr_t>(kernel) == 2 ? kKernels[1].parameters : kKernels[0].parameters;
}

template <typename T>
CUresult kernel_named(T* out, const char* name) {
  for (std::uintptr_t i = 0; i < 2; ++i) {
    if (std::strcmp(name, kKernels[i].name) == 0) {
      *out = reinterpret_cast<T>(i + 1);
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_NOT_FOUND;
}

CUresult parameter(const void* kernel, std::size_t index, std::size_t* offset, std::size_t* bytes) {
  if (index >= parameters_of(kernel)) return CUDA_ERROR_INVALID_VALUE;
  set(offset, index * 8);
  return set(bytes, 8);
}

}  // namespace

extern "C" {
#pragma GCC visibility push(default)

NOTHING(cuInit, unsigned)
CUresult cuDriverGetVersion(int* v) {
  return set(v, 13000);
}
CUresult cuGetErrorName(CUresult, const char** s) {
  return *s = "CUDA_ERROR_UNKNOWN", CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult, const char** s) {
  return *s = "an error of the null driver", CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice* d, int) {
  return set(d, 0);
}
CUresult cuDeviceGetName(char* s, int n, CUdevice) {
  return std::snprintf(s, static_cast<size_t>(n), "Null GPU"), CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t* b, CUdevice) {
  return set(b, size_t{1} << 40);
}
CUresult cuDeviceGetAttribute(int* v, CUdevice_attribute a, CUdevice) {
  switch (a) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return set(v, 9);
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return set(v, 0);
    default:
      return set(v, 1024);
  }
}
CUresult cuDeviceGetPCIBusId(char* s, int n, CUdevice) {
  return std::snprintf(s, static_cast<size_t>(n), "0000:00:00.0"), CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* c, CUdevice) {
  return give(c);
}
NOTHING(cuDevicePrimaryCtxReset_v2, CUdevice)
NOTHING(cuDevicePrimaryCtxSetFlags_v2, CUdevice, unsigned)
CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* f, int* a) {
  return set(f, 0), set(a, 1);
}
NOTHING(cuCtxSetCurrent, CUcontext)
CUresult cuCtxGetApiVersion(CUcontext, unsigned* v) {
  return set(v, 3020);
}
CUresult cuCtxGetLimit(size_t* v, CUlimit) {
  return set(v, 0);
}
NOTHING(cuCtxSetLimit, CUlimit, size_t)
CUresult cuCtxGetStreamPriorityRange(int* l, int* g) {
  return set(l, 0), set(g, 0);
}
NOTHING(cuCtxResetPersistingL2Cache)
CUresult cuStreamCreateWithPriority(CUstream* s, unsigned, int) {
  return give(s);
}
NOTHING(cuStreamDestroy_v2, CUstream)
NOTHING(cuStreamQuery, CUstream)
NOTHING(cuStreamWaitEvent, CUstream, CUevent, unsigned)
CUresult cuEventCreate(CUevent* e, unsigned) {
  return give(e);
}
NOTHING(cuEventDestroy_v2, CUevent)
NOTHING(cuEventQuery, CUevent)
NOTHING(cuStreamSynchronize, CUstream)
NOTHING(cuLaunchHostFunc, CUstream, CUhostFn, void*)
NOTHING(cuEventRecord, CUevent, CUstream)
NOTHING(cuEventRecordWithFlags, CUevent, CUstream, unsigned)
CUresult cuEventElapsedTime(float* ms, CUevent, CUevent) {
  return set(ms, 0.0);
}
CUresult cuMemAddressReserve(CUdeviceptr* p, size_t, size_t, CUdeviceptr at, unsigned long long) {
  return set(p, at);
}
NOTHING(cuMemAddressFree, CUdeviceptr, size_t)
CUresult cuMemCreate(CUmemGenericAllocationHandle* h, size_t, const CUmemAllocationProp*,
                     unsigned long long) {
  return set(h, 1);
}
NOTHING(cuMemRelease, CUmemGenericAllocationHandle)
NOTHING(cuMemMap, CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long)
NOTHING(cuMemUnmap, CUdeviceptr, size_t)
NOTHING(cuMemSetAccess, CUdeviceptr, size_t, const CUmemAccessDesc*, size_t)
CUresult cuMemGetAllocationGranularity(size_t* g, const CUmemAllocationProp*,
                                       CUmemAllocationGranularity_flags) {
  return set(g, 2 << 20);
}
NOTHING(cuMemHostRegister_v2, void*, size_t, unsigned)
NOTHING(cuMemHostUnregister, void*)
NOTHING(cuMemcpyHtoDAsync_v2, CUdeviceptr, const void*, size_t, CUstream)
NOTHING(cuMemcpyDtoHAsync_v2, void*, CUdeviceptr, size_t, CUstream)
NOTHING(cuMemcpyDtoDAsync_v2, CUdeviceptr, CUdeviceptr, size_t, CUstream)
NOTHING(cuMemcpyAsync, CUdeviceptr, CUdeviceptr, size_t, CUstream)
NOTHING(cuMemcpy2DAsync_v2, const CUDA_MEMCPY2D*, CUstream)
NOTHING(cuMemcpy3DAsync_v2, const CUDA_MEMCPY3D*, CUstream)
CUresult cuArray3DCreate_v2(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR*) {
  return give(array);
}
NOTHING(cuArrayDestroy, CUarray)
CUresult cuMipmappedArrayCreate(CUmipmappedArray* array, const CUDA_ARRAY3D_DESCRIPTOR*, unsigned) {
  return give(array);
}
NOTHING(cuMipmappedArrayDestroy, CUmipmappedArray)
CUresult cuMipmappedArrayGetLevel(CUarray* level, CUmipmappedArray, unsigned) {
  return give(level);
}
CUresult cuTexObjectCreate(CUtexObject* texture, const CUDA_RESOURCE_DESC*, const CUDA_TEXTURE_DESC*,
                           const CUDA_RESOURCE_VIEW_DESC*) {
  return set(texture, next_handle.fetch_add(16, std::memory_order_relaxed));
}
NOTHING(cuTexObjectDestroy, CUtexObject)
CUresult cuSurfObjectCreate(CUsurfObject* surface, const CUDA_RESOURCE_DESC*) {
  return set(surface, next_handle.fetch_add(16, std::memory_order_relaxed));
}
NOTHING(cuSurfObjectDestroy, CUsurfObject)
NOTHING(cuMemsetD8Async, CUdeviceptr, unsigned char, size_t, CUstream)
NOTHING(cuMemsetD16Async, CUdeviceptr, unsigned short, size_t, CUstream)
NOTHING(cuMemsetD32Async, CUdeviceptr, unsigned, size_t, CUstream)
NOTHING(cuMemsetD2D8Async, CUdeviceptr, size_t, unsigned char, size_t, size_t, CUstream)
NOTHING(cuMemsetD2D16Async, CUdeviceptr, size_t, unsigned short, size_t, size_t, CUstream)
NOTHING(cuMemsetD2D32Async, CUdeviceptr, size_t, unsigned, size_t, size_t, CUstream)
CUresult cuLibraryLoadData(CUlibrary* l, const void*, CUjit_option*, void**, unsigned, CUlibraryOption*,
                           void**, unsigned) {
  return give(l);
}
NOTHING(cuLibraryUnload, CUlibrary)
CUresult cuLibraryGetKernel(CUkernel* k, CUlibrary, const char* name) {
  return kernel_named(k, name);
}
CUresult cuLibraryGetGlobal(CUdeviceptr*, size_t*, CUlibrary, const char*) {
  return CUDA_ERROR_NOT_FOUND;
}
CUresult cuLibraryGetKernelCount(unsigned* n, CUlibrary) {
  return set(n, 2);
}
CUresult cuLibraryEnumerateKernels(CUkernel* k, unsigned n, CUlibrary) {
  for (std::uintptr_t i = 0; i < n && i < 2; ++i) k[i] = reinterpret_cast<CUkernel>(i + 1);
  return CUDA_SUCCESS;
}
CUresult cuKernelGetName(const char** s, CUkernel k) {
  return *s = kKernels[reinterpret_cast<std::uintptr_t>(k) - 1].name, CUDA_SUCCESS;
}
CUresult cuKernelGetFunction(CUfunction* f, CUkernel k) {
  return *f = reinterpret_cast<CUfunction>(k), CUDA_SUCCESS;
}
CUresult cuKernelGetParamInfo(CUkernel k, size_t i, size_t* o, size_t* n) {
  return parameter(k, i, o, n);
}
CUresult cuFuncGetAttribute(int* v, CUfunction_attribute, CUfunction) {
  return set(v, 1024);
}
NOTHING(cuFuncSetAttribute, CUfunction, CUfunction_attribute, int)
NOTHING(cuFuncSetCacheConfig, CUfunction, CUfunc_cache)
CUresult cuModuleLoadDataEx(CUmodule* m, const void*, unsigned, CUjit_option*, void**) {
  return give(m);
}
NOTHING(cuModuleUnload, CUmodule)
CUresult cuModuleGetFunction(CUfunction* f, CUmodule, const char* name) {
  return kernel_named(f, name);
}
CUresult cuModuleGetGlobal_v2(CUdeviceptr*, size_t*, CUmodule, const char*) {
  return CUDA_ERROR_NOT_FOUND;
}
CUresult cuModuleGetFunctionCount(unsigned* n, CUmodule) {
  return set(n, 2);
}
CUresult cuModuleEnumerateFunctions(CUfunction* f, unsigned n, CUmodule) {
  for (std::uintptr_t i = 0; i < n && i < 2; ++i) f[i] = reinterpret_cast<CUfunction>(i + 1);
  return CUDA_SUCCESS;
}
CUresult cuFuncGetName(const char** s, CUfunction f) {
  return *s = kKernels[reinterpret_cast<std::uintptr_t>(f) - 1].name, CUDA_SUCCESS;
}
CUresult cuFuncGetParamInfo(CUfunction f, size_t i, size_t* o, size_t* n) {
  return parameter(f, i, o, n);
}
NOTHING(cuLaunchKernelEx, const CUlaunchConfig*, CUfunction, void**, void**)
CUresult cuLinkCreate_v2(unsigned, CUjit_option*, void**, CUlinkState* s) {
  return give(s);
}
NOTHING(cuLinkAddData_v2, CUlinkState, CUjitInputType, void*, size_t, const char*, unsigned, CUjit_option*,
        void**)
CUresult cuLinkComplete(CUlinkState, void** image, size_t* n) {
  static char linked[] = "linked";
  return *image = linked, set(n, sizeof linked);
}
NOTHING(cuLinkDestroy, CUlinkState)
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, CUfunction, int, size_t, unsigned) {
  return set(n, 1);
}
CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* n, CUfunction, int, int) {
  return set(n, 0);
}
CUresult cuOccupancyMaxActiveClusters(int* n, CUfunction, const CUlaunchConfig*) {
  return set(n, 1);
}

#pragma GCC visibility pop
}  // extern "C"
