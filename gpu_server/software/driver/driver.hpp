// The state of the driver in this process: made by cuInit and never destroyed, so no destructor can meet a
// busy queue at exit.
#pragma once

#include <memory>
#include <mutex>

#include "../address_space.hpp"
#include "../texture_table.hpp"
#include "accounting.hpp"
#include "context.hpp"
#include "handles.hpp"
#include "memory_map.hpp"
#include "queue.hpp"

namespace tfusion::software::driver {

struct Driver {
  Driver();  // throws Failure with a sentence when the environment's settings are unusable

  std::size_t total_bytes;
  Accounting accounting;
  AddressSpace space;
  TextureTable textures;
  Queue queue;
  HandleTable handles;
  MemoryMap memory;

  std::mutex graph_mutex;  // structure of all graphs and executables, and all captures

  std::mutex primary_mutex;
  std::shared_ptr<Context> primary;  // null while it is not active; a new one has a new handle
  unsigned primary_uses = 0;         // cuDevicePrimaryCtxRetain minus Release
  unsigned primary_flags = 0;
};

// Precondition: readiness() was CUDA_SUCCESS.
Driver& driver() noexcept;

}  // namespace tfusion::software::driver
