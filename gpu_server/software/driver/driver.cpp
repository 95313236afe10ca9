// The life of the driver in a process: cuInit, fork, exit; and the exception barrier of entry.hpp.
#include "driver.hpp"

#include <errno.h>
#include <pthread.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>

#include "entry.hpp"

namespace tfusion::software::driver {

namespace {

enum class Phase { before_init, ready, ending, forked };

std::atomic<Phase> phase{Phase::before_init};
std::atomic<Driver*> instance{nullptr};
std::mutex init_mutex;

constexpr std::size_t kDefaultTotalBytes = std::size_t{1} << 30;
constexpr std::size_t kMinTotalBytes = std::size_t{16} << 20;

std::size_t total_bytes_setting() {
  const char* text = std::getenv("TFUSION_SOFTWARE_MEMORY");
  if (text == nullptr || *text == '\0') return kDefaultTotalBytes;
  errno = 0;
  char* end = nullptr;
  const unsigned long long bytes = std::strtoull(text, &end, 10);
  if (errno != 0 || *end != '\0' || *text == '-' || bytes < kMinTotalBytes ||
      bytes > (1ULL << (AddressSpace::kAddressBits - 1))) {
    throw Failure(CUDA_ERROR_SYSTEM_NOT_READY,
                  std::string("TFUSION_SOFTWARE_MEMORY is \"") + text +
                      "\"; give the memory of the software GPU as a number of bytes, at least 16777216.");
  }
  return static_cast<std::size_t>(bytes);
}

std::string state_path_setting() {
  const char* text = std::getenv("TFUSION_SOFTWARE_STATE");
  return text == nullptr ? std::string() : std::string(text);
}

// Runs at exit() before the destructors of libraries that were loaded before this one's cuInit. Those may
// still call in; they are answered CUDA_ERROR_DEINITIALIZED and nothing waits for the queue any more.
void on_exit() {
  phase.store(Phase::ending);
  instance.load()->queue.abandon();
}

void on_fork_in_child() {
  // The queue thread and the shared account belong to the parent.
  if (phase.load() != Phase::before_init) phase.store(Phase::forked);
}

}  // namespace

Driver::Driver() : total_bytes(total_bytes_setting()), accounting(total_bytes, state_path_setting()) {
  queue.start();
}

Driver& driver() noexcept {
  return *instance.load(std::memory_order_acquire);
}

CUresult readiness() noexcept {
  switch (phase.load(std::memory_order_acquire)) {
    case Phase::ready:
      return Queue::on_queue_thread() ? CUDA_ERROR_NOT_PERMITTED : CUDA_SUCCESS;
    case Phase::ending:
      return CUDA_ERROR_DEINITIALIZED;
    case Phase::before_init:
    case Phase::forked:
      break;
  }
  return CUDA_ERROR_NOT_INITIALIZED;
}

CUresult code_of_current_exception() noexcept {
  try {
    throw;
  } catch (const Failure& failure) {
    return failure.code;
  } catch (const std::bad_alloc&) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "software GPU: the operating system refused a request: %s\n", error.what());
    return CUDA_ERROR_OPERATING_SYSTEM;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "software GPU: internal error: %s\n", error.what());
    return CUDA_ERROR_UNKNOWN;
  } catch (...) {
    return CUDA_ERROR_UNKNOWN;
  }
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuInit(unsigned int flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult ready = readiness(); ready != CUDA_ERROR_NOT_INITIALIZED) return ready;
  return guarded([]() -> CUresult {
    const std::lock_guard lock(init_mutex);
    if (phase.load() == Phase::forked) return CUDA_ERROR_NOT_INITIALIZED;
    if (phase.load() == Phase::ready) return CUDA_SUCCESS;
    try {
      instance.store(new Driver, std::memory_order_release);
    } catch (const Failure& failure) {
      std::fprintf(stderr, "software GPU: %s\n", failure.what());
      throw;
    }
    std::atexit(on_exit);
    pthread_atfork(nullptr, nullptr, on_fork_in_child);
    phase.store(Phase::ready, std::memory_order_release);
    return CUDA_SUCCESS;
  });
}
