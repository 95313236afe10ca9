// The state of this process towards the driver: not initialised, ready, forked, ending, or its session lost.
//
// enter() is the first thing that every exported function does; when all is well it costs four loads.
// Nothing here has a destructor: CUDA libraries call into the driver from their own static destructors.
#pragma once

#include <cuda.h>

#include <atomic>

#include "protocol/shared_memory.hpp"

namespace tfusion::hook {

enum class ProcessState : int {
  fresh,    // cuInit has not succeeded
  ready,    // connected to a worker
  forked,   // a child made by fork() of a process that used CUDA: it has no session of its own
  exiting,  // exit handlers run
  lost,     // the worker or its daemon is gone, or ended the session
};

extern std::atomic<ProcessState> process_state;
extern protocol::SharedMemory shared;  // valid from `ready` on

// cuInit: connects to the session's worker; idempotent and safe from several threads.
CUresult initialise();

// Called by the watcher thread or a waiting call when the connection ended; says why on stderr, once.
void session_lost();

// Whether the session is over, by a look at the connection itself. For waits, between naps.
bool connection_ended();

// Why the session is over, as a sentence; nullptr while it is not.
const char* loss_sentence();

// Whether this thread is running a host function, which may not call CUDA.
extern constinit thread_local bool in_host_function __attribute__((tls_model("initial-exec")));

CUresult enter_slowly(bool with_errors);

inline CUresult enter() {
  if (process_state.load(std::memory_order_acquire) == ProcessState::ready) [[likely]] {
    const protocol::WorkerStatus& status = shared.control().status;
    if (status.sticky_error.load(std::memory_order_relaxed) == 0 &&
        status.state.load(std::memory_order_relaxed) == 0 && !in_host_function) [[likely]] {
      return CUDA_SUCCESS;
    }
  }
  return enter_slowly(true);
}

// For the calls that work in spite of a sticky error: resetting the context.
inline CUresult enter_despite_errors() {
  return process_state.load(std::memory_order_acquire) == ProcessState::ready ? CUDA_SUCCESS
                                                                              : enter_slowly(false);
}

}  // namespace tfusion::hook
