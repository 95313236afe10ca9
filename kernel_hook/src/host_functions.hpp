// Host functions run on a thread of this process that the first of them starts; see host_functions.cpp.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace tfusion::hook {

// Makes sure that the thread is there: before anything is sent that may ask for it.
CUresult start_host_thread();

// A host function of our own, in a stream as it travels.
CUresult call_behind(std::uint64_t stream, void (*function)(void*), void* argument);

}  // namespace tfusion::hook
