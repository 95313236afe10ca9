// Kernels: what the driver says of one is asked once and then answered here.
#include "kernel.hpp"

#include <algorithm>
#include <cstring>

#include "api.hpp"
#include "call.hpp"
#include "objects.hpp"

namespace tfusion::hook {

namespace {

constexpr int kAttributes = 24;

CUresult ask(std::uint64_t handle, KernelDescription* out) {
  for (;;) {
    wire::KernelDescribe command{};
    command.kernel = handle;
    command.first_parameter = static_cast<std::uint32_t>(out->parameters.size());
    Reply reply;
    if (CUresult r = call_with(reply, command); r != CUDA_SUCCESS) return r;
    wire::KernelDescribeReply page;
    if (reply.payload_bytes() < sizeof page) return CUDA_ERROR_UNKNOWN;
    std::memcpy(&page, reply.payload(), sizeof page);
    if (reply.payload_bytes() < sizeof page + page.listed * sizeof(ParameterInfo)) return CUDA_ERROR_UNKNOWN;
    std::memcpy(out->attributes, page.attributes, sizeof out->attributes);
    for (std::uint32_t i = 0; i < page.listed; ++i) {
      ParameterInfo p;
      std::memcpy(&p, reply.payload() + sizeof page + i * sizeof p, sizeof p);
      out->parameters.push_back(p);
      out->parameter_bytes = std::max(out->parameter_bytes, p.offset + p.bytes);
    }
    if (out->parameters.size() >= page.parameter_count) return CUDA_SUCCESS;
    if (page.listed == 0) return CUDA_ERROR_UNKNOWN;
  }
}

CUresult attribute(int* value, int which, std::uint64_t handle) {
  if (value == nullptr || which < 0 || which >= CU_FUNC_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
  const KernelDescription* description = nullptr;
  if (CUresult r = describe_kernel(handle, &description); r != CUDA_SUCCESS) return r;
  *value = description->attributes[which];
  return CUDA_SUCCESS;
}

CUresult set_attribute(int which, int value, std::uint64_t handle) {
  if (which < 0 || which >= CU_FUNC_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
  const KernelDescription* description = nullptr;
  if (CUresult r = describe_kernel(handle, &description); r != CUDA_SUCCESS) return r;
  KernelObject* kernel = kernels().find(handle);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const protocol::DeviceFacts& facts = shared.control().facts;
  if (which == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
    const int most = facts.attributes[CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN];
    if (value < 0 || value > most - description->attributes[CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES]) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  wire::KernelSetAttribute command{};
  command.kernel = handle;
  command.attribute = which;
  command.value = value;
  std::lock_guard lock(kernel->mutex);
  const CUresult result = post(command);
  if (result == CUDA_SUCCESS && kernel->owned) {
    kernel->owned->attributes[which] = value;
    kernel->occupancy.clear();
  }
  return result;
}

CUresult parameter(std::uint64_t handle, std::size_t index, std::size_t* offset, std::size_t* bytes) {
  if (offset == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const KernelDescription* description = nullptr;
  if (CUresult r = describe_kernel(handle, &description); r != CUDA_SUCCESS) return r;
  if (index >= description->parameters.size()) return CUDA_ERROR_INVALID_VALUE;
  *offset = description->parameters[index].offset;
  if (bytes != nullptr) *bytes = description->parameters[index].bytes;
  return CUDA_SUCCESS;
}

CUresult cache_config(std::uint64_t handle, CUfunc_cache config) {
  if (kernels().find(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  wire::KernelSetCacheConfig command{};
  command.kernel = handle;
  command.config = static_cast<std::int32_t>(config);
  return post(command);
}

CUresult name_of(const char** name, std::uint64_t handle) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const KernelObject* kernel = kernels().find(handle);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *name = kernel->name.c_str();
  return CUDA_SUCCESS;
}

template <typename Module>
CUresult module_of(Module* out, std::uint64_t handle) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const KernelObject* kernel = kernels().find(handle);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *out = reinterpret_cast<Module>(kernel->module);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult describe_kernel(std::uint64_t handle, const KernelDescription** out) {
  KernelObject* kernel = kernels().find(handle);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *out = kernel->description.load(std::memory_order_acquire);
  if (*out != nullptr) return CUDA_SUCCESS;
  std::lock_guard lock(kernel->mutex);
  if (!kernel->owned) {
    auto description = std::make_unique<KernelDescription>();
    if (CUresult r = ask(handle, description.get()); r != CUDA_SUCCESS) return r;
    kernel->owned = std::move(description);
    kernel->description.store(kernel->owned.get(), std::memory_order_release);
  }
  *out = kernel->owned.get();
  return CUDA_SUCCESS;
}

namespace api {

static_assert(CU_FUNC_ATTRIBUTE_MAX <= kAttributes);

CUresult cuKernelGetAttribute(int* pi, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev) {
  return dev != 0 ? CUDA_ERROR_INVALID_DEVICE : attribute(pi, attrib, number(kernel));
}
CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel, CUdevice dev) {
  return dev != 0 ? CUDA_ERROR_INVALID_DEVICE : set_attribute(attrib, val, number(kernel));
}
CUresult cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t* paramOffset, size_t* paramSize) {
  return parameter(number(kernel), paramIndex, paramOffset, paramSize);
}
CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev) {
  return dev != 0 ? CUDA_ERROR_INVALID_DEVICE : cache_config(number(kernel), config);
}
CUresult cuKernelGetName(const char** name, CUkernel hfunc) {
  return name_of(name, number(hfunc));
}
CUresult cuKernelGetLibrary(CUlibrary* pLib, CUkernel kernel) {
  return module_of(pLib, number(kernel));
}
CUresult cuKernelGetFunction(CUfunction* pFunc, CUkernel kernel) {
  if (pFunc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (kernels().find(number(kernel)) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *pFunc = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int* pi, CUfunction_attribute attrib, CUfunction hfunc) {
  return attribute(pi, attrib, number(hfunc));
}
CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value) {
  return set_attribute(attrib, value, number(hfunc));
}
CUresult cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t* paramOffset, size_t* paramSize) {
  return parameter(number(func), paramIndex, paramOffset, paramSize);
}
CUresult cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config) {
  return cache_config(number(hfunc), config);
}
CUresult cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig) {
  // Without meaning since compute capability 5.0.
  return kernels().find(number(hfunc)) == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
CUresult cuFuncGetName(const char** name, CUfunction hfunc) {
  return name_of(name, number(hfunc));
}
CUresult cuFuncGetModule(CUmodule* hmod, CUfunction hfunc) {
  return module_of(hmod, number(hfunc));
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction function) {
  if (state == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const KernelObject* kernel = kernels().find(number(function));
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *state = kernel->description.load() != nullptr ? CU_FUNCTION_LOADING_STATE_LOADED
                                                 : CU_FUNCTION_LOADING_STATE_UNLOADED;
  return CUDA_SUCCESS;
}
CUresult cuFuncLoad(CUfunction function) {
  const KernelDescription* description = nullptr;  // describing a kernel loads it
  return describe_kernel(number(function), &description);
}

}  // namespace api
}  // namespace tfusion::hook
