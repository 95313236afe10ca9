#include "slice.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "observer.hpp"

namespace tfusion::nvml {

namespace {

// The environment's variable; nullptr if it is empty or not set.
const char* setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? nullptr : value;
}

// The hook's function, if the hook is in this process. It is found by its SONAME, however it was loaded; a
// libcuda.so.1 that is not the hook has no cuTFusionSliceFacts, and is not asked for anything.
void* hook_symbol(const char* name) {
  static constinit std::atomic<void*> hook{nullptr};
  void* library = hook.load(std::memory_order_acquire);
  if (library == nullptr) {
    library = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
    if (library == nullptr) return nullptr;
    if (dlsym(library, "cuTFusionSliceFacts") == nullptr) {
      dlclose(library);
      return nullptr;
    }
    hook.store(library,
               std::memory_order_release);  // the reference is kept; the hook is never unloaded anyway
  }
  return dlsym(library, name);
}

template <typename Function>
Function* hook_function(const char* name) {
  return reinterpret_cast<Function*>(hook_symbol(name));
}

}  // namespace

bool under_slice() {
  return setting("TFUSION_SLICE") != nullptr;
}

protocol::SliceUuid slice_uuid() {
  const char* slice = setting("TFUSION_SLICE");
  return protocol::slice_uuid(slice == nullptr ? "" : slice);
}

const char* gpu_name() {
  if (const protocol::SliceFacts* facts = gpu_facts(); facts != nullptr && facts->name[0] != '\0') {
    return facts->name;
  }
  return setting("TFUSION_GPU_NAME");
}

bool driver_version(VersionText* out) {
  const char* text = setting("TFUSION_DRIVER_VERSION");
  // Whoever opened the slice did not know it if no worker had opened the software GPU yet.
  protocol::Observation observation;
  if (text == nullptr && observe(&observation) == kSuccess) text = observation.driver_version;
  if (text == nullptr || *text == '\0') return false;
  std::snprintf(out->text, sizeof out->text, "%s", text);
  return true;
}

namespace {

// False: neither the session nor the daemon has told them, or not all.
bool ask_facts(protocol::SliceFacts* facts) {
  const auto ask = hook_function<decltype(cuTFusionSliceFacts)>("cuTFusionSliceFacts");
  if (ask != nullptr && ask(facts, sizeof *facts) == 0) return true;
  protocol::Observation observation;
  if (observe(&observation) != kSuccess) return false;
  *facts = observation.facts;
  return facts->compute_capability !=
         0;  // until a worker has opened the GPU the daemon knows no more than we do
}

}  // namespace

const protocol::SliceFacts* gpu_facts() {
  enum State : int { kUnknown, kBeingWritten, kKnown };
  static constinit std::atomic<int> state{kUnknown};
  static constinit protocol::SliceFacts known{};
  if (state.load(std::memory_order_acquire) == kKnown) return &known;
  protocol::SliceFacts facts;
  if (!ask_facts(&facts)) return nullptr;
  int expected = kUnknown;
  if (!state.compare_exchange_strong(expected, kBeingWritten, std::memory_order_acquire)) {
    // Another thread writes the same bytes just now; no lock, as it may be gone in a forked child.
    return expected == kKnown ? &known : nullptr;
  }
  known = facts;
  state.store(kKnown, std::memory_order_release);
  return &known;
}

Result slice_memory(std::uint64_t* total, std::uint64_t* used) {
  const auto ask = hook_function<decltype(cuTFusionSliceUse)>("cuTFusionSliceUse");
  if (ask != nullptr && ask(used, total) == 0) return kSuccess;
  protocol::Observation observation;
  const Result result = observe(&observation);
  if (result == kSuccess) {
    *total = observation.facts.total_bytes;
    *used = observation.used_bytes;
  }
  if (result != kNotSupported) return result;
  // No daemon is named, so nobody can use anything.
  *used = 0;
  if (const protocol::SliceFacts* facts = gpu_facts(); facts != nullptr) {
    *total = facts->total_bytes;
    return kSuccess;
  }
  const char* limit = setting("TFUSION_VRAM_BYTES");
  if (limit == nullptr) return kNotSupported;
  const char* end = limit + std::strlen(limit);
  const auto [stop, error] = std::from_chars(limit, end, *total);
  return error == std::errc{} && stop == end && *total != 0 ? kSuccess : kNotSupported;
}

bool cuda_version(int* version) {
  const auto ask = hook_function<int(int*)>("cuDriverGetVersion");
  const bool asked = ask != nullptr && ask(version) == 0;
  const protocol::SliceFacts* facts = gpu_facts();
  if (facts == nullptr || facts->cuda_version == 0) return asked;
  // What the daemon told is the driver's version, which may be newer than what the hook knows.
  *version = asked ? std::min(*version, facts->cuda_version) : facts->cuda_version;
  return true;
}

}  // namespace tfusion::nvml
