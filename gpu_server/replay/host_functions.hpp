// Host functions: when their turn in the stream comes, the driver calls us on a thread of its own, and we
// have the client run them. The stream waits meanwhile, as it must; the replay thread does not.
//
// One function at a time, as a driver has one thread for them. When the session ends, waits end with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "driver.hpp"
#include "protocol/shared_memory.hpp"

namespace tfusion::replay {

class HostFunctions {
 public:
  explicit HostFunctions(protocol::SharedMemory shared) : shared_(shared) {}

  // What a driver is given as a function's argument. Freed when it ran, unless a graph keeps it for more
  // runs.
  struct Call {
    HostFunctions* owner;
    std::uint64_t code, argument, stream;
    protocol::HostCall::Kind kind;
    bool kept;
  };

  // nullptr if there are as many as there may be. `kept`: for a node of a graph, which may run any number of
  // times.
  Call* make(protocol::HostCall::Kind kind, std::uint64_t code, std::uint64_t argument, std::uint64_t stream,
             bool kept);
  // It was not given to the driver after all.
  void drop(Call* call);

  // For cuLaunchHostFunc and host nodes: the argument is a Call.
  static void run(void* call);

  // The session ends: nobody waits any longer, and nothing is run.
  void end();

 private:
  // What one session may have waiting or kept: far more than programs use.
  static constexpr std::uint32_t kMost = 1u << 20;

  void ask(const Call& call);

  const protocol::SharedMemory shared_;
  std::mutex mutex_;  // held while the client runs a function
  std::uint32_t asked_ = 0;
  std::atomic<std::uint32_t> alive_{0};
  std::atomic<bool> over_{false};
};

}  // namespace tfusion::replay
