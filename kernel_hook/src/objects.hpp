// What the client knows of its streams, events, modules and kernels. Handles travel unchanged; this is only
// what can be answered, or must be checked, without asking the worker.
#pragma once

#include <cuda.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "handle_table.hpp"

namespace tfusion::hook {

struct StreamObject {
  unsigned flags = 0;
  int priority = 0;
  std::uint64_t id = 0;  // cuStreamGetId
  void reset() { *this = StreamObject{}; }
};

struct EventObject {
  void reset() {}
};

struct ParameterInfo {
  std::uint32_t offset;
  std::uint32_t bytes;
};

// What the driver says of a kernel, asked once, at its first launch or question. Immutable but for the
// attributes that a program may set.
struct KernelDescription {
  int attributes[24];
  std::vector<ParameterInfo> parameters;
  std::uint32_t parameter_bytes;
};

struct KernelObject {
  std::string name;
  std::uint64_t module = 0;
  std::atomic<const KernelDescription*> description{nullptr};
  std::mutex mutex;  // guards what follows, and the making of the description
  std::unique_ptr<KernelDescription> owned;
  std::map<std::tuple<int, std::uint64_t, unsigned>, int>
      occupancy;  // (block size, shared bytes, flags) -> blocks
  void reset();
};

struct ModuleObject {
  bool as_library = false;
  std::mutex mutex;
  std::map<std::string, std::uint64_t> kernels;  // handles already given out, by name
  std::map<std::string, std::pair<CUdeviceptr, std::size_t>> globals;
  void reset();
};

struct LinkObject;  // link.cpp

HandleTable<StreamObject>& streams();
HandleTable<EventObject>& events();
HandleTable<ModuleObject>& modules();
HandleTable<KernelObject>& kernels();

// The handle of an object of ours as the number that travels, and back.
template <typename Handle>
std::uint64_t number(Handle handle) {
  return reinterpret_cast<std::uint64_t>(handle);
}

// Forgets everything: the context was reset.
void forget_objects();

}  // namespace tfusion::hook
