#include "objects.hpp"

#include "array.hpp"
#include "call.hpp"
#include "globals.hpp"
#include "own_context.hpp"
#include "texture.hpp"

namespace tfusion::hook {

using protocol::HandleKind;

// Never destroyed: CUDA libraries call in from their own static destructors.
HandleTable<StreamObject>& streams() {
  static auto& table = *new HandleTable<StreamObject>(HandleKind::stream);
  return table;
}
HandleTable<EventObject>& events() {
  static auto& table = *new HandleTable<EventObject>(HandleKind::event);
  return table;
}
HandleTable<ModuleObject>& modules() {
  static auto& table = *new HandleTable<ModuleObject>(HandleKind::module);
  return table;
}
HandleTable<KernelObject>& kernels() {
  static auto& table = *new HandleTable<KernelObject>(HandleKind::kernel);
  return table;
}

void KernelObject::reset() {
  std::lock_guard lock(mutex);
  name.clear();
  module = 0;
  description.store(nullptr);
  owned.reset();
  occupancy.clear();
}

void ModuleObject::reset() {
  std::lock_guard lock(mutex);
  as_library = false;
  kernels.clear();
  globals.clear();
}

void forget_objects() {
  kernels().erase_all();
  modules().erase_all();
  events().erase_all();
  streams().erase_all();
  forget_arrays();
  forget_textures();
  forget_globals();
  forget_thread_streams();
}

std::uint64_t new_handle(HandleKind kind) {
  switch (kind) {
    case HandleKind::stream:
      return streams().create();
    case HandleKind::event: {
      const std::uint64_t event = events().create();
      own(Owned::event, event);
      return event;
    }
    case HandleKind::module:
      return modules().create();
    case HandleKind::kernel:
      return kernels().create();
    case HandleKind::none:
    case HandleKind::link:
    case HandleKind::context:
    case HandleKind::allocation:
    case HandleKind::pool:
    case HandleKind::graph:
    case HandleKind::graph_node:
    case HandleKind::graph_exec:
    case HandleKind::user_object:
    case HandleKind::array:
    case HandleKind::mipmapped_array:
      break;
  }
  return 0;
}

CUresult event_on_wire(CUevent event, std::uint64_t* wire) {
  if (events().find(number(event)) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *wire = number(event);
  return CUDA_SUCCESS;
}

}  // namespace tfusion::hook
