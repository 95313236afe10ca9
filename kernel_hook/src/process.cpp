#include "process.hpp"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "background_thread.hpp"
#include "connection.hpp"
#include "device_text.hpp"
#include "log.hpp"
#include "visible_devices.hpp"

namespace tfusion::hook {

constinit std::atomic<ProcessState> process_state{ProcessState::fresh};
constinit protocol::SharedMemory shared{};

namespace {

constinit std::mutex initialise_mutex;
constinit int session_socket = -1;
constinit std::atomic<bool> loss_told{false};
constinit char loss_text[640] = {};
constinit std::atomic<bool> error_told{false};

void in_forked_child() {
  // Only this thread exists here; others' locks may be held for ever. The child must neither send on the ring
  // nor keep the connection open, or the parent's death would go unseen.
  const ProcessState before = process_state.load(std::memory_order_relaxed);
  if (before == ProcessState::fresh) return;
  process_state.store(ProcessState::forked, std::memory_order_relaxed);
  if (session_socket >= 0) close(session_socket);
  session_socket = -1;
}

void at_exit() {
  ProcessState expected = ProcessState::ready;
  process_state.compare_exchange_strong(expected, ProcessState::exiting);
}

// Sees the end of the connection at once, so that the next call, even a local one, can say so.
void* watch_connection(void*) {
  pollfd p{session_socket, POLLIN | POLLRDHUP, 0};
  for (;;) {
    const int n = poll(&p, 1, -1);
    if (n > 0 || (n < 0 && errno != EINTR)) break;
  }
  session_lost();
  return nullptr;
}

}  // namespace

CUresult initialise() {
  switch (process_state.load(std::memory_order_acquire)) {
    case ProcessState::ready:
      return CUDA_SUCCESS;
    case ProcessState::forked:
      return CUDA_ERROR_NOT_INITIALIZED;
    case ProcessState::exiting:
      return CUDA_ERROR_DEINITIALIZED;
    case ProcessState::lost:
      return enter_slowly(true);
    case ProcessState::fresh:
      break;
  }
  if (!device_is_visible()) return CUDA_ERROR_NO_DEVICE;
  std::lock_guard lock(initialise_mutex);
  if (process_state.load(std::memory_order_acquire) == ProcessState::ready) return CUDA_SUCCESS;
  Connection connection = connect_to_worker();
  if (connection.result != CUDA_SUCCESS) {
    if (connection.refusal[0] != '\0') log("%s", connection.refusal);
    return connection.result;
  }
  shared = connection.shared;
  session_socket = connection.socket;
  static bool handlers_set = false;
  if (!handlers_set) {
    handlers_set = true;
    pthread_atfork(nullptr, nullptr, in_forked_child);
    std::atexit(at_exit);
  }
  process_state.store(ProcessState::ready, std::memory_order_release);
  // Without it, waiting calls still look at the connection themselves; see connection_ended.
  start_background_thread("tfusion-watch", watch_connection);
  return CUDA_SUCCESS;
}

bool connection_ended() {
  if (process_state.load(std::memory_order_relaxed) != ProcessState::ready) return true;
  pollfd p{session_socket, POLLIN | POLLRDHUP, 0};
  if (poll(&p, 1, 0) <= 0) return false;
  session_lost();
  return true;
}

void session_lost() {
  if (loss_told.exchange(true)) return;
  const protocol::WorkerStatus& status = shared.control().status;
  if (status.state.load(std::memory_order_acquire) ==
      static_cast<std::uint32_t>(protocol::SessionState::ended)) {
    std::snprintf(loss_text, sizeof loss_text, "%.511s", status.reason);
  } else {
    std::snprintf(
        loss_text, sizeof loss_text,
        "The GPU worker of this process is gone (it was killed or crashed), and the data that was on the "
        "GPU with it. Restart the kernel to get a new one.");
  }
  ProcessState expected = ProcessState::ready;
  process_state.compare_exchange_strong(expected, ProcessState::lost);
}

const char* loss_sentence() {
  return process_state.load() == ProcessState::lost ? loss_text : nullptr;
}

CUresult enter_slowly(bool with_errors) {
  ProcessState state = process_state.load(std::memory_order_acquire);
  if (state == ProcessState::ready) {
    const protocol::WorkerStatus& status = shared.control().status;
    if (status.state.load(std::memory_order_acquire) != 0) {
      session_lost();
      state = ProcessState::lost;  // whichever thread is the one to tell it
    } else {
      if (in_host_function) return CUDA_ERROR_NOT_PERMITTED;
      const std::uint32_t sticky = status.sticky_error.load(std::memory_order_acquire);
      if (sticky != 0) print_new_device_text();  // a failed assertion says where
      return with_errors ? static_cast<CUresult>(sticky) : CUDA_SUCCESS;
    }
  }
  switch (state) {
    case ProcessState::ready:
      return CUDA_SUCCESS;
    case ProcessState::fresh:
    case ProcessState::forked:
      return CUDA_ERROR_NOT_INITIALIZED;
    case ProcessState::exiting:
      return CUDA_ERROR_DEINITIALIZED;
    case ProcessState::lost:
      if (!error_told.exchange(true)) log("%s", loss_text);
      return CUDA_ERROR_DEVICE_UNAVAILABLE;
  }
  return CUDA_ERROR_UNKNOWN;
}

}  // namespace tfusion::hook
