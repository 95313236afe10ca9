#include "driver.hpp"

#include <dlfcn.h>

#include <stdexcept>

namespace tfusion::replay {

Driver::Driver(const std::string& path) {
  // Never closed: a driver leaves threads behind.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    throw std::runtime_error("The GPU driver " + path +
                             " cannot be loaded: " + (why != nullptr ? why : "unknown reason"));
  }
  functions_.for_each([&](const char* name, auto& function, bool required) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr && required) {
      throw std::runtime_error("The GPU driver " + path + " has no " + name +
                               "; a driver for CUDA 12.4 or later is needed.");
    }
  });
}

std::string Driver::describe(CUresult result) const {
  const char* name = nullptr;
  const char* sentence = nullptr;
  functions_.cuGetErrorName(result, &name);
  functions_.cuGetErrorString(result, &sentence);
  return std::string(name != nullptr ? name : std::to_string(result)) +
         (sentence != nullptr ? std::string(": ") + sentence : "");
}

void Driver::require(CUresult result, const char* what) const {
  if (result != CUDA_SUCCESS) throw std::runtime_error(std::string(what) + " failed: " + describe(result));
}

}  // namespace tfusion::replay
