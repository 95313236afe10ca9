// The library and kernel functions: see library.hpp.
#include "library.hpp"

#include "device.hpp"
#include "entry.hpp"
#include "function.hpp"
#include "image.hpp"
#include "jit_options.hpp"

namespace tfusion::software::driver {

Library::Library(std::vector<std::string> ptx_texts)
    : texts_(std::move(ptx_texts)), spare_(compile_texts(texts_)) {
  for (const ptx::KernelInfo& info : spare_->kernels()) kernels_.push_back(std::make_shared<Kernel>(info));
}

void Library::publish() {
  driver().handles.add(shared_from_this());
  for (const auto& each : kernels_) {
    each->library = weak_from_this();
    driver().handles.add(each);
  }
}

void Library::withdraw() {
  for (const auto& each : kernels_) driver().handles.remove(each->handle);
  driver().handles.remove(handle);
  std::map<std::uint64_t, std::weak_ptr<Module>> modules;
  {
    const std::lock_guard lock(mutex_);
    modules.swap(modules_);
  }
  for (const auto& [context, weak] : modules) {
    if (const auto module = weak.lock()) module->withdraw();
  }
}

std::shared_ptr<Module> Library::module_in(const std::shared_ptr<Context>& context) {
  const std::lock_guard lock(mutex_);
  if (auto module = modules_[context->handle].lock()) return module;
  std::unique_ptr<ptx::Program> program = spare_ ? std::move(spare_) : compile_texts(texts_);
  std::vector<std::shared_ptr<FunctionSettings>> settings;
  settings.reserve(kernels_.size());
  for (const auto& each : kernels_) settings.push_back(each->settings);
  const auto module = std::make_shared<Module>(*context, std::move(program), settings);
  module->library = handle;
  for (std::size_t index = 0; index < kernels_.size(); ++index) {
    module->functions()[index]->kernel = kernels_[index]->handle;
  }
  module->publish();
  modules_[context->handle] = module;
  return module;
}

std::shared_ptr<Kernel> Library::kernel(const std::string& name) const {
  for (const auto& each : kernels_) {
    if (each->info.name == name) return each;
  }
  return nullptr;
}

namespace {

std::shared_ptr<Kernel> kernel_of(CUkernel handle) {
  return driver().handles.get<Kernel>(number_of(handle));
}

std::shared_ptr<Library> library_of(CUlibrary handle) {
  return driver().handles.get<Library>(number_of(handle));
}

std::shared_ptr<Library> library_of(const Kernel& kernel) {
  auto library = kernel.library.lock();
  require(library != nullptr, CUDA_ERROR_INVALID_HANDLE);
  return library;
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* jitOptions,
                           void** jitOptionsValues, unsigned int numJitOptions,
                           CUlibraryOption* libraryOptions, void** libraryOptionValues,
                           unsigned int numLibraryOptions) {
  return call([&] {
    require(library != nullptr && code != nullptr);
    require(numLibraryOptions == 0 || (libraryOptions != nullptr && libraryOptionValues != nullptr));
    JitOptions options(numJitOptions, jitOptions, jitOptionsValues);
    const auto loaded = options.logged([&] { return std::make_shared<Library>(ptx_of_image(code)); });
    loaded->publish();
    *library = handle_of<CUlibrary>(*loaded);
  });
}

CUresult cuLibraryUnload(CUlibrary library) {
  return call([&] { library_of(library)->withdraw(); });
}

CUresult cuLibraryGetKernel(CUkernel* pKernel, CUlibrary library, const char* name) {
  return call([&] {
    require(pKernel != nullptr && name != nullptr);
    const auto kernel = library_of(library)->kernel(name);
    require(kernel != nullptr, CUDA_ERROR_NOT_FOUND);
    *pKernel = handle_of<CUkernel>(*kernel);
  });
}

CUresult cuLibraryGetKernelCount(unsigned int* count, CUlibrary lib) {
  return call([&] {
    require(count != nullptr);
    *count = static_cast<unsigned>(library_of(lib)->kernels().size());
  });
}

CUresult cuLibraryEnumerateKernels(CUkernel* kernels, unsigned int numKernels, CUlibrary lib) {
  return call([&] {
    require(kernels != nullptr && numKernels != 0);
    const auto library = library_of(lib);
    for (unsigned index = 0; index < numKernels && index < library->kernels().size(); ++index) {
      kernels[index] = handle_of<CUkernel>(*library->kernels()[index]);
    }
  });
}

CUresult cuLibraryGetModule(CUmodule* pMod, CUlibrary library) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pMod != nullptr);
    *pMod = handle_of<CUmodule>(*library_of(library)->module_in(context));
  });
}

CUresult cuLibraryGetGlobal(CUdeviceptr* dptr, size_t* bytes, CUlibrary library, const char* name) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(name != nullptr && (dptr != nullptr || bytes != nullptr));
    const auto module = library_of(library)->module_in(context);
    const Variable* variable = module->variable(name);
    require(variable != nullptr, CUDA_ERROR_NOT_FOUND);
    if (dptr != nullptr) *dptr = variable->address;
    if (bytes != nullptr) *bytes = variable->bytes;
  });
}

CUresult cuLibraryGetManaged(CUdeviceptr* dptr, size_t* bytes, CUlibrary library, const char* name) {
  return call([&] {
    require(name != nullptr && (dptr != nullptr || bytes != nullptr));
    library_of(library);
    throw Failure(CUDA_ERROR_NOT_FOUND);  // the software GPU has no managed memory
  });
}

CUresult cuKernelGetFunction(CUfunction* pFunc, CUkernel kernel) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pFunc != nullptr);
    const auto found = kernel_of(kernel);
    const auto module = library_of(*found)->module_in(context);
    *pFunc = handle_of<CUfunction>(*module->function(found->info.name));
  });
}

CUresult cuKernelGetLibrary(CUlibrary* pLib, CUkernel kernel) {
  return call([&] {
    require(pLib != nullptr);
    *pLib = handle_of<CUlibrary>(*library_of(*kernel_of(kernel)));
  });
}

CUresult cuKernelGetName(const char** name, CUkernel hfunc) {
  return call([&] {
    require(name != nullptr);
    *name = kernel_of(hfunc)->info.name.c_str();
  });
}

CUresult cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t* paramOffset, size_t* paramSize) {
  return call([&] {
    const auto found = kernel_of(kernel);
    require(paramOffset != nullptr && paramIndex < found->info.parameters.size());
    *paramOffset = found->info.parameters[paramIndex].offset;
    if (paramSize != nullptr) *paramSize = found->info.parameters[paramIndex].bytes;
  });
}

CUresult cuKernelGetAttribute(int* pi, CUfunction_attribute attrib, CUkernel kernel, CUdevice dev) {
  return call([&] {
    require(pi != nullptr);
    require_device(dev);
    const auto found = kernel_of(kernel);
    *pi = get_function_attribute(found->info, *found->settings, attrib);
  });
}

CUresult cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel, CUdevice dev) {
  return call([&] {
    require_device(dev);
    const auto found = kernel_of(kernel);
    set_function_attribute(found->info, *found->settings, attrib, val);
  });
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev) {
  return call([&] {
    require(config >= CU_FUNC_CACHE_PREFER_NONE && config <= CU_FUNC_CACHE_PREFER_EQUAL);
    require_device(dev);
    kernel_of(kernel);
  });
}
