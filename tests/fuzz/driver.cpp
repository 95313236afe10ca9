// A libcuda.so.1 for fuzzing: it does nothing, but keeps book of every object, mapping and pinned range, and
// aborts when the worker breaks a rule that a real driver relies on, such as the use of a kernel after its
// module is gone. Memory that it is handed is read or written as far as the call says, so that
// AddressSanitizer sees what would be overrun.
//
// Answers (busy or done, success or an error) are drawn from a generator that fuzz_driver_begin() seeds, so
// an input always meets the same driver. For one thread.
#include <string>

#include "driver_state.hpp"

namespace fuzz_driver {

State& state() {
  static State& the = *new State;
  return the;
}

namespace {

constexpr unsigned kManyKernels = 400;
volatile unsigned char sink;

Module& module_lives(const void* module) {
  const auto found = state().modules.find(number(module));
  if (found == state().modules.end()) broken("a dead module", number(module));
  return found->second;
}
Link& link_lives(CUlinkState link) {
  const auto found = state().links.find(number(link));
  if (found == state().links.end()) broken("a dead link", number(link));
  return found->second;
}

std::vector<Logs> logs_of(unsigned count, const CUjit_option* options, void* const* values) {
  Logs info, error;
  for (unsigned i = 0; i < count; ++i) {
    if (options[i] == CU_JIT_INFO_LOG_BUFFER) info.text = static_cast<char*>(values[i]);
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) error.text = static_cast<char*>(values[i]);
    if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES) info.bytes = number(values[i]);
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) error.bytes = number(values[i]);
  }
  return {info, error};
}

void write_logs(const std::vector<Logs>& logs) {
  for (const Logs& log : logs) {
    if (draw(3) == 0) log.write();
  }
}

template <typename Handle>
CUresult load(Handle* out, const void* image, unsigned options, const CUjit_option* names,
              void* const* values) {
  write_logs(logs_of(options, names, values));
  sink = static_cast<const unsigned char*>(image)[0] == 0x7f
             ? 0
             : static_cast<unsigned char>(std::strlen(static_cast<const char*>(image)));
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *out = fresh<Handle>();
  state().modules[number(*out)];
  return CUDA_SUCCESS;
}

CUresult unload(const void* handle) {
  for (const std::uintptr_t kernel : module_lives(handle).kernels) state().kernels.erase(kernel);
  state().modules.erase(number(handle));
  return luck();
}

template <typename Handle>
CUresult kernel_of(Handle* out, const void* module, const char* name) {
  Module& m = module_lives(module);
  if (std::strchr(name, 'k') == nullptr) return CUDA_ERROR_NOT_FOUND;
  *out = fresh<Handle>();
  m.kernels.insert(number(*out));
  state().kernels[number(*out)] = number(module);
  return CUDA_SUCCESS;
}

CUresult global_of(CUdeviceptr* address, std::size_t* bytes, const void* module, const char* name) {
  Module& m = module_lives(module);
  if (std::strchr(name, 'v') == nullptr) return CUDA_ERROR_NOT_FOUND;
  if (m.global == 0) m.global = kGlobals + number(module) * 4096;
  *address = m.global;
  *bytes = kGlobalBytes;
  return CUDA_SUCCESS;
}

template <typename Handle>
CUresult enumerate(Handle* out, unsigned room, const void* module) {
  module_lives(module);
  for (unsigned i = 0; i < room && i < kManyKernels; ++i)
    out[i] = reinterpret_cast<Handle>(std::uintptr_t{i} + 1);
  return CUDA_SUCCESS;
}

CUresult name_of(const char** name, const void* kernel) {
  static const std::string long_name(5000, 'n');
  *name = number(kernel) % 100 == 99 ? long_name.c_str() : "a_kernel_of_this_module";
  return CUDA_SUCCESS;
}

CUresult parameter(const void* kernel, std::size_t index, std::size_t* offset, std::size_t* bytes) {
  kernel_lives(kernel);
  if (index >= number(kernel) / 16 % 3 * 300) return CUDA_ERROR_INVALID_VALUE;
  *offset = index * 8;
  *bytes = 8;
  return CUDA_SUCCESS;
}

}  // namespace

void read_all(const void* memory, std::size_t bytes) {
  unsigned char all = 0;
  for (std::size_t i = 0; i < bytes; ++i) all ^= static_cast<const unsigned char*>(memory)[i];
  sink = all;
}

}  // namespace fuzz_driver

using namespace fuzz_driver;

// Forgets everything but what is pinned below the session (the staging area); the target calls it before each
// input.
EXPORT void fuzz_driver_begin(std::uint64_t seed, std::uint64_t staging) {
  auto pinned = std::move(state().pinned);
  state() = State{};
  state().random = seed;
  for (const auto& [address, bytes] : pinned) {
    if (address == staging) state().pinned[address] = bytes;
  }
}

EXPORT CUresult cuInit(unsigned) {
  return CUDA_SUCCESS;
}
EXPORT CUresult cuDriverGetVersion(int* v) {
  return set(v, 13000);
}
EXPORT CUresult cuGetErrorName(CUresult, const char** s) {
  return *s = "CUDA_ERROR", CUDA_SUCCESS;
}
EXPORT CUresult cuGetErrorString(CUresult, const char** s) {
  return *s = "an error", CUDA_SUCCESS;
}
EXPORT CUresult cuDeviceGet(CUdevice* d, int) {
  return set(d, 0);
}
EXPORT CUresult cuDeviceGetName(char* s, int n, CUdevice) {
  return std::snprintf(s, static_cast<std::size_t>(n), "Fuzz GPU"), CUDA_SUCCESS;
}
EXPORT CUresult cuDeviceTotalMem_v2(std::size_t* b, CUdevice) {
  return set(b, std::size_t{1} << 40);
}
EXPORT CUresult cuDeviceGetAttribute(int* v, CUdevice_attribute, CUdevice) {
  return set(v, 9);
}
EXPORT CUresult cuDeviceGetPCIBusId(char* s, int n, CUdevice) {
  return std::snprintf(s, static_cast<std::size_t>(n), "0000:00:00.0"), CUDA_SUCCESS;
}
EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* c, CUdevice) {
  return *c = reinterpret_cast<CUcontext>(16), CUDA_SUCCESS;
}
EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice) {
  State& s = state();
  captures_end();
  if (!s.graphs.empty() || !s.execs.empty())
    broken("resets a context that still has graphs", s.graphs.size());
  s.streams.clear(), s.events.clear(), s.modules.clear(), s.kernels.clear();
  if (!s.arrays.empty() || !s.mipmapped.empty() || !s.textures.empty() || !s.surfaces.empty())
    broken("resets a context that still has arrays or textures", s.arrays.size());
  return CUDA_SUCCESS;
}
EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice, unsigned) {
  return CUDA_SUCCESS;
}
EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* f, int* a) {
  return set(f, 0), set(a, 1);
}
EXPORT CUresult cuCtxSetCurrent(CUcontext) {
  return CUDA_SUCCESS;
}
EXPORT CUresult cuCtxGetApiVersion(CUcontext, unsigned* v) {
  return set(v, 3020);
}
EXPORT CUresult cuCtxGetLimit(std::size_t* v, CUlimit) {
  return set(v, 1024);
}
EXPORT CUresult cuCtxSetLimit(CUlimit, std::size_t) {
  return luck();
}
EXPORT CUresult cuCtxGetStreamPriorityRange(int* l, int* g) {
  return set(l, 0), set(g, -5);
}
EXPORT CUresult cuCtxResetPersistingL2Cache() {
  return luck();
}

EXPORT CUresult cuLibraryLoadData(CUlibrary* l, const void* image, CUjit_option* o, void** v, unsigned n,
                                  CUlibraryOption*, void**, unsigned) {
  return load(l, image, n, o, v);
}
EXPORT CUresult cuModuleLoadDataEx(CUmodule* m, const void* image, unsigned n, CUjit_option* o, void** v) {
  return load(m, image, n, o, v);
}
EXPORT CUresult cuLibraryUnload(CUlibrary l) {
  return unload(l);
}
EXPORT CUresult cuModuleUnload(CUmodule m) {
  return unload(m);
}
EXPORT CUresult cuLibraryGetKernel(CUkernel* k, CUlibrary l, const char* name) {
  return kernel_of(k, l, name);
}
EXPORT CUresult cuModuleGetFunction(CUfunction* f, CUmodule m, const char* name) {
  return kernel_of(f, m, name);
}
EXPORT CUresult cuLibraryGetGlobal(CUdeviceptr* p, std::size_t* n, CUlibrary l, const char* name) {
  return global_of(p, n, l, name);
}
EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr* p, std::size_t* n, CUmodule m, const char* name) {
  return global_of(p, n, m, name);
}
EXPORT CUresult cuLibraryGetKernelCount(unsigned* n, CUlibrary l) {
  return module_lives(l), set(n, kManyKernels);
}
EXPORT CUresult cuModuleGetFunctionCount(unsigned* n, CUmodule m) {
  return module_lives(m), set(n, kManyKernels);
}
EXPORT CUresult cuLibraryEnumerateKernels(CUkernel* k, unsigned n, CUlibrary l) {
  return enumerate(k, n, l);
}
EXPORT CUresult cuModuleEnumerateFunctions(CUfunction* f, unsigned n, CUmodule m) {
  return enumerate(f, n, m);
}
EXPORT CUresult cuKernelGetName(const char** s, CUkernel k) {
  return name_of(s, k);
}
EXPORT CUresult cuFuncGetName(const char** s, CUfunction f) {
  return name_of(s, f);
}
EXPORT CUresult cuKernelGetFunction(CUfunction* f, CUkernel k) {
  kernel_lives(k);
  *f = reinterpret_cast<CUfunction>(k);
  return luck();
}
EXPORT CUresult cuKernelGetParamInfo(CUkernel k, std::size_t i, std::size_t* o, std::size_t* n) {
  return parameter(k, i, o, n);
}
EXPORT CUresult cuFuncGetParamInfo(CUfunction f, std::size_t i, std::size_t* o, std::size_t* n) {
  return parameter(f, i, o, n);
}
EXPORT CUresult cuFuncGetAttribute(int* v, CUfunction_attribute, CUfunction f) {
  return kernel_lives(f), set(v, 1024), luck();
}
EXPORT CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute, int) {
  return kernel_lives(f), luck();
}
EXPORT CUresult cuFuncSetCacheConfig(CUfunction f, CUfunc_cache) {
  return kernel_lives(f), luck();
}

EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction f, void** parameters, void** extra) {
  kernel_lives(f);
  if (parameters != nullptr) broken("passes parameters one by one", 0);
  for (unsigned i = 0; i < c->numAttrs; ++i) {
    const CUlaunchAttribute& a = c->attrs[i];
    read_all(&a, sizeof a);
    if (a.id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT) event_lives(a.value.programmaticEvent.event);
    if (a.id == CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT) event_lives(a.value.launchCompletionEvent.event);
  }
  CUDA_KERNEL_NODE_PARAMS node{};
  node.func = f;
  node.extra = extra;
  return on(c->hStream, kernel_work(node));
}

EXPORT CUresult cuLinkCreate_v2(unsigned n, CUjit_option* o, void** v, CUlinkState* s) {
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *s = fresh<CUlinkState>();
  state().links[number(*s)].logs = logs_of(n, o, v);
  return CUDA_SUCCESS;
}
// What was linked is gone when more is added, as it may be with a driver; the buffers of this call are kept
// as well.
EXPORT CUresult cuLinkAddData_v2(CUlinkState s, CUjitInputType type, void* data, std::size_t n,
                                 const char* name, unsigned options, CUjit_option* o, void** v) {
  Link& link = link_lives(s);
  read_all(data, n);
  sink = static_cast<unsigned char>(std::strlen(name));
  if (type == CU_JIT_INPUT_PTX)
    sink = static_cast<unsigned char>(std::strlen(static_cast<const char*>(data)));
  for (const Logs& log : logs_of(options, o, v)) link.logs.push_back(log);
  link.linked.reset();
  write_logs(link.logs);
  return luck();
}
EXPORT CUresult cuLinkComplete(CUlinkState s, void** image, std::size_t* n) {
  Link& link = link_lives(s);
  write_logs(link.logs);
  link.linked.reset();
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *n = 1 + draw(3000);
  link.linked = std::make_unique<char[]>(*n);
  *image = link.linked.get();
  return CUDA_SUCCESS;
}
EXPORT CUresult cuLinkDestroy(CUlinkState s) {
  write_logs(link_lives(s).logs);
  state().links.erase(number(s));
  return CUDA_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, CUfunction f, int, std::size_t,
                                                                     unsigned) {
  return kernel_lives(f), set(n, 1), luck();
}
EXPORT CUresult cuOccupancyAvailableDynamicSMemPerBlock(std::size_t* n, CUfunction f, int, int) {
  return kernel_lives(f), set(n, 1), luck();
}
EXPORT CUresult cuOccupancyMaxActiveClusters(int* n, CUfunction f, const CUlaunchConfig* c) {
  for (unsigned i = 0; i < c->numAttrs; ++i) read_all(&c->attrs[i], sizeof c->attrs[i]);
  return kernel_lives(f), set(n, 1), luck();
}
EXPORT CUresult cuOccupancyMaxPotentialClusterSize(int* n, CUfunction f, const CUlaunchConfig* c) {
  return cuOccupancyMaxActiveClusters(n, f, c);
}

EXPORT CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType, cuuint32_t rank, void*,
                                       const cuuint64_t* dimensions, const cuuint64_t* strides,
                                       const cuuint32_t* box, const cuuint32_t* elements,
                                       CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                       CUtensorMapFloatOOBfill) {
  if (rank < 1 || rank > 5) broken("a tensor map of no rank", rank);
  read_all(dimensions, rank * 8), read_all(strides, (rank - 1) * 8), read_all(box, rank * 4),
      read_all(elements, rank * 4);
  std::memset(map, 1, sizeof *map);
  return luck();
}
EXPORT CUresult cuTensorMapEncodeIm2col(CUtensorMap* map, CUtensorMapDataType, cuuint32_t rank, void*,
                                        const cuuint64_t* dimensions, const cuuint64_t* strides,
                                        const int* lower, const int* upper, cuuint32_t, cuuint32_t,
                                        const cuuint32_t* elements, CUtensorMapInterleave, CUtensorMapSwizzle,
                                        CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (rank < 3 || rank > 5) broken("an im2col tensor map of no rank", rank);
  read_all(dimensions, rank * 8), read_all(strides, (rank - 1) * 8), read_all(elements, rank * 4);
  read_all(lower, (rank - 2) * 4), read_all(upper, (rank - 2) * 4);
  std::memset(map, 1, sizeof *map);
  return luck();
}
