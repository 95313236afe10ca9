// JIT options as they came from a client, made ready for the driver, with log buffers of our own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "driver.hpp"

namespace tfusion::replay {

class JitOptions {
 public:
  static constexpr std::uint32_t kMost = 32;
  static constexpr std::uint32_t kLogBytes = 64 * 1024;

  // `pairs`: option number and value, 64 bits each. False if there are too many or the bytes do not fit the
  // count. Options that carry pointers, or that we do not know, are left out.
  enum class Logs { kept, left_out };
  bool read(std::span<const std::byte> pairs, std::uint32_t count, Logs wanted = Logs::kept);

  CUjit_option* options() { return options_.data(); }
  void** values() { return values_.data(); }
  unsigned count() const { return static_cast<unsigned>(options_.size()); }

  // What the driver wrote so far, cut so that both fit `room` bytes: info first. Sizes go to *info and
  // *error.
  std::vector<std::byte> logs(std::size_t room, std::uint32_t* info, std::uint32_t* error) const;

 private:
  std::vector<CUjit_option> options_;
  std::vector<void*> values_;
  std::vector<char> info_, error_;
};

}  // namespace tfusion::replay
