// A worker's life with one client: hand over the shared memory, watch the connection, replay, say how it
// ended.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "device.hpp"
#include "session.hpp"

namespace tfusion::replay {

// What the daemon hands over with a session. The descriptors become the worker's.
struct SessionOrder {
  int client = -1;
  int account = -1;
  unsigned account_slot = 0;
  std::uint64_t vram_limit_bytes = 0;
  int turn_page = -1;
  int orders = -1;  // an eventfd that rings when there is a new order on the page
  int bell = -1;    // the one that we ring
  SwapSettings swap;
};

class Worker {
 public:
  // Throws std::runtime_error with a sentence if the GPU cannot be used.
  Worker(const std::string& driver_path, int ordinal, std::string cache_folder);

  // Serves one client, once. Blocks until the session ends.
  Ending serve(const SessionOrder& order);

  // Ends the session; from any thread, also before serve().
  void stop(const std::string& sentence);

  const Device& device() const { return device_; }

 private:
  Device device_;
  std::string cache_folder_;
  mutable std::mutex mutex_;
  std::unique_ptr<SliceAccount> account_;
  std::unique_ptr<Turn> turn_;
  std::unique_ptr<DeviceText> text_;
  std::unique_ptr<Session> session_;
  std::string stop_sentence_;
};

}  // namespace tfusion::replay
