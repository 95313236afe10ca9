// Functions as launches and queries see them: a CUfunction, or a CUkernel in its place.
#pragma once

#include "library.hpp"
#include "module.hpp"

namespace tfusion::software::driver {

struct LoadedFunction {
  std::shared_ptr<Module> module;  // keeps the program and its variables alive
  std::shared_ptr<Function> function;
};

// The function of a handle; a kernel's is that of its library in the current context. Throws
// CUDA_ERROR_INVALID_HANDLE.
LoadedFunction function_of(const std::shared_ptr<Context>& context, CUfunction handle);

// Shared by cuFuncGetAttribute and cuKernelGetAttribute, and by the two setters. Throw
// CUDA_ERROR_INVALID_VALUE.
int get_function_attribute(const ptx::KernelInfo& info, const FunctionSettings& settings,
                           CUfunction_attribute attribute);
void set_function_attribute(const ptx::KernelInfo& info, FunctionSettings& settings,
                            CUfunction_attribute attribute, int value);

}  // namespace tfusion::software::driver
