// Finding functions by name, and the tables that this driver does not have.
#include <dlfcn.h>
#include <string.h>

#include <string>

#include "entry.hpp"

namespace tfusion::software::driver {

namespace {

// This library, however it was opened.
void* own_library() {
  static void* const library = [] {
    Dl_info info{};
    if (dladdr(reinterpret_cast<const void*>(&cuInit), &info) == 0) return static_cast<void*>(nullptr);
    return dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  }();
  return library;
}

// The exported function that a name without suffix means today: the one with the highest suffix.
void* find_function(const std::string& name, int version) {
  void* const library = own_library();
  if (library == nullptr || !name.starts_with("cu")) return nullptr;
  // The one function here whose forms take different parameters.
  if (name == "cuCtxCreate") return dlsym(library, version >= 12050 ? "cuCtxCreate_v4" : "cuCtxCreate_v2");
  for (const char* suffix : {"_v4", "_v3", "_v2", ""}) {
    if (void* const found = dlsym(library, (name + suffix).c_str())) return found;
  }
  return nullptr;
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int cudaVersion, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* symbolStatus) {
  return guarded([&] {
    require(symbol != nullptr && pfn != nullptr);
    require((flags & ~cuuint64_t{CU_GET_PROC_ADDRESS_LEGACY_STREAM |
                                 CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM}) == 0);
    // The per-thread default stream needs no functions of its own: all streams share one queue.
    *pfn = find_function(symbol, cudaVersion);
    if (symbolStatus != nullptr) {
      *symbolStatus = *pfn != nullptr ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    }
    require(*pfn != nullptr, CUDA_ERROR_NOT_FOUND);
  });
}

CUresult cuGetExportTable(const void** ppExportTable, const CUuuid* pExportTableId) {
  if (ppExportTable == nullptr || pExportTableId == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *ppExportTable = nullptr;
  return CUDA_ERROR_NOT_FOUND;
}

CUresult cuProfilerStart() {
  return context_call([](const std::shared_ptr<Context>&) {});
}

CUresult cuProfilerStop() {
  return context_call([](const std::shared_ptr<Context>&) {});
}
