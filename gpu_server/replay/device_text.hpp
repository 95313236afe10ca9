// What kernels print. A driver writes it to the standard output and error of its process when a call
// synchronises; here that is the worker, so both are redirected into memory, and the text goes to the client
// before the reply of the call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "protocol/shared_memory.hpp"

namespace tfusion::replay {

// Whether a kernel of this image may print or fail an assertion, as far as can be seen: both are calls of a
// function of the driver's, which the image names. A fatbin may hold its parts compressed, so of one nothing
// is known.
bool may_print(std::span<const std::byte> image);

class DeviceText {
 public:
  // Redirects standard output and error of this process, for good. Throws std::runtime_error.
  explicit DeviceText(protocol::SharedMemory shared);
  ~DeviceText();
  DeviceText(const DeviceText&) = delete;
  DeviceText& operator=(const DeviceText&) = delete;

  // Passes on what was written since, as far as the ring has room. Quick when there is nothing.
  void forward();

 private:
  struct Source {
    std::uint32_t descriptor;  // 1 or 2: what it stands for
    int file = -1;
    std::uint64_t taken = 0;
    char* window = nullptr;  // of the file: the page that holds byte `taken`
    std::uint64_t window_start = 0;
    unsigned quick_looks = 0;

    void look_at(std::uint64_t position);
    bool may_have_more();
  };

  bool forward(Source& source, std::uint64_t* written, std::uint64_t read);
  void put(std::uint64_t* written, const void* data, std::uint64_t bytes);

  const protocol::SharedMemory shared_;
  Source sources_[2] = {{1}, {2}};
  std::uint64_t written_ = 0;  // our own: what stands in shared memory is never read back
};

}  // namespace tfusion::replay
