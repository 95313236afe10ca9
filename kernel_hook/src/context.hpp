// The device's primary context, which is the one that a session has on the GPU, and the stack of current
// contexts of each thread. Contexts of the program's own are in own_context.cpp.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace tfusion::hook {

CUcontext primary_context();

// nullptr if this thread has none.
CUcontext current_context();

// CUDA_ERROR_INVALID_CONTEXT if this thread has no current context, CUDA_ERROR_CONTEXT_IS_DESTROYED if that
// is no more.
CUresult require_context();

// Storage that CUDA libraries keep per context (export table c693336e); emptied when the context is
// destroyed.
CUresult context_storage_put(CUcontext context, void* key, void* value,
                             void (*destroy)(CUcontext, void*, void*));
CUresult context_storage_remove(CUcontext context, void* key);
CUresult context_storage_get(void** value, CUcontext context, void* key);
void end_context_storage(CUcontext context);  // calls the destructors

// Waits for all work of the context; does nothing if nothing was sent since it last did.
CUresult drain();

}  // namespace tfusion::hook
