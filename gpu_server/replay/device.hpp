// The GPU as one worker holds it: its context, the reserved arena, and the shared memory that it will hand to
// a client, made ahead of the client so that a kernel's first CUDA call waits for nothing.
#pragma once

#include <cstdint>
#include <string>

#include "driver.hpp"
#include "protocol/shared_memory.hpp"

namespace tfusion::replay {

class Device {
 public:
  // Makes everything. Throws std::runtime_error with a sentence.
  Device(const std::string& driver_path, int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Driver& driver() const { return driver_; }
  protocol::SharedMemory shared() const { return shared_; }
  int shared_descriptor() const { return shared_descriptor_; }
  int host_arena_descriptor() const { return host_descriptor_; }
  std::uint64_t total_bytes() const { return total_bytes_; }
  CUdevice ordinal() const { return ordinal_; }

  // Ends the context with everything in it and makes a new one; the arena stays reserved. For a client that
  // resets its device, also after a sticky error. Throws std::runtime_error if the GPU does not come back.
  void reset_context();
  CUcontext context() const { return context_; }

 private:
  void make_context();
  void make_shared_memory();
  void read_facts();
  void read_sm_layout(protocol::DeviceFacts& facts);

  Driver driver_;
  CUdevice ordinal_ = 0;
  CUcontext context_ = nullptr;
  protocol::SharedMemory shared_;
  int shared_descriptor_ = -1;
  int host_descriptor_ = -1;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace tfusion::replay
