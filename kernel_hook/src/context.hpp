// The one context that a session has, the device's primary context, and the stack of current contexts of each
// thread.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace tfusion::hook {

CUcontext primary_context();

// CUDA_ERROR_INVALID_CONTEXT if this thread has no current context or the primary context is not retained.
CUresult require_context();

// Storage that CUDA libraries keep per context (export table c693336e); emptied when the context is
// destroyed.
CUresult context_storage_put(CUcontext context, void* key, void* value,
                             void (*destroy)(CUcontext, void*, void*));
CUresult context_storage_remove(CUcontext context, void* key);
CUresult context_storage_get(void** value, CUcontext context, void* key);

// Waits for all work of the context; does nothing if nothing was sent since it last did.
CUresult drain();

}  // namespace tfusion::hook
