#include "own_context.hpp"

#include <atomic>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "handle_table.hpp"
#include "objects.hpp"

namespace tfusion::hook {

namespace {

using Belonging = std::pair<Owned, std::uint64_t>;

struct OwnContext {
  unsigned flags = 0;
  unsigned long long id = 0;
  std::set<Belonging> belongings;
  void reset() { *this = OwnContext{}; }
};

constinit std::mutex mutex;
constinit std::atomic<int> alive{0};
constinit unsigned long long next_id = 2;  // 1 is the primary context's

HandleTable<OwnContext>& contexts() {
  static auto& table = *new HandleTable<OwnContext>(protocol::HandleKind::context);
  return table;
}
std::map<Belonging, std::uint64_t>& owners() {
  static auto& map = *new std::map<Belonging, std::uint64_t>;
  return map;
}

// What CUDA ends with a context.
void end(const Belonging& belonging) {
  const std::uint64_t handle = belonging.second;
  switch (belonging.first) {
    case Owned::stream:
      api::cuStreamDestroy_v2(reinterpret_cast<CUstream>(handle));
      break;
    case Owned::event:
      api::cuEventDestroy_v2(reinterpret_cast<CUevent>(handle));
      break;
    case Owned::module:
      api::cuModuleUnload(reinterpret_cast<CUmodule>(handle));
      break;
    case Owned::texture:
      api::cuTexObjectDestroy(handle);
      break;
    case Owned::surface:
      api::cuSurfObjectDestroy(handle);
      break;
    case Owned::array:
      api::cuArrayDestroy(reinterpret_cast<CUarray>(handle));
      break;
    case Owned::mipmapped_array:
      api::cuMipmappedArrayDestroy(reinterpret_cast<CUmipmappedArray>(handle));
      break;
    case Owned::device_memory:
      api::cuMemFree_v2(handle);
      break;
    case Owned::host_memory:
      api::cuMemFreeHost(reinterpret_cast<void*>(handle));
      break;
  }
}

CUresult create(CUcontext* out, unsigned flags, CUdevice device) {
  constexpr unsigned kKnown = CU_CTX_FLAGS_MASK;
  if (out == nullptr || (flags & ~kKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  std::uint64_t handle = 0;
  {
    std::lock_guard lock(mutex);
    handle = contexts().create([&](OwnContext& c) {
      c.flags = flags;
      c.id = next_id++;
    });
  }
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  alive.fetch_add(1);
  const auto context = reinterpret_cast<CUcontext>(handle);
  if (CUresult r = api::cuCtxPushCurrent_v2(context); r != CUDA_SUCCESS) {
    std::lock_guard lock(mutex);
    contexts().erase(handle);
    alive.fetch_sub(1);
    return r;
  }
  *out = context;
  return CUDA_SUCCESS;
}

}  // namespace

bool is_own_context(CUcontext context) {
  return alive.load(std::memory_order_relaxed) > 0 && contexts().find(number(context)) != nullptr;
}

bool own_contexts_alive() {
  return alive.load() > 0;
}

void own(Owned kind, std::uint64_t handle) {
  if (alive.load(std::memory_order_relaxed) == 0) return;
  const std::uint64_t context = number(current_context());
  std::lock_guard lock(mutex);
  OwnContext* owner = contexts().find(context);
  if (owner == nullptr) return;
  owner->belongings.emplace(kind, handle);
  owners()[{kind, handle}] = context;
}

void disown(Owned kind, std::uint64_t handle) {
  if (alive.load(std::memory_order_relaxed) == 0) return;
  std::lock_guard lock(mutex);
  const auto found = owners().find({kind, handle});
  if (found == owners().end()) return;
  if (OwnContext* owner = contexts().find(found->second)) owner->belongings.erase({kind, handle});
  owners().erase(found);
}

CUcontext owner_of(Owned kind, std::uint64_t handle) {
  if (alive.load(std::memory_order_relaxed) == 0) return primary_context();
  std::lock_guard lock(mutex);
  const auto found = owners().find({kind, handle});
  return found == owners().end() ? primary_context() : reinterpret_cast<CUcontext>(found->second);
}

CUresult own_context_flags(CUcontext context, unsigned* flags) {
  std::lock_guard lock(mutex);
  const OwnContext* own = contexts().find(number(context));
  if (own == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *flags = own->flags;
  return CUDA_SUCCESS;
}

CUresult set_own_context_flags(CUcontext context, unsigned flags) {
  std::lock_guard lock(mutex);
  OwnContext* own = contexts().find(number(context));
  if (own == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  own->flags = flags;
  return CUDA_SUCCESS;
}

CUresult own_context_id(CUcontext context, unsigned long long* id) {
  std::lock_guard lock(mutex);
  const OwnContext* own = contexts().find(number(context));
  if (own == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *id = own->id;
  return CUDA_SUCCESS;
}

void forget_own_contexts() {
  std::lock_guard lock(mutex);
  contexts().erase_all();
  owners().clear();
  alive.store(0);
}

namespace api {

CUresult cuCtxCreate_v2(CUcontext* pctx, unsigned int flags, CUdevice dev) {
  return create(pctx, flags, dev);
}

CUresult cuCtxCreate_v3(CUcontext* pctx, CUexecAffinityParam* paramsArray, int numParams, unsigned int flags,
                        CUdevice dev) {
  if (numParams != 0 || paramsArray != nullptr)
    return static_cast<CUresult>(refuse("cuCtxCreate with an affinity to multiprocessors"));
  return create(pctx, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext* pctx, CUctxCreateParams* ctxCreateParams, unsigned int flags, CUdevice dev) {
  if (ctxCreateParams != nullptr &&
      (ctxCreateParams->numExecAffinityParams != 0 || ctxCreateParams->cigParams != nullptr)) {
    return static_cast<CUresult>(refuse("cuCtxCreate with parameters"));
  }
  return create(pctx, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext ctx) {
  std::set<Belonging> belongings;
  {
    std::lock_guard lock(mutex);
    OwnContext* own = contexts().find(number(ctx));
    if (own == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    belongings.swap(own->belongings);
    for (const Belonging& each : belongings) owners().erase(each);
  }
  const CUresult drained = drain();
  end_context_storage(ctx);
  // Calls below need a current context; the one that ends will do, and it is there until they are done.
  const bool pushed = api::cuCtxPushCurrent_v2(ctx) == CUDA_SUCCESS;  // not if the stack is full
  for (const Belonging& each : belongings) end(each);
  if (pushed) api::cuCtxPopCurrent_v2(nullptr);
  if (current_context() == ctx) api::cuCtxPopCurrent_v2(nullptr);
  std::lock_guard lock(mutex);
  if (!contexts().erase(number(ctx))) return CUDA_ERROR_INVALID_CONTEXT;  // another thread was faster
  alive.fetch_sub(1);
  return drained;
}

}  // namespace api
}  // namespace tfusion::hook
