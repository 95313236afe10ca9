// The function functions: see function.hpp.
#include "function.hpp"

#include "device.hpp"
#include "entry.hpp"

namespace tfusion::software::driver {

LoadedFunction function_of(const std::shared_ptr<Context>& context, CUfunction handle) {
  Driver& gpu = driver();
  if (const auto function = gpu.handles.find<Function>(number_of(handle))) {
    const auto module = function->module.lock();
    require(module != nullptr, CUDA_ERROR_INVALID_HANDLE);
    return {module, function};
  }
  const auto kernel = gpu.handles.get<Kernel>(number_of(handle));
  const auto library = kernel->library.lock();
  require(library != nullptr, CUDA_ERROR_INVALID_HANDLE);
  const auto module = library->module_in(context);
  return {module, module->function(kernel->info.name)};
}

int get_function_attribute(const ptx::KernelInfo& info, const FunctionSettings& settings,
                           CUfunction_attribute attribute) {
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return static_cast<int>(info.max_threads_per_block);
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      return static_cast<int>(info.static_shared_bytes);
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      return static_cast<int>(info.local_bytes);
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      return static_cast<int>(info.registers);
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      return static_cast<int>(kComputeCapability);
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      return settings.max_dynamic_shared_bytes;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      return settings.preferred_carveout;
    // Clusters came with compute capability 9.0.
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      return 0;
    default:
      throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
}

void set_function_attribute(const ptx::KernelInfo& info, FunctionSettings& settings,
                            CUfunction_attribute attribute, int value) {
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      require(value >= 0 && info.static_shared_bytes <= kSharedPerBlockOptIn &&
              static_cast<std::size_t>(value) <= kSharedPerBlockOptIn - info.static_shared_bytes);
      settings.max_dynamic_shared_bytes = value;
      break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      require(value >= -1 && value <= 100);
      settings.preferred_carveout = value;
      break;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      throw Failure(CUDA_ERROR_NOT_SUPPORTED);
    default:
      throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuFuncGetAttribute(int* pi, CUfunction_attribute attrib, CUfunction hfunc) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pi != nullptr);
    const LoadedFunction loaded = function_of(context, hfunc);
    *pi = get_function_attribute(loaded.function->info, *loaded.function->settings, attrib);
  });
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const LoadedFunction loaded = function_of(context, hfunc);
    set_function_attribute(loaded.function->info, *loaded.function->settings, attrib, value);
  });
}

CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(config >= CU_FUNC_CACHE_PREFER_NONE && config <= CU_FUNC_CACHE_PREFER_EQUAL);
    function_of(context, hfunc);
  });
}

CUresult cuFuncGetModule(CUmodule* hmod, CUfunction hfunc) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(hmod != nullptr);
    *hmod = handle_of<CUmodule>(*function_of(context, hfunc).module);
  });
}

CUresult cuFuncGetName(const char** name, CUfunction hfunc) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(name != nullptr);
    *name = function_of(context, hfunc).function->info.name.c_str();  // lives as long as the module
  });
}

CUresult cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t* paramOffset, size_t* paramSize) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto function = function_of(context, func).function;
    require(paramOffset != nullptr && paramIndex < function->info.parameters.size());
    *paramOffset = function->info.parameters[paramIndex].offset;
    if (paramSize != nullptr) *paramSize = function->info.parameters[paramIndex].bytes;
  });
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction function) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(state != nullptr);
    function_of(context, function);
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
  });
}

CUresult cuFuncLoad(CUfunction function) {
  return context_call([&](const std::shared_ptr<Context>& context) { function_of(context, function); });
}
