// What a refused driver function does. Included by generated code that must not see cuda.h.
#pragma once

#define TFUSION_EXPORT __attribute__((visibility("default")))

namespace tfusion::hook {

// CUDA_ERROR_NOT_SUPPORTED; names `function` once on stderr (unless TFUSION_QUIET is set) and counts it.
int refuse(const char* function);

}  // namespace tfusion::hook
