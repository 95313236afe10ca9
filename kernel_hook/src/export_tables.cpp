// Which table is what, who calls which entry, and which may be refused is measured and written down with the
// design; here each entry that is called has an answer and every other one says CUDA_ERROR_NOT_SUPPORTED by
// name.
//
// A table is an array of words: usually its size in bytes, then function pointers.
#include "export_tables.hpp"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "objects.hpp"
#include "refusal.hpp"
#include "runtime_handshake.hpp"

namespace tfusion::hook {

namespace {

using Word = std::uintptr_t;

// What every entry is that nobody is known to call: refused by name, so that a program which does can be told
// of. `Table` is the first four bytes of the table's UUID as they are written.
template <std::uint32_t Table, std::size_t Entry>
CUresult unknown_entry() {
  static const char* const name = [] {
    constexpr std::size_t kBytes = 80;
    char* text = new char[kBytes];  // never freed: refusals are remembered by their text
    std::snprintf(text, kBytes, "entry %zu of the driver's undocumented table %08x", Entry, Table);
    return text;
  }();
  return refused(name);
}

template <typename Function>
Word word(Function* function) {
  return reinterpret_cast<Word>(function);
}

// A table of N words with its size first, every entry refused until it is set.
template <std::uint32_t Table, std::size_t N>
struct SizedTable {
  SizedTable() : entries(all_unknown(std::make_index_sequence<N>())) { entries[0] = N * sizeof(Word); }
  std::array<Word, N> entries;

 private:
  template <std::size_t... I>
  static std::array<Word, N> all_unknown(std::index_sequence<I...>) {
    return {word(unknown_entry<Table, I>)...};
  }
};

// --- 6bd5fb6c: contexts, and modules for older cudart
// -------------------------------------------------------------

CUresult retain_context(CUcontext* context, CUdevice device) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return api::cuDevicePrimaryCtxRetain(context, device);
}

CUresult load_wrapped(CUmodule* module, const void* wrapper) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return api::cuModuleLoadData(module, wrapper);
}

CUresult load_wrapped_more(CUmodule* module, const void* wrapper, void*, void*, void*) {
  return load_wrapped(module, wrapper);
}

CUresult load_header(const void* header, CUmodule* module, void*, void*, void*) {
  return load_wrapped(module, header);
}

void ignore_size(std::size_t) {}

CUresult succeed() {
  return CUDA_SUCCESS;
}

// --- a094798c: buffers that tools' callbacks use
// --------------------------------------------------------------------

void large_tools_buffer(void** buffer, std::size_t* bytes) {
  static std::uint8_t space[1024];
  *buffer = space;
  *bytes = sizeof space;
}

void small_tools_buffer(void** buffer, std::size_t* bytes) {
  static std::uint8_t space[14];
  *buffer = space;
  *bytes = sizeof space;
}

// --- 42d85a81, 263e8860
// ---------------------------------------------------------------------------------------------

CUresult current_context(CUcontext* context, void*) {
  if (CUresult r = enter(); r != CUDA_SUCCESS) return r;
  return api::cuCtxGetCurrent(context);
}

CUresult check_context(CUcontext, std::uint32_t* result, const void**) {
  *result = 0;
  return CUDA_SUCCESS;
}

int never_fires() {
  return 0;
}

// --- 21318c60: what cuBLAS asks of contexts and streams
// ---------------------------------------------------------------

CUresult context_id(CUcontext context, std::uint64_t* id) {
  if (id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *id = 0;
  unsigned long long value = 0;
  if (context != nullptr && api::cuCtxGetId(context, &value) == CUDA_SUCCESS) *id = value;
  return CUDA_SUCCESS;
}

// The opaque object for a stream is the stream's handle itself; the default streams are told apart from
// nullptr.
constexpr Word kStreamObjectTag = Word{1} << 62;

CUresult stream_object(CUcontext, CUstream stream, Word* object) {
  if (object == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *object = kStreamObjectTag | number(stream);
  return CUDA_SUCCESS;
}

CUresult stream_object_id(CUcontext, Word object, std::uint64_t* id) {
  unsigned long long value = 0;
  const CUresult result = api::cuStreamGetId(reinterpret_cast<CUstream>(object & ~kStreamObjectTag), &value);
  if (result == CUDA_SUCCESS) *id = value;
  return result;
}

// --- 6e163fbe: cuFFT's walk over a module's kernels
// -------------------------------------------------------------------

int visit_kernels(CUcontext context, CUmodule module, long (*visit)(void*, CUfunction, CUcontext),
                  void* user) {
  unsigned count = 0;
  if (enter() != CUDA_SUCCESS || api::cuModuleGetFunctionCount(&count, module) != CUDA_SUCCESS) return 0;
  std::vector<CUfunction> functions(count);
  if (api::cuModuleEnumerateFunctions(functions.data(), count, module) != CUDA_SUCCESS) return 0;
  for (const CUfunction f : functions) {
    if (visit(user, f, context) != 0) break;
  }
  return 1;
}

// --- 1734dc26: where each pair of SMs sits on the chip
// ------------------------------------------------------------------

CUresult sm_layout(std::uint8_t** place, std::uint8_t** group) {
  const protocol::DeviceFacts& facts = shared.control().facts;
  if (place == nullptr || group == nullptr || facts.sm_pairs == 0) return CUDA_ERROR_NOT_SUPPORTED;
  *place = static_cast<std::uint8_t*>(std::malloc(facts.sm_pairs));
  *group = static_cast<std::uint8_t*>(std::malloc(facts.sm_pairs));
  if (*place == nullptr || *group == nullptr) {
    std::free(*place);
    std::free(*group);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  std::memcpy(*place, facts.sm_place, facts.sm_pairs);
  std::memcpy(*group, facts.sm_group, facts.sm_pairs);
  return CUDA_SUCCESS;
}

CUresult free_sm_layout(std::uint8_t* place, std::uint8_t* group) {
  std::free(place);
  std::free(group);
  return CUDA_SUCCESS;
}

struct Tables {
  SizedTable<0x6bd5fb6c, 13> modules;
  std::array<Word, 4> storage{};
  SizedTable<0xd4082055, 3> handshake;
  SizedTable<0xa094798c, 7> tools;
  SizedTable<0x42d85a81, 3> current;
  SizedTable<0x263e8860, 4> checks;
  SizedTable<0x21318c60, 93> blas;
  SizedTable<0x6e163fbe, 99> fft;
  SizedTable<0x1734dc26, 17> layout;

  Tables() {
    modules.entries[1] = word(load_wrapped);
    modules.entries[2] = word(retain_context);
    modules.entries[6] = word(load_wrapped_more);
    modules.entries[7] = word(ignore_size);
    modules.entries[8] = word(load_header);
    modules.entries[12] = word(succeed);
    storage = {word(context_storage_put), word(context_storage_remove), word(context_storage_get), 0};
    handshake.entries[1] = word(runtime_handshake);
    tools.entries[2] = word(large_tools_buffer);
    tools.entries[6] = word(small_tools_buffer);
    current.entries[2] = word(current_context);
    checks.entries[2] = word(check_context);
    checks.entries[3] = word(never_fires);
    blas.entries[4] = word(context_id);
    blas.entries[39] = word(stream_object_id);
    blas.entries[51] = word(stream_object);
    fft.entries[7] = word(visit_kernels);
    layout.entries[4] = word(sm_layout);
    layout.entries[13] = word(free_sm_layout);
  }
};

const Tables& tables() {
  static const Tables& all = *new Tables;
  return all;
}

struct NamedTable {
  std::uint8_t uuid[16];
  const void* (*table)();
};

const NamedTable kTables[] = {
    {{0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9},
     module_table},
    {{0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11, 0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95, 0x93},
     [] { return static_cast<const void*>(tables().storage.data()); }},
    {{0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b, 0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1, 0xf2},
     handshake_table},
    {{0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74, 0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66},
     [] { return static_cast<const void*>(tables().tools.entries.data()); }},
    {{0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47, 0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec, 0xdc},
     [] { return static_cast<const void*>(tables().current.entries.data()); }},
    {{0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43, 0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d, 0xfa, 0x7e},
     [] { return static_cast<const void*>(tables().checks.entries.data()); }},
    {{0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48, 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8, 0xf2},
     [] { return static_cast<const void*>(tables().blas.entries.data()); }},
    {{0x6e, 0x16, 0x3f, 0xbe, 0xb9, 0x58, 0x44, 0x4d, 0x83, 0x5c, 0xe1, 0x82, 0xaf, 0xf1, 0x99, 0x1e},
     [] { return static_cast<const void*>(tables().fft.entries.data()); }},
    {{0x17, 0x34, 0xdc, 0x26, 0x80, 0x0d, 0x47, 0x45, 0x87, 0x26, 0xc0, 0xf1, 0xe7, 0xdd, 0x8b, 0xca},
     [] { return static_cast<const void*>(tables().layout.entries.data()); }},
};

}  // namespace

const void* module_table() {
  return tables().modules.entries.data();
}
const void* handshake_table() {
  return tables().handshake.entries.data();
}
const void* handshake_entry() {
  return reinterpret_cast<const void*>(tables().handshake.entries[1]);
}

namespace api {

CUresult cuGetExportTable(const void** ppExportTable, const CUuuid* pExportTableId) {
  if (ppExportTable == nullptr || pExportTableId == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *ppExportTable = nullptr;
  for (const NamedTable& t : kTables) {
    if (std::memcmp(t.uuid, pExportTableId->bytes, sizeof t.uuid) == 0) {
      *ppExportTable = t.table();
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_NOT_FOUND;
}

}  // namespace api
}  // namespace tfusion::hook
