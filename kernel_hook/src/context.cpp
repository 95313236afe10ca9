#include "context.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include "api.hpp"
#include "arena_heap.hpp"
#include "call.hpp"
#include "capture.hpp"
#include "graph.hpp"
#include "managed.hpp"
#include "objects.hpp"
#include "own_context.hpp"
#include "pool.hpp"
#include "registered.hpp"
#include "virtual_memory.hpp"

namespace tfusion::hook {

namespace {

// At the far end of the table of contexts, which the program's own fill from the start.
constexpr std::uint64_t kPrimary =
    protocol::pack({protocol::HandleKind::context, 1, protocol::kMaxHandleIndex - 1});
constexpr int kStackDepth = 64;

// Plain data, so that calls from exit handlers find it usable whatever was destroyed before.
struct ContextStack {
  CUcontext entries[kStackDepth];
  int depth;
};
thread_local ContextStack stack{};

constinit std::atomic<int> retained{0};
constinit std::atomic<unsigned> flags{0};
constinit std::atomic<CUfunc_cache> cache_config{CU_FUNC_CACHE_PREFER_NONE};
constinit std::atomic<CUsharedconfig> shared_config{CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE};
constinit std::atomic<std::uint64_t> drained_to{0};
constinit std::mutex life_mutex;

struct StorageEntry {
  void* value;
  void (*destroy)(CUcontext, void*, void*);
};
constinit std::mutex storage_mutex;
std::map<std::pair<CUcontext, void*>, StorageEntry>& storage() {
  static auto& map = *new std::map<std::pair<CUcontext, void*>, StorageEntry>;
  return map;
}

constinit std::mutex limits_mutex;
std::map<int, std::size_t>& changed_limits() {
  static auto& map = *new std::map<int, std::size_t>;
  return map;
}

bool is_primary(CUcontext context) {
  return number(context) == kPrimary;
}

CUresult synchronise() {
  const std::uint64_t mark = published();
  wire::ContextSynchronize command{};
  const CUresult result = call(command);
  if (result == CUDA_SUCCESS) pools_after_all(mark);
  return result;
}

bool is_context(CUcontext context) {
  return is_primary(context) || is_own_context(context);
}

// Ends the primary context: what libraries stored with it, our objects, and everything in the worker. While the program
// has contexts of its own, which are the same to the worker, only what libraries stored ends, unless an error has ended
// them as well.
CUresult destroy_primary() {
  end_context_storage(primary_context());
  if (own_contexts_alive() && enter() == CUDA_SUCCESS) return drain();
  forget_own_contexts();
  wire::ContextReset command{};
  const CUresult result = call(command);
  forget_objects();
  forget_pools();
  forget_captures();
  forget_user_objects();
  forget_managed();
  forget_registered();
  forget_virtual_memory();
  device_heap().forget();
  host_heap().forget();
  {
    std::lock_guard lock(limits_mutex);
    changed_limits().clear();
  }
  flags.store(0);
  return result;
}

}  // namespace

CUcontext primary_context() {
  return reinterpret_cast<CUcontext>(kPrimary);
}

CUcontext current_context() {
  return stack.depth > 0 ? stack.entries[stack.depth - 1] : nullptr;
}

CUresult require_context() {
  const CUcontext context = current_context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const bool alive =
      is_primary(context) ? retained.load(std::memory_order_relaxed) > 0 : is_own_context(context);
  return alive ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

void end_context_storage(CUcontext context) {
  std::vector<std::pair<void*, StorageEntry>> entries;
  {
    std::lock_guard lock(storage_mutex);
    for (auto entry = storage().begin(); entry != storage().end();) {
      if (entry->first.first != context) {
        ++entry;
        continue;
      }
      entries.emplace_back(entry->first.second, entry->second);
      entry = storage().erase(entry);
    }
  }
  for (const auto& [key, entry] : entries) {
    if (entry.destroy != nullptr) entry.destroy(context, key, entry.value);
  }
}

CUresult drain() {
  const std::uint64_t mark = published();
  if (drained_to.load() == mark) return CUDA_SUCCESS;
  wire::ContextSynchronize command{};
  const CUresult result = call(command);
  // The synchronising command itself moved the mark; what other threads sent meanwhile moved it further.
  if (result == CUDA_SUCCESS && published() == mark + sizeof command) drained_to.store(mark + sizeof command);
  if (result == CUDA_SUCCESS) pools_after_all(mark);
  return result;
}

CUresult context_storage_put(CUcontext context, void* key, void* value,
                             void (*destroy)(CUcontext, void*, void*)) {
  if (context == nullptr) context = current_context();
  if (!is_context(context)) return CUDA_ERROR_INVALID_CONTEXT;
  std::lock_guard lock(storage_mutex);
  storage()[{context, key}] = {value, destroy};
  return CUDA_SUCCESS;
}

CUresult context_storage_remove(CUcontext context, void* key) {
  if (context == nullptr) context = current_context();
  if (!is_context(context)) return CUDA_ERROR_INVALID_CONTEXT;
  std::lock_guard lock(storage_mutex);
  return storage().erase({context, key}) > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult context_storage_get(void** value, CUcontext context, void* key) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (context == nullptr) context = current_context();
  if (!is_context(context)) return CUDA_ERROR_INVALID_CONTEXT;
  std::lock_guard lock(storage_mutex);
  const auto found = storage().find({context, key});
  if (found == storage().end()) return CUDA_ERROR_INVALID_HANDLE;
  *value = found->second.value;
  return CUDA_SUCCESS;
}

namespace api {

CUresult cuDevicePrimaryCtxRetain(CUcontext* pctx, CUdevice dev) {
  if (pctx == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  retained.fetch_add(1);
  *pctx = primary_context();
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard lock(life_mutex);
  int count = retained.load();
  if (count == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (count > 1) {
    retained.fetch_sub(1);
    return CUDA_SUCCESS;
  }
  const CUresult result = destroy_primary();
  retained.fetch_sub(1);
  return result;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  if (CUresult r = enter_despite_errors(); r != CUDA_SUCCESS) return r;
  std::lock_guard lock(life_mutex);
  return destroy_primary();
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int new_flags) {
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  // How the worker waits is the worker's business; the flags are kept to be told again.
  flags.store(new_flags);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int* out_flags, int* active) {
  if (out_flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  *out_flags = flags.load(std::memory_order_relaxed);
  *active = retained.load(std::memory_order_relaxed) > 0;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* pctx) {
  if (pctx == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pctx = current_context();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext ctx) {
  if (ctx != nullptr && !is_context(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  if (stack.depth > 0) --stack.depth;
  if (ctx != nullptr) stack.entries[stack.depth++] = ctx;
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx) {
  if (!is_context(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  if (stack.depth == kStackDepth) return CUDA_ERROR_INVALID_VALUE;
  stack.entries[stack.depth++] = ctx;
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext* pctx) {
  if (stack.depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
  const CUcontext top = stack.entries[--stack.depth];
  if (pctx != nullptr) *pctx = top;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (current_context() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *device = 0;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext ctx) {
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (ctx == nullptr ? current_context() == nullptr : !is_context(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  *device = 0;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUcontext context = current_context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!is_primary(context)) return own_context_flags(context, out);
  *out = flags.load(std::memory_order_relaxed);
  return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int new_flags) {
  if ((new_flags & ~unsigned{CU_CTX_FLAGS_MASK}) != 0) return CUDA_ERROR_INVALID_VALUE;
  const CUcontext context = current_context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!is_primary(context)) return set_own_context_flags(context, new_flags);
  flags.store(new_flags);
  return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long* ctxId) {
  if (ctxId == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (ctx == nullptr) ctx = current_context();
  if (ctx == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!is_primary(ctx)) return own_context_id(ctx, ctxId);
  *ctxId = 1;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (ctx != nullptr && !is_context(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  *version = shared.control().facts.context_api_version;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetLimit(size_t* pvalue, CUlimit limit) {
  if (pvalue == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  const protocol::DeviceFacts& facts = shared.control().facts;
  if (limit < 0 || static_cast<unsigned>(limit) >= protocol::kMaxLimits) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  std::lock_guard lock(limits_mutex);
  if (const auto changed = changed_limits().find(limit); changed != changed_limits().end()) {
    *pvalue = changed->second;
    return CUDA_SUCCESS;
  }
  if (!facts.limit_known[limit]) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  *pvalue = facts.limits[limit];
  return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  if (limit < 0 || static_cast<unsigned>(limit) >= protocol::kMaxLimits) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  wire::ContextSetLimit command{};
  command.limit = static_cast<std::uint32_t>(limit);
  command.value = value;
  wire::ContextSetLimitReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) {
    std::lock_guard lock(limits_mutex);
    changed_limits()[limit] = reply.value;
  }
  return result;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* pconfig) {
  if (pconfig == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pconfig = cache_config.load();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  cache_config.store(config);  // a hint; kernels' own cuFuncSetCacheConfig is sent on
  return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig* pConfig) {
  if (pConfig == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pConfig = shared_config.load();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
  shared_config.store(config);  // without meaning since compute capability 5.0
  return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int* leastPriority, int* greatestPriority) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  if (leastPriority != nullptr) *leastPriority = shared.control().facts.least_priority;
  if (greatestPriority != nullptr) *greatestPriority = shared.control().facts.greatest_priority;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  return synchronise();
}

CUresult cuCtxSynchronize_v2(CUcontext ctx) {
  if (ctx != nullptr && !is_context(ctx)) return CUDA_ERROR_INVALID_CONTEXT;
  if (ctx == nullptr && current_context() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  return synchronise();
}

}  // namespace api
}  // namespace tfusion::hook
