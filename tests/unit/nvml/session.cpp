// A libcuda.so.1 for the tests of NVML: the hook's own slice_use.cpp and visible_devices.cpp over a session
// that the test begins by hand instead of cuInit. Who calls cuInit here is aborted: NVML must never take a
// session.
#include <cuda.h>
#include <pthread.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "protocol/slice_facts.hpp"
#include "src/process.hpp"
#include "src/visible_devices.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace tfusion::hook {
constinit std::atomic<ProcessState> process_state{ProcessState::fresh};
constinit protocol::SharedMemory shared{};
}  // namespace tfusion::hook

using namespace tfusion;

EXPORT CUresult cuInit(unsigned) {
  std::abort();
}

EXPORT CUresult cuDriverGetVersion(int* version) {
  *version = CUDA_VERSION;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice) {
  std::memcpy(uuid->bytes, hook::device_uuid(), sizeof uuid->bytes);
  return CUDA_SUCCESS;
}

EXPORT int device_is_visible() {
  return hook::device_is_visible() ? 1 : 0;
}

EXPORT void session_begin(const char* name, std::uint64_t total_bytes, int driver_version) {
  // As the real session's memory: a forked child has none of it.
  void* memory =
      mmap(nullptr, protocol::kRingOffset, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  madvise(memory, protocol::kRingOffset, MADV_DONTFORK);
  protocol::Control& control = *new (memory) protocol::Control{};
  std::strncpy(control.facts.name, name, sizeof control.facts.name - 1);
  control.facts.total_bytes = total_bytes;
  control.facts.driver_version = driver_version;
  hook::shared.base = static_cast<std::byte*>(memory);
  pthread_atfork(nullptr, nullptr, [] { hook::process_state.store(hook::ProcessState::forked); });
  hook::process_state.store(hook::ProcessState::ready, std::memory_order_release);
}

EXPORT void session_attribute(int attribute, int value) {
  protocol::DeviceFacts& facts = hook::shared.control().facts;
  facts.attributes[attribute] = value;
  facts.attribute_known[attribute] = 1;
}

EXPORT void session_use(std::uint64_t bytes) {
  hook::shared.control().status.slice_used_bytes.store(bytes);
}

EXPORT void session_lose() {
  hook::process_state.store(hook::ProcessState::lost);
}

EXPORT void session_ring(std::uint64_t written, std::uint64_t consumed) {
  hook::shared.control().head.store(written);
  hook::shared.control().tail.store(consumed);
}
