// cuGetProcAddress: from a name without suffix, a version and flags to one of the hook's functions.
#include <algorithm>
#include <cstring>

#include "api.hpp"
#include "proc_map.hpp"

namespace tfusion::hook::api {

namespace {

CUresult find(const char* symbol, void** pfn, int version, cuuint64_t flags,
              CUdriverProcAddressQueryResult* status) {
  if (symbol == nullptr || pfn == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (flags > CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) return CUDA_ERROR_INVALID_VALUE;
  *pfn = nullptr;
  // cudart asks for "" with version 0 and is content with success.
  if (*symbol == '\0') return CUDA_SUCCESS;
  const ProcEntry* end = kProcMap + kProcMapSize;
  const ProcEntry* entry = std::lower_bound(kProcMap, end, symbol, [](const ProcEntry& e, const char* name) {
    return std::strcmp(e.name, name) < 0;
  });
  if (entry == end || std::strcmp(entry->name, symbol) != 0) {
    if (status != nullptr) *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return CUDA_ERROR_NOT_FOUND;
  }
  for (; entry != end && std::strcmp(entry->name, symbol) == 0; ++entry) {
    if (version < entry->version) continue;
    const bool per_thread =
        (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0 && entry->per_thread != nullptr;
    *pfn = reinterpret_cast<void*>(per_thread ? entry->per_thread : entry->function);
    if (status != nullptr) *status = CU_GET_PROC_ADDRESS_SUCCESS;
    return CUDA_SUCCESS;
  }
  if (status != nullptr) *status = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
  return CUDA_ERROR_NOT_FOUND;
}

}  // namespace

CUresult cuGetProcAddress(const char* symbol, void** pfn, int cudaVersion, cuuint64_t flags) {
  return find(symbol, pfn, cudaVersion, flags, nullptr);
}

CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int cudaVersion, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* symbolStatus) {
  return find(symbol, pfn, cudaVersion, flags, symbolStatus);
}

}  // namespace tfusion::hook::api
