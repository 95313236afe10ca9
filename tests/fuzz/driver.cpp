// A libcuda.so.1 for fuzzing: it does nothing, but keeps book of every object, mapping and pinned range, and
// aborts when the worker breaks a rule that a real driver relies on, such as the use of a kernel after its
// module is gone. Memory that it is handed is read or written as far as the call says, so that
// AddressSanitizer sees what would be overrun.
//
// Answers (busy or done, success or an error) are drawn from a generator that fuzz_driver_begin() seeds, so
// an input always meets the same driver. For one thread.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace {

[[noreturn]] void broken(const char* rule, std::uint64_t number) {
  std::fprintf(stderr, "fuzz driver: the worker broke a rule: %s (0x%llx)\n", rule,
               static_cast<unsigned long long>(number));
  std::abort();
}

constexpr std::uint64_t kGlobals = 0x700000000000;
constexpr std::uint64_t kGlobalBytes = 256;
constexpr unsigned kManyKernels = 400;

struct Logs {
  char* text = nullptr;
  std::size_t bytes = 0;
  void write() const {
    if (text != nullptr && bytes > 0) std::memset(text, 'L', bytes), text[bytes - 1] = '\0';
  }
};

struct Module {
  std::set<std::uintptr_t> kernels;
  std::uint64_t global = 0;  // 0: the client never asked
};

struct Link {
  std::vector<Logs> logs;
  std::unique_ptr<char[]> linked;
};

// The width is in bytes; a level names its mipmapped array.
struct Array {
  std::uint64_t width, height, depth;
  std::uintptr_t mipmapped;
};
struct MipmappedArray {
  CUDA_ARRAY3D_DESCRIPTOR descriptor;
  unsigned levels;
};

struct State {
  std::uint64_t random = 1;
  std::uintptr_t next = 0x10000;
  std::set<std::uintptr_t> streams;
  std::map<std::uintptr_t, unsigned> events;  // -> how often it is still busy
  std::map<std::uintptr_t, Module> modules;
  std::map<std::uintptr_t, std::uintptr_t> kernels;  // -> module
  std::map<std::uintptr_t, Link> links;
  std::map<std::uintptr_t, Array> arrays;
  std::map<std::uintptr_t, MipmappedArray> mipmapped;
  std::set<std::uint64_t> textures, surfaces;
  std::map<std::uint64_t, std::size_t> physical;    // handle -> bytes
  std::map<std::uint64_t, std::size_t> mapped;      // address -> bytes
  std::map<std::uint64_t, std::size_t> accessible;  // address -> bytes
  std::map<std::uint64_t, std::size_t> pinned;      // address -> bytes
};

State& state() {
  static State& the = *new State;
  return the;
}

// 0 .. n-1.
unsigned draw(unsigned n) {
  std::uint64_t& x = state().random;
  x = x * 6364136223846793005u + 1442695040888963407u;
  return static_cast<unsigned>(x >> 33) % n;
}

// Now and then a call fails, and rarely in the way that ruins a context.
CUresult luck() {
  const unsigned n = draw(400);
  return n == 0 ? CUDA_ERROR_ILLEGAL_ADDRESS : n < 8 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

template <typename Handle>
Handle fresh() {
  return reinterpret_cast<Handle>(state().next += 16);
}

std::uintptr_t number(const void* handle) {
  return reinterpret_cast<std::uintptr_t>(handle);
}

void stream_lives(CUstream stream) {
  if (stream != CU_STREAM_LEGACY && state().streams.count(number(stream)) == 0)
    broken("a dead stream", number(stream));
}
void event_lives(CUevent event) {
  if (state().events.count(number(event)) == 0) broken("a dead event", number(event));
}
void kernel_lives(const void* kernel) {
  if (state().kernels.count(number(kernel)) == 0) broken("a dead kernel", number(kernel));
}
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

Array& array_lives(const void* array) {
  const auto found = state().arrays.find(number(array));
  if (found == state().arrays.end()) broken("a dead array", number(array));
  return found->second;
}
MipmappedArray& mipmapped_lives(const void* array) {
  const auto found = state().mipmapped.find(number(array));
  if (found == state().mipmapped.end()) broken("a dead mipmapped array", number(array));
  return found->second;
}

bool inside(const std::map<std::uint64_t, std::size_t>& ranges, std::uint64_t address, std::size_t bytes) {
  const std::uint64_t end = address + bytes;
  auto range = ranges.upper_bound(address);
  if (end < address || range == ranges.begin()) return false;
  std::uint64_t reached = address;
  for (--range; range != ranges.end() && range->first <= reached; ++range) {
    if (range->first + range->second > reached) reached = range->first + range->second;
    if (reached >= end) return true;
  }
  return false;
}

// Memory that a copy of the session may name.
void memory_is_its_own(std::uint64_t address, std::size_t bytes) {
  if (bytes == 0) broken("a copy of nothing", address);
  if (inside(state().accessible, address, bytes) || inside(state().pinned, address, bytes)) return;
  for (const auto& [handle, module] : state().modules) {
    if (module.global != 0 && address >= module.global && address - module.global <= kGlobalBytes &&
        bytes <= kGlobalBytes - (address - module.global)) {
      return;
    }
  }
  broken("a copy outside of the session's memory", address);
}

volatile unsigned char sink;

void read_all(const void* memory, std::size_t bytes) {
  unsigned char all = 0;
  for (std::size_t i = 0; i < bytes; ++i) all ^= static_cast<const unsigned char*>(memory)[i];
  sink = all;
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

template <typename T, typename V>
CUresult set(T* out, V value) {
  *out = static_cast<T>(value);
  return CUDA_SUCCESS;
}

CUresult on(CUstream stream) {
  stream_lives(stream);
  return luck();
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

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

EXPORT CUresult cuStreamCreateWithPriority(CUstream* s, unsigned, int) {
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *s = fresh<CUstream>();
  state().streams.insert(number(*s));
  return CUDA_SUCCESS;
}
EXPORT CUresult cuStreamDestroy_v2(CUstream s) {
  if (s == CU_STREAM_LEGACY) broken("destroys the default stream", 1);
  stream_lives(s);
  state().streams.erase(number(s));
  return luck();
}
EXPORT CUresult cuStreamQuery(CUstream s) {
  stream_lives(s);
  return draw(3) == 0 ? CUDA_ERROR_NOT_READY : luck();
}
EXPORT CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned) {
  return event_lives(e), on(s);
}
EXPORT CUresult cuEventCreate(CUevent* e, unsigned) {
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *e = fresh<CUevent>();
  state().events[number(*e)] = 0;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuEventDestroy_v2(CUevent e) {
  event_lives(e);
  state().events.erase(number(e));
  return luck();
}
EXPORT CUresult cuStreamSynchronize(CUstream stream) {
  return on(stream);
}
EXPORT CUresult cuLaunchHostFunc(CUstream stream, CUhostFn, void*) {
  return on(stream);  // never run here: the target has no client to run it
}
EXPORT CUresult cuEventQuery(CUevent e) {
  event_lives(e);
  unsigned& busy = state().events[number(e)];
  if (busy > 0) return --busy, CUDA_ERROR_NOT_READY;
  return luck();
}
EXPORT CUresult cuEventRecord(CUevent e, CUstream s) {
  event_lives(e);
  state().events[number(e)] = draw(4);
  return on(s);
}
EXPORT CUresult cuEventRecordWithFlags(CUevent e, CUstream s, unsigned) {
  return cuEventRecord(e, s);
}
EXPORT CUresult cuEventElapsedTime(float* ms, CUevent a, CUevent b) {
  return event_lives(a), event_lives(b), set(ms, 1), luck();
}

EXPORT CUresult cuMemAddressReserve(CUdeviceptr* p, std::size_t, std::size_t, CUdeviceptr at,
                                    unsigned long long) {
  return set(p, at);
}
EXPORT CUresult cuMemAddressFree(CUdeviceptr, std::size_t) {
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle* h, std::size_t bytes, const CUmemAllocationProp*,
                            unsigned long long) {
  if (bytes == 0 || bytes % (2u << 20) != 0) broken("memory that is no whole page", bytes);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *h = state().next += 16;
  state().physical[*h] = bytes;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle h) {
  if (state().physical.erase(h) == 0) broken("releases memory twice", h);
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemMap(CUdeviceptr p, std::size_t bytes, std::size_t offset, CUmemGenericAllocationHandle h,
                         unsigned long long) {
  const auto memory = state().physical.find(h);
  if (memory == state().physical.end() || offset != 0 || bytes != memory->second)
    broken("maps memory that it does not have", h);
  const auto after = state().mapped.lower_bound(p);
  if (after != state().mapped.end() && after->first < p + bytes) broken("maps over a mapping", p);
  if (after != state().mapped.begin() && std::prev(after)->first + std::prev(after)->second > p)
    broken("maps over a mapping", p);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  state().mapped[p] = bytes;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemUnmap(CUdeviceptr p, std::size_t bytes) {
  for (std::uint64_t at = p; at < p + bytes;) {
    const auto piece = state().mapped.find(at);
    if (piece == state().mapped.end() || piece->second > p + bytes - at)
      broken("unmaps what is not mapped", at);
    at += piece->second;
    state().mapped.erase(piece);
  }
  state().accessible.erase(p);
  return luck();
}
EXPORT CUresult cuMemSetAccess(CUdeviceptr p, std::size_t bytes, const CUmemAccessDesc*, std::size_t) {
  if (!inside(state().mapped, p, bytes)) broken("opens what is not mapped", p);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  state().accessible[p] = bytes;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemGetAllocationGranularity(std::size_t* g, const CUmemAllocationProp*,
                                              CUmemAllocationGranularity_flags) {
  return set(g, 2 << 20);
}
EXPORT CUresult cuMemHostRegister_v2(void* p, std::size_t bytes, unsigned) {
  const std::uint64_t start = number(p);
  const auto after = state().pinned.lower_bound(start);
  if (after != state().pinned.end() && after->first < start + bytes) broken("pins what is pinned", start);
  if (after != state().pinned.begin() && std::prev(after)->first + std::prev(after)->second > start)
    broken("pins what is pinned", start);
  state().pinned[start] = bytes;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemHostUnregister(void* p) {
  return state().pinned.erase(number(p)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, std::size_t n, CUstream s) {
  memory_is_its_own(to, n);
  read_all(from, n);
  return on(s);
}
EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, std::size_t n, CUstream s) {
  memory_is_its_own(from, n);
  std::memset(to, 0xd7, n);
  return on(s);
}
EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t n, CUstream s) {
  memory_is_its_own(to, n), memory_is_its_own(from, n);
  return on(s);
}
EXPORT CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, std::size_t n, CUstream s) {
  return cuMemcpyDtoDAsync_v2(to, from, n, s);
}
EXPORT CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* c, CUstream s) {
  if (c->WidthInBytes > c->srcPitch || c->WidthInBytes > c->dstPitch)
    broken("a row wider than its pitch", c->WidthInBytes);
  for (const std::size_t row : {std::size_t{0}, c->Height / 2, c->Height - 1}) {
    memory_is_its_own(c->dstDevice + row * c->dstPitch, c->WidthInBytes);
    memory_is_its_own(c->srcDevice + row * c->srcPitch, c->WidthInBytes);
  }
  return on(s);
}
namespace {

std::uint64_t texel_bytes(CUarray_format format, unsigned channels) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return channels;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return 2 * channels;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
      return 4 * channels;
    default:
      broken("a format that is none", format);
  }
}

Array shape_of(const CUDA_ARRAY3D_DESCRIPTOR& d, unsigned level, std::uintptr_t mipmapped) {
  const auto shrink = [level](std::size_t n) { return n >> level > 1 ? n >> level : 1; };
  const bool layered = (d.Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) != 0;
  return {shrink(d.Width) * texel_bytes(d.Format, d.NumChannels), shrink(d.Height),
          layered ? (d.Depth > 1 ? d.Depth : 1) : shrink(d.Depth), mipmapped};
}

void box_is_inside(const Array& array, std::size_t x, std::size_t y, std::size_t z, const CUDA_MEMCPY3D& c) {
  if (x > array.width || c.WidthInBytes > array.width - x || y > array.height ||
      c.Height > array.height - y || z > array.depth || c.Depth > array.depth - z) {
    broken("a copy outside of its array", number(c.srcArray));
  }
}

// Calls row(offset) for the first, the middle and the last row of a box in memory.
template <typename Row>
void for_some_rows(const CUDA_MEMCPY3D& c, std::size_t pitch, std::size_t height, Row&& row) {
  if (c.WidthInBytes > pitch || (c.Depth > 1 && c.Height > height)) broken("rows that overlap", pitch);
  for (const std::size_t z : {std::size_t{0}, c.Depth / 2, c.Depth - 1}) {
    for (const std::size_t y : {std::size_t{0}, c.Height / 2, c.Height - 1}) row((z * height + y) * pitch);
  }
}

}  // namespace

EXPORT CUresult cuArray3DCreate_v2(CUarray* a, const CUDA_ARRAY3D_DESCRIPTOR* d) {
  const Array made = shape_of(*d, 0, 0);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *a = fresh<CUarray>();
  state().arrays[number(*a)] = made;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuArrayDestroy(CUarray a) {
  if (array_lives(a).mipmapped != 0) broken("destroys a level", number(a));
  state().arrays.erase(number(a));
  return luck();
}
EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray* m, const CUDA_ARRAY3D_DESCRIPTOR* d,
                                       unsigned levels) {
  if (levels == 0 || levels > 32) broken("levels that cannot be", levels);
  shape_of(*d, 0, 0);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *m = fresh<CUmipmappedArray>();
  state().mipmapped[number(*m)] = {*d, levels};
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMipmappedArrayDestroy(CUmipmappedArray m) {
  mipmapped_lives(m);
  std::erase_if(state().arrays, [&](const auto& a) { return a.second.mipmapped == number(m); });
  state().mipmapped.erase(number(m));
  return luck();
}
EXPORT CUresult cuMipmappedArrayGetLevel(CUarray* a, CUmipmappedArray m, unsigned level) {
  const MipmappedArray& whole = mipmapped_lives(m);
  if (level >= whole.levels) broken("a level that there is not", level);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *a = fresh<CUarray>();
  state().arrays[number(*a)] = shape_of(whole.descriptor, level, number(m));
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* copy, CUstream s) {
  const CUDA_MEMCPY3D& c = *copy;
  if (c.WidthInBytes == 0 || c.Height == 0 || c.Depth == 0) broken("a copy of nothing", 0);
  if (c.srcMemoryType == CU_MEMORYTYPE_ARRAY) {
    box_is_inside(array_lives(c.srcArray), c.srcXInBytes, c.srcY, c.srcZ, c);
  } else if (c.srcMemoryType == CU_MEMORYTYPE_HOST) {
    for_some_rows(c, c.srcPitch, c.srcHeight, [&](std::size_t at) {
      read_all(static_cast<const char*>(c.srcHost) + at, c.WidthInBytes);
    });
  } else {
    for_some_rows(c, c.srcPitch, c.srcHeight,
                  [&](std::size_t at) { memory_is_its_own(c.srcDevice + at, c.WidthInBytes); });
  }
  if (c.dstMemoryType == CU_MEMORYTYPE_ARRAY) {
    box_is_inside(array_lives(c.dstArray), c.dstXInBytes, c.dstY, c.dstZ, c);
  } else if (c.dstMemoryType == CU_MEMORYTYPE_HOST) {
    for_some_rows(c, c.dstPitch, c.dstHeight, [&](std::size_t at) {
      std::memset(static_cast<char*>(c.dstHost) + at, 0xd7, c.WidthInBytes);
    });
  } else {
    for_some_rows(c, c.dstPitch, c.dstHeight,
                  [&](std::size_t at) { memory_is_its_own(c.dstDevice + at, c.WidthInBytes); });
  }
  return on(s);
}
namespace {
void resource_is_its_own(const CUDA_RESOURCE_DESC& r) {
  if (r.resType == CU_RESOURCE_TYPE_ARRAY) {
    array_lives(r.res.array.hArray);
  } else if (r.resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY) {
    mipmapped_lives(r.res.mipmap.hMipmappedArray);
  } else if (r.resType == CU_RESOURCE_TYPE_LINEAR) {
    memory_is_its_own(r.res.linear.devPtr, r.res.linear.sizeInBytes);
  } else if (r.resType == CU_RESOURCE_TYPE_PITCH2D) {
    const auto& p = r.res.pitch2D;
    const std::size_t row = p.width * texel_bytes(p.format, p.numChannels);
    if (row > p.pitchInBytes) broken("a row wider than its pitch", row);
    for (const std::size_t y : {std::size_t{0}, p.height / 2, p.height - 1})
      memory_is_its_own(p.devPtr + y * p.pitchInBytes, row);
  } else {
    broken("a resource of no kind", r.resType);
  }
}
}  // namespace
EXPORT CUresult cuTexObjectCreate(CUtexObject* t, const CUDA_RESOURCE_DESC* r, const CUDA_TEXTURE_DESC* d,
                                  const CUDA_RESOURCE_VIEW_DESC* v) {
  resource_is_its_own(*r);
  read_all(d, sizeof *d);
  if (v != nullptr) read_all(v, sizeof *v);
  if (const CUresult e = luck(); e != CUDA_SUCCESS) return e;
  *t = state().next += 16;
  state().textures.insert(*t);
  return CUDA_SUCCESS;
}
EXPORT CUresult cuTexObjectDestroy(CUtexObject t) {
  if (state().textures.erase(t) == 0) broken("destroys a texture that is none", t);
  return luck();
}
EXPORT CUresult cuSurfObjectCreate(CUsurfObject* t, const CUDA_RESOURCE_DESC* r) {
  resource_is_its_own(*r);
  if (const CUresult e = luck(); e != CUDA_SUCCESS) return e;
  *t = state().next += 16;
  state().surfaces.insert(*t);
  return CUDA_SUCCESS;
}
EXPORT CUresult cuSurfObjectDestroy(CUsurfObject t) {
  if (state().surfaces.erase(t) == 0) broken("destroys a surface that is none", t);
  return luck();
}
EXPORT CUresult cuDeviceGetTexture1DLinearMaxWidth(std::size_t* n, CUarray_format format, unsigned channels,
                                                   CUdevice) {
  return set(n, (1u << 28) / texel_bytes(format, channels));
}

namespace {
CUresult memset_rows(CUdeviceptr to, std::size_t pitch, std::size_t element, std::size_t width,
                     std::size_t height, CUstream s) {
  if (to % element != 0 && draw(2) == 0) return CUDA_ERROR_INVALID_VALUE;
  for (const std::size_t row : {std::size_t{0}, height / 2, height - 1})
    memory_is_its_own(to + row * pitch, width * element);
  return on(s);
}
}  // namespace
EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char, std::size_t n, CUstream s) {
  return memset_rows(to, 0, 1, n, 1, s);
}
EXPORT CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short, std::size_t n, CUstream s) {
  return memset_rows(to, 0, 2, n, 1, s);
}
EXPORT CUresult cuMemsetD32Async(CUdeviceptr to, unsigned, std::size_t n, CUstream s) {
  return memset_rows(to, 0, 4, n, 1, s);
}
EXPORT CUresult cuMemsetD2D8Async(CUdeviceptr to, std::size_t pitch, unsigned char, std::size_t w,
                                  std::size_t h, CUstream s) {
  return memset_rows(to, pitch, 1, w, h, s);
}
EXPORT CUresult cuMemsetD2D16Async(CUdeviceptr to, std::size_t pitch, unsigned short, std::size_t w,
                                   std::size_t h, CUstream s) {
  return memset_rows(to, pitch, 2, w, h, s);
}
EXPORT CUresult cuMemsetD2D32Async(CUdeviceptr to, std::size_t pitch, unsigned, std::size_t w, std::size_t h,
                                   CUstream s) {
  return memset_rows(to, pitch, 4, w, h, s);
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
  if (extra != nullptr) read_all(extra[1], *static_cast<std::size_t*>(extra[3]));
  return on(c->hStream);
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
