// Host functions run on a thread of this process that the first of them starts; see host_functions.cpp.
#pragma once

#include <cuda.h>

namespace tfusion::hook {

// Makes sure that the thread is there: before anything is sent that may ask for it.
CUresult start_host_thread();

}  // namespace tfusion::hook
