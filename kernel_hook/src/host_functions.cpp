// Host functions and stream callbacks. They are the program's code, so they run here, when the worker says
// that their turn in the stream has come. CUDA calls are not permitted in them; enter() sees to that.
#include "host_functions.hpp"

#include <pthread.h>
#include <signal.h>

#include <mutex>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "objects.hpp"
#include "protocol/futex.hpp"

namespace tfusion::hook {

constinit thread_local bool in_host_function = false;

namespace {

using protocol::HostCall;

constexpr std::uint64_t kNapNs = 1'000'000'000;  // between looks at whether the session still lives

constinit std::mutex mutex;
constinit bool started = false;

void run(const HostCall& call) {
  in_host_function = true;
  if (call.kind == HostCall::callback) {
    reinterpret_cast<CUstreamCallback>(call.code)(reinterpret_cast<CUstream>(call.stream), CUDA_SUCCESS,
                                                  reinterpret_cast<void*>(call.argument));
  } else {
    reinterpret_cast<CUhostFn>(call.code)(reinterpret_cast<void*>(call.argument));
  }
  in_host_function = false;
}

void* run_host_functions(void*) {
  HostCall& call = shared.control().host_call;
  std::uint32_t done = call.finished.load();
  for (;;) {
    const std::uint32_t requested = call.requested.load(std::memory_order_acquire);
    if (requested != done) {
      run(call);
      done = requested;
      call.finished.store(done, std::memory_order_seq_cst);
      protocol::futex_wake(call.finished);
    } else {
      if (connection_ended()) return nullptr;
      protocol::futex_wait(call.requested, done, kNapNs);
    }
  }
}

CUresult send(HostCall::Kind kind, std::uint64_t stream, std::uint64_t named_stream, std::uint64_t code,
              void* argument) {
  if (CUresult r = start_host_thread(); r != CUDA_SUCCESS) return r;
  wire::HostFunction command{};
  command.stream = stream;
  command.code = code;
  command.argument = number(argument);
  command.named_stream = named_stream;
  command.kind = kind;
  return post(command);
}

CUresult launch(HostCall::Kind kind, CUstream stream, std::uint64_t code, void* argument) {
  if (code == 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(stream, &on); r != CUDA_SUCCESS) return r;
  return send(kind, on, number(stream), code, argument);
}

}  // namespace

CUresult start_host_thread() {
  std::lock_guard lock(mutex);
  if (started) return CUDA_SUCCESS;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigset_t all, before;  // the program's signal handlers must not run on our thread
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  started = pthread_create(&thread, &attributes, run_host_functions, nullptr) == 0;
  if (started) pthread_setname_np(thread, "tfusion-host");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return started ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

CUresult call_behind(std::uint64_t stream, void (*function)(void*), void* argument) {
  return send(HostCall::function, stream, 0, reinterpret_cast<std::uint64_t>(function), argument);
}

namespace api {

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void* userData) {
  return launch(HostCall::function, hStream, reinterpret_cast<std::uint64_t>(fn), userData);
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void* userData,
                             unsigned int flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return launch(HostCall::callback, hStream, reinterpret_cast<std::uint64_t>(callback), userData);
}

}  // namespace api
}  // namespace tfusion::hook
