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

class Worker {
 public:
  // Throws std::runtime_error with a sentence if the GPU cannot be used.
  Worker(const std::string& driver_path, int ordinal, std::string cache_folder);

  // Serves one client, once. Takes the descriptors over. Blocks until the session ends.
  Ending serve(int client, std::uint64_t vram_limit_bytes, int account, unsigned account_slot);

  // Ends the session; from any thread, also before serve().
  void stop(const std::string& sentence);

  const Device& device() const { return device_; }

 private:
  Device device_;
  std::string cache_folder_;
  mutable std::mutex mutex_;
  std::unique_ptr<SliceAccount> account_;
  std::unique_ptr<DeviceText> text_;
  std::unique_ptr<Session> session_;
  std::string stop_sentence_;
};

}  // namespace tfusion::replay
