// The UUID of a slice's device: derived from the slice's id alone, so that two slices never share one, and
// CUDA and NVML (which are two libraries) say the same in every process of a slice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "protocol/sha256.hpp"

namespace tfusion::protocol {

using SliceUuid = std::array<std::uint8_t, 16>;

// "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" and a NUL: the form that CUDA_VISIBLE_DEVICES and NVML use.
using SliceUuidText = std::array<char, 41>;

inline SliceUuid slice_uuid(std::string_view slice_id) {
  static constexpr std::string_view kPrefix = "tfusion slice ";
  Sha256 hash;
  hash.update(std::as_bytes(std::span(kPrefix)));
  hash.update(std::as_bytes(std::span(slice_id)));
  const Digest digest = hash.finish();
  SliceUuid uuid{};
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = digest[i];
  return uuid;
}

constexpr SliceUuidText slice_uuid_text(const SliceUuid& uuid) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  SliceUuidText text{'G', 'P', 'U', '-'};
  std::size_t n = 4;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text[n++] = '-';
    text[n++] = kDigits[uuid[i] >> 4];
    text[n++] = kDigits[uuid[i] & 15];
  }
  return text;
}

}  // namespace tfusion::protocol
