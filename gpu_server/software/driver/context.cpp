// The context functions, and the stack of current contexts that each thread has.
#include "context.hpp"

#include <cstdio>
#include <vector>

#include "capture.hpp"
#include "device.hpp"
#include "device_memory.hpp"
#include "entry.hpp"
#include "graph_memory.hpp"
#include "host_memory.hpp"

namespace tfusion::software::driver {

namespace {

std::vector<std::uint64_t>& stack() {
  thread_local std::vector<std::uint64_t> contexts;
  return contexts;
}

std::atomic<unsigned long long> next_context_id{1};

constexpr unsigned kKnownFlags = CU_CTX_SCHED_MASK | CU_CTX_MAP_HOST | CU_CTX_LMEM_RESIZE_TO_MAX |
                                 CU_CTX_COREDUMP_ENABLE | CU_CTX_USER_COREDUMP_ENABLE | CU_CTX_SYNC_MEMOPS;

void require_known_flags(unsigned flags) {
  require((flags & ~kKnownFlags) == 0);
  const unsigned scheduling = flags & CU_CTX_SCHED_MASK;
  require(scheduling == CU_CTX_SCHED_AUTO || scheduling == CU_CTX_SCHED_SPIN ||
          scheduling == CU_CTX_SCHED_YIELD || scheduling == CU_CTX_SCHED_BLOCKING_SYNC);
}

// Takes down everything that belongs to the context, after its work is done.
void destroy(const std::shared_ptr<Context>& context) {
  Driver& gpu = driver();
  gpu.handles.remove(context->handle);
  end_captures_in(*context);
  gpu.queue.wait(gpu.queue.submitted());
  gpu.handles.remove_owned_by(context->handle).clear();
  std::vector<Region> regions;
  {
    const auto lock = gpu.memory.lock();
    regions = gpu.memory.take_owned_by(context->handle);
  }
  for (const Region& region : regions) {
    if (region.is_host()) {
      release_host_memory(region);
    } else {
      release_device_memory(region);
    }
  }
  drop_displaced_graph_allocations();
}

CUresult create(CUcontext* result, unsigned flags, CUdevice device) {
  return call([&] {
    require(result != nullptr);
    require_device(device);
    require_known_flags(flags);
    const auto context = driver().handles.add(std::make_shared<Context>(flags, false));
    context->legacy_stream = std::make_shared<Stream>(context->handle, 0, 0, Stream::kLegacyId);
    context->per_thread_stream = std::make_shared<Stream>(context->handle, 0, 0, Stream::kPerThreadId);
    stack().push_back(context->handle);
    *result = handle_of<CUcontext>(*context);
  });
}

// The context of a handle, null meaning the current one. Throws CUDA_ERROR_INVALID_CONTEXT.
std::shared_ptr<Context> context_or_current(CUcontext handle) {
  if (handle == nullptr) return current_context();
  return driver().handles.get<Context>(number_of(handle), CUDA_ERROR_INVALID_CONTEXT);
}

}  // namespace

Context::Context(unsigned context_flags, bool is_primary)
    : flags(context_flags), primary(is_primary), id(next_context_id.fetch_add(1)) {
  for (auto& limit : limits) limit = 0;
  limits[CU_LIMIT_STACK_SIZE] = 1024;
  limits[CU_LIMIT_PRINTF_FIFO_SIZE] = std::size_t{1} << 20;
  limits[CU_LIMIT_MALLOC_HEAP_SIZE] = std::size_t{8} << 20;
  limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64;
}

void Context::fail(CUresult code, const std::string& detail) noexcept {
  int none = CUDA_SUCCESS;
  if (!error_.compare_exchange_strong(none, code, std::memory_order_acq_rel)) return;
  std::fprintf(stderr, "software GPU: %s\n", detail.c_str());
}

std::shared_ptr<Context> current_context() {
  if (stack().empty() || stack().back() == 0) throw Failure(CUDA_ERROR_INVALID_CONTEXT);
  return driver().handles.get<Context>(stack().back(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuDevicePrimaryCtxRetain(CUcontext* pctx, CUdevice dev) {
  return call([&] {
    require(pctx != nullptr);
    require_device(dev);
    Driver& gpu = driver();
    const std::lock_guard lock(gpu.primary_mutex);
    if (!gpu.primary) {
      const auto context = std::make_shared<Context>(gpu.primary_flags, true);
      gpu.handles.add(context);
      context->legacy_stream = std::make_shared<Stream>(context->handle, 0, 0, Stream::kLegacyId);
      context->per_thread_stream = std::make_shared<Stream>(context->handle, 0, 0, Stream::kPerThreadId);
      gpu.primary = context;
    }
    ++gpu.primary_uses;
    *pctx = handle_of<CUcontext>(*gpu.primary);
  });
}

namespace {

CUresult leave_primary(CUdevice device, bool reset) {
  return call([&] {
    require_device(device);
    Driver& gpu = driver();
    std::shared_ptr<Context> ended;
    {
      const std::lock_guard lock(gpu.primary_mutex);
      if (!gpu.primary) {
        require(reset, CUDA_ERROR_INVALID_CONTEXT);
        return;
      }
      gpu.primary_uses = reset ? 0 : gpu.primary_uses - 1;
      if (gpu.primary_uses == 0) ended = std::move(gpu.primary);
      if (ended) gpu.primary = nullptr;
    }
    if (ended) destroy(ended);
  });
}

}  // namespace

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
  return leave_primary(dev, false);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
  return leave_primary(dev, true);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags) {
  return call([&] {
    require_device(dev);
    require_known_flags(flags);
    Driver& gpu = driver();
    const std::lock_guard lock(gpu.primary_mutex);
    gpu.primary_flags = flags;
    if (gpu.primary) gpu.primary->flags = flags;
  });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int* flags, int* active) {
  return call([&] {
    require(flags != nullptr && active != nullptr);
    require_device(dev);
    Driver& gpu = driver();
    const std::lock_guard lock(gpu.primary_mutex);
    *flags = gpu.primary_flags;
    *active = gpu.primary != nullptr;
  });
}

CUresult cuCtxCreate_v2(CUcontext* pctx, unsigned int flags, CUdevice dev) {
  return create(pctx, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext* pctx, CUctxCreateParams* ctxCreateParams, unsigned int flags,
                        CUdevice dev) {
  if (ctxCreateParams != nullptr &&
      (ctxCreateParams->numExecAffinityParams != 0 || ctxCreateParams->cigParams != nullptr)) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  return create(pctx, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext ctx) {
  return call([&] {
    const auto context = driver().handles.get<Context>(number_of(ctx), CUDA_ERROR_INVALID_CONTEXT);
    require(!context->primary, CUDA_ERROR_INVALID_CONTEXT);
    if (!stack().empty() && stack().back() == context->handle) stack().pop_back();
    destroy(context);
  });
}

CUresult cuCtxSetCurrent(CUcontext ctx) {
  return call([&] {
    if (ctx == nullptr) {
      if (!stack().empty()) stack().pop_back();
      return;
    }
    driver().handles.get<Context>(number_of(ctx), CUDA_ERROR_INVALID_CONTEXT);
    if (stack().empty()) {
      stack().push_back(number_of(ctx));
    } else {
      stack().back() = number_of(ctx);
    }
  });
}

CUresult cuCtxGetCurrent(CUcontext* pctx) {
  return call([&] {
    require(pctx != nullptr);
    *pctx = stack().empty() ? nullptr : reinterpret_cast<CUcontext>(stack().back());
  });
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx) {
  return call([&] {
    driver().handles.get<Context>(number_of(ctx), CUDA_ERROR_INVALID_CONTEXT);
    stack().push_back(number_of(ctx));
  });
}

CUresult cuCtxPopCurrent_v2(CUcontext* pctx) {
  return call([&] {
    require(!stack().empty(), CUDA_ERROR_INVALID_CONTEXT);
    if (pctx != nullptr) *pctx = reinterpret_cast<CUcontext>(stack().back());
    stack().pop_back();
  });
}

CUresult cuCtxGetDevice(CUdevice* device) {
  return call([&] {
    require(device != nullptr);
    current_context();
    *device = 0;
  });
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext ctx) {
  return call([&] {
    require(device != nullptr);
    context_or_current(ctx);
    *device = 0;
  });
}

CUresult cuCtxSynchronize() {
  return context_call([](const std::shared_ptr<Context>& context) {
    forbid_in(*context);
    return finish(*context, driver().queue.submitted());
  });
}

CUresult cuCtxSynchronize_v2(CUcontext ctx) {
  return call([&] {
    const auto context = context_or_current(ctx);
    forbid_in(*context);
    return finish(*context, driver().queue.submitted());
  });
}

CUresult cuCtxGetLimit(size_t* pvalue, CUlimit limit) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pvalue != nullptr && limit >= 0 && limit < CU_LIMIT_MAX);
    require(limit != CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH && limit != CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT,
            CUDA_ERROR_UNSUPPORTED_LIMIT);
    *pvalue = context->limits[limit];
  });
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(limit >= 0 && limit < CU_LIMIT_MAX);
    switch (limit) {
      // The executor sizes each thread's local memory from its kernel, and prints without a buffer; the
      // numbers are kept so that a program reads back what it set.
      case CU_LIMIT_STACK_SIZE:
      case CU_LIMIT_PRINTF_FIFO_SIZE:
      case CU_LIMIT_MALLOC_HEAP_SIZE:
        context->limits[limit] = value;
        break;
      case CU_LIMIT_MAX_L2_FETCH_GRANULARITY:
        require(value <= 128);
        context->limits[limit] = value;
        break;
      default:
        throw Failure(CUDA_ERROR_UNSUPPORTED_LIMIT);
    }
  });
}

CUresult cuCtxGetStreamPriorityRange(int* leastPriority, int* greatestPriority) {
  return context_call([&](const std::shared_ptr<Context>&) {
    if (leastPriority != nullptr) *leastPriority = 0;
    if (greatestPriority != nullptr) *greatestPriority = kGreatestStreamPriority;
  });
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int* version) {
  return call([&] {
    require(version != nullptr);
    context_or_current(ctx);
    *version = 3020;  // what contexts of the _v2 interface answer
  });
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long* ctxId) {
  return call([&] {
    require(ctxId != nullptr);
    *ctxId = context_or_current(ctx)->id;
  });
}

CUresult cuCtxGetFlags(unsigned int* flags) {
  return call([&] {
    require(flags != nullptr);
    *flags = current_context()->flags;
  });
}

CUresult cuCtxSetFlags(unsigned int flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require_known_flags(flags);
    context->flags = flags;
  });
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* pconfig) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pconfig != nullptr);
    *pconfig = context->cache_config;
  });
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(config >= CU_FUNC_CACHE_PREFER_NONE && config <= CU_FUNC_CACHE_PREFER_EQUAL);
    context->cache_config = config;
  });
}

// There is no cache whose lines could persist.
CUresult cuCtxResetPersistingL2Cache(void) {
  return context_call([](const std::shared_ptr<Context>&) {});
}
