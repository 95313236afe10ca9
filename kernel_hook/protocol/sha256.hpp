// SHA-256 (FIPS 180-4), the name of a module image in the host's cache. A cryptographic hash, because the
// cache serves all sessions of a host and a learner must not be able to put code behind another image's name.
// It uses the processor's SHA instructions where they exist: images are up to hundreds of MiB.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tfusion::protocol {

using Digest = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> data);
  Digest finish();  // once

 private:
  std::uint32_t state_[8];
  std::uint8_t block_[64];
  std::size_t filled_ = 0;
  std::uint64_t total_ = 0;
};

inline Digest sha256(std::span<const std::byte> data) {
  Sha256 h;
  h.update(data);
  return h.finish();
}

}  // namespace tfusion::protocol
