// How much memory of the software GPU is in use, by this process and by all others that share the GPU.
//
// Processes that are given the same TFUSION_SOFTWARE_STATE share one file: a header with the GPU's UUID and a
// robust process-shared mutex, and a table of slots (pid, start time, bytes in use). A slot whose process is
// gone counts as free at the next look, so memory of a killed process is never lost. Without the variable the
// account is this process's own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace tfusion::software::driver {

class Accounting {
 public:
  // `path` is the state file, created with mode 0600 if absent; empty for a private account. Throws Failure.
  Accounting(std::size_t total_bytes, const std::string& path);
  Accounting(const Accounting&) = delete;
  Accounting& operator=(const Accounting&) = delete;

  // False if fewer than `bytes` are free on the GPU. Charging 0 always succeeds.
  bool charge(std::size_t bytes) noexcept;
  // Precondition: charged before.
  void refund(std::size_t bytes) noexcept;
  std::size_t free_bytes() noexcept;
  std::size_t total_bytes() const noexcept { return total_bytes_; }

  const std::array<unsigned char, 16>& uuid() const noexcept { return uuid_; }

 private:
  struct File;
  class Lock;

  std::size_t used_bytes(const Lock& lock) const noexcept;
  void reclaim(const Lock& lock) noexcept;

  std::size_t total_bytes_;
  std::array<unsigned char, 16> uuid_;
  File* file_ = nullptr;
  std::size_t slot_ = ~std::size_t{0};  // this process's, once it is taken
};

}  // namespace tfusion::software::driver
