// Modules and libraries: loading, and finding kernels and variables in them. A library's and a module's
// handle are the same kind of object, so cuLibraryGetModule gives the handle back.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "globals.hpp"
#include "image.hpp"
#include "objects.hpp"
#include "own_context.hpp"

namespace tfusion::hook {

namespace {

// The worker's answer to a digest that its cache does not hold.
constexpr std::int32_t kSendImage = -1;

CUresult load(const void* image, const JitOptions& jit, bool as_library, std::uint64_t* out) {
  std::span<const std::byte> bytes;
  if (CUresult r = image_extent(image, &bytes); r != CUDA_SUCCESS) return r;
  const protocol::Digest digest = protocol::sha256(bytes);
  const std::uint64_t handle = modules().create([&](ModuleObject& m) { m.as_library = as_library; });
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;

  std::uint64_t pairs[64];
  wire::ModuleLoad command{};
  command.module = handle;
  command.image_bytes = bytes.size();
  command.option_count = jit.encode(pairs);
  command.as_library = as_library;
  std::memcpy(command.digest, digest.data(), digest.size());
  auto ask = [&](bool* image_is_missing) {
    Reply reply;
    const CUresult result = call_with(reply, command, pairs, command.option_count * 16);
    *image_is_missing = reply.raw_result() == kSendImage;
    if (!*image_is_missing) deliver_logs<wire::ModuleLoadReply>(jit, reply, result);
    return result;
  };
  bool image_is_missing = false;
  CUresult result = ask(&image_is_missing);
  if (image_is_missing) {
    result = upload_image(digest, bytes);
    if (result == CUDA_SUCCESS) result = ask(&image_is_missing);
  }
  if (result != CUDA_SUCCESS) {
    modules().erase(handle);
    return result;
  }
  if (!as_library) own(Owned::module, handle);
  *out = handle;
  return CUDA_SUCCESS;
}

// The whole file with a NUL behind it, so that PTX text ends.
CUresult read_file(const char* name, std::vector<std::byte>* out) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CUDA_ERROR_FILE_NOT_FOUND;
  struct stat status{};
  CUresult result = CUDA_ERROR_FILE_NOT_FOUND;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    out->resize(static_cast<std::size_t>(status.st_size) + 1);
    std::size_t have = 0;
    while (have + 1 < out->size()) {
      const ssize_t n = read(fd, out->data() + have, out->size() - 1 - have);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      have += static_cast<std::size_t>(n);
    }
    if (have + 1 == out->size()) result = CUDA_SUCCESS;
  }
  close(fd);
  return result;
}

CUresult unload(std::uint64_t handle) {
  ModuleObject* module = modules().find(handle);
  if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  CUresult result = CUDA_SUCCESS;
  {
    std::lock_guard lock(module->mutex);
    for (const auto& [name, kernel] : module->kernels) {
      if (!kernels().retire(kernel)) continue;
      wire::KernelRelease command{};
      command.kernel = kernel;
      if (CUresult r = post(command); r != CUDA_SUCCESS) result = r;
      kernels().recycle(kernel);
    }
    for (const auto& [name, global] : module->globals) forget_global(global.first);
  }
  if (!modules().retire(handle)) return CUDA_ERROR_INVALID_HANDLE;
  disown(Owned::module, handle);
  wire::ModuleUnload command{};
  command.module = handle;
  if (CUresult r = post(command); r != CUDA_SUCCESS) result = r;
  modules().recycle(handle);
  return result;
}

CUresult find_kernel(std::uint64_t handle, const char* name, std::uint64_t* out) {
  if (name == nullptr || out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ModuleObject* module = modules().find(handle);
  if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  std::lock_guard lock(module->mutex);
  if (const auto known = module->kernels.find(name); known != module->kernels.end()) {
    *out = known->second;
    return CUDA_SUCCESS;
  }
  const std::uint64_t kernel = kernels().create([&](KernelObject& k) {
    k.name = name;
    k.module = handle;
  });
  if (kernel == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  wire::ModuleGetKernel command{};
  command.module = handle;
  command.kernel = kernel;
  const CUresult result = call(command, nullptr, name, static_cast<std::uint32_t>(std::strlen(name)));
  if (result != CUDA_SUCCESS) {
    kernels().erase(kernel);
    return result;
  }
  module->kernels.emplace(name, kernel);
  *out = kernel;
  return CUDA_SUCCESS;
}

CUresult find_variable(std::uint64_t handle, const char* name, CUdeviceptr* address, std::size_t* bytes) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ModuleObject* module = modules().find(handle);
  if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  std::lock_guard lock(module->mutex);
  auto known = module->globals.find(name);
  if (known == module->globals.end()) {
    wire::ModuleGetGlobal command{};
    command.module = handle;
    wire::ModuleGetGlobalReply reply{};
    const CUresult result = call(command, &reply, name, static_cast<std::uint32_t>(std::strlen(name)));
    if (result != CUDA_SUCCESS) return result;
    known =
        module->globals.emplace(name, std::pair{CUdeviceptr{reply.address}, std::size_t{reply.bytes}}).first;
    remember_global(reply.address, reply.bytes);
  }
  if (address != nullptr) *address = known->second.first;
  if (bytes != nullptr) *bytes = known->second.second;
  return CUDA_SUCCESS;
}

// All kernel names, page by page.
CUresult kernel_names(std::uint64_t handle, std::vector<std::string>* names) {
  if (modules().find(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  names->clear();
  for (;;) {
    wire::ModuleKernelNames command{};
    command.module = handle;
    command.first = static_cast<std::uint32_t>(names->size());
    Reply reply;
    if (CUresult r = call_with(reply, command); r != CUDA_SUCCESS) return r;
    if (reply.payload_bytes() < sizeof(wire::ModuleKernelNamesReply)) return CUDA_ERROR_UNKNOWN;
    wire::ModuleKernelNamesReply page;
    std::memcpy(&page, reply.payload(), sizeof page);
    const auto* text = reinterpret_cast<const char*>(reply.payload() + sizeof page);
    const char* end = reinterpret_cast<const char*>(reply.payload() + reply.payload_bytes());
    for (std::uint32_t i = 0; i < page.listed; ++i) {
      const char* stop = static_cast<const char*>(std::memchr(text, 0, static_cast<std::size_t>(end - text)));
      if (stop == nullptr) return CUDA_ERROR_UNKNOWN;
      names->emplace_back(text, stop);
      text = stop + 1;
    }
    if (names->size() >= page.total) return CUDA_SUCCESS;
    if (page.listed == 0) return CUDA_ERROR_UNKNOWN;  // a name that no reply can hold
  }
}

template <typename Handle>
CUresult enumerate(std::uint64_t module, Handle* out, unsigned room) {
  if (out == nullptr && room > 0) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::string> names;
  if (CUresult r = kernel_names(module, &names); r != CUDA_SUCCESS) return r;
  for (unsigned i = 0; i < room && i < names.size(); ++i) {
    std::uint64_t kernel = 0;
    if (CUresult r = find_kernel(module, names[i].c_str(), &kernel); r != CUDA_SUCCESS) return r;
    out[i] = reinterpret_cast<Handle>(kernel);
  }
  return CUDA_SUCCESS;
}

CUresult count(std::uint64_t module, unsigned* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::vector<std::string> names;
  const CUresult result = kernel_names(module, &names);
  if (result == CUDA_SUCCESS) *out = static_cast<unsigned>(names.size());
  return result;
}

template <typename Handle>
CUresult load_to(Handle* out, const void* image, const JitOptions& jit, bool as_library) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::uint64_t handle = 0;
  const CUresult result = load(image, jit, as_library, &handle);
  if (result == CUDA_SUCCESS) *out = reinterpret_cast<Handle>(handle);
  return result;
}

}  // namespace

namespace api {

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int numOptions,
                            CUjit_option* options, void** optionValues) {
  if (numOptions > 0 && (options == nullptr || optionValues == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  return load_to(module, image, JitOptions{{options, numOptions}, optionValues}, false);
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return api::cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

CUresult cuModuleLoadFatBinary(CUmodule* module, const void* fatCubin) {
  return api::cuModuleLoadData(module, fatCubin);
}

CUresult cuModuleLoad(CUmodule* module, const char* fname) {
  std::vector<std::byte> image;
  if (CUresult r = read_file(fname, &image); r != CUDA_SUCCESS) return r;
  return api::cuModuleLoadData(module, image.data());
}

CUresult cuModuleUnload(CUmodule hmod) {
  return unload(number(hmod));
}

CUresult cuModuleGetFunction(CUfunction* hfunc, CUmodule hmod, const char* name) {
  std::uint64_t kernel = 0;
  const CUresult result = find_kernel(number(hmod), name, hfunc != nullptr ? &kernel : nullptr);
  if (result == CUDA_SUCCESS) *hfunc = reinterpret_cast<CUfunction>(kernel);
  return result;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* dptr, size_t* bytes, CUmodule hmod, const char* name) {
  return find_variable(number(hmod), name, dptr, bytes);
}

CUresult cuModuleGetFunctionCount(unsigned int* out, CUmodule mod) {
  return count(number(mod), out);
}

CUresult cuModuleEnumerateFunctions(CUfunction* functions, unsigned int numFunctions, CUmodule mod) {
  return enumerate(number(mod), functions, numFunctions);
}

// Library options say how long the driver may rely on the image's memory; the worker keeps a copy of its own.
CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* jitOptions,
                           void** jitOptionsValues, unsigned int numJitOptions, CUlibraryOption*, void**,
                           unsigned int) {
  if (numJitOptions > 0 && (jitOptions == nullptr || jitOptionsValues == nullptr))
    return CUDA_ERROR_INVALID_VALUE;
  return load_to(library, code, JitOptions{{jitOptions, numJitOptions}, jitOptionsValues}, true);
}

CUresult cuLibraryLoadFromFile(CUlibrary* library, const char* fileName, CUjit_option* jitOptions,
                               void** jitOptionsValues, unsigned int numJitOptions,
                               CUlibraryOption* libraryOptions, void** libraryOptionValues,
                               unsigned int numLibraryOptions) {
  std::vector<std::byte> image;
  if (CUresult r = read_file(fileName, &image); r != CUDA_SUCCESS) return r;
  return api::cuLibraryLoadData(library, image.data(), jitOptions, jitOptionsValues, numJitOptions,
                                libraryOptions, libraryOptionValues, numLibraryOptions);
}

CUresult cuLibraryUnload(CUlibrary library) {
  return unload(number(library));
}

CUresult cuLibraryGetModule(CUmodule* pMod, CUlibrary library) {
  if (pMod == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (modules().find(number(library)) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *pMod = reinterpret_cast<CUmodule>(library);
  return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel* pKernel, CUlibrary library, const char* name) {
  std::uint64_t kernel = 0;
  const CUresult result = find_kernel(number(library), name, pKernel != nullptr ? &kernel : nullptr);
  if (result == CUDA_SUCCESS) *pKernel = reinterpret_cast<CUkernel>(kernel);
  return result;
}

CUresult cuLibraryGetGlobal(CUdeviceptr* dptr, size_t* bytes, CUlibrary library, const char* name) {
  return find_variable(number(library), name, dptr, bytes);
}

CUresult cuLibraryGetManaged(CUdeviceptr*, size_t*, CUlibrary library, const char* name) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (modules().find(number(library)) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  // The driver of the GPU's host keeps such a variable in its own process, where this one cannot reach it;
  // what cudaMallocManaged allocates is reached from both.
  return static_cast<CUresult>(refuse("a __managed__ variable (use cudaMallocManaged instead)"));
}

CUresult cuLibraryGetKernelCount(unsigned int* out, CUlibrary lib) {
  return count(number(lib), out);
}

CUresult cuLibraryEnumerateKernels(CUkernel* kernels, unsigned int numKernels, CUlibrary lib) {
  return enumerate(number(lib), kernels, numKernels);
}

}  // namespace api
}  // namespace tfusion::hook
