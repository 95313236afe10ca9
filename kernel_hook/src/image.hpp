// Module images: finding where one ends, and getting it into the worker's cache, once per content.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <span>

#include "protocol/sha256.hpp"

namespace tfusion::hook {

// The bytes of a fatbin (through its wrapper or bare), an ELF cubin, or NUL-terminated PTX.
// CUDA_ERROR_INVALID_IMAGE for nothing of these. The driver's API gives no size: this trusts the image's own
// headers, as the driver does.
CUresult image_extent(const void* image, std::span<const std::byte>* out);

// Puts an image's bytes into the worker's cache.
CUresult upload_image(const protocol::Digest& digest, std::span<const std::byte> image);

// JIT options as they travel: pairs of number and value; log buffers become their sizes.
struct JitOptions {
  std::span<const CUjit_option> options;
  void** values = nullptr;

  std::uint32_t encode(
      std::span<std::uint64_t> out) const;  // returns how many pairs; out has room for 2 * 32
  // Copies the texts into the program's log buffers and writes how much there is, as cuModuleLoadDataEx does.
  void deliver_logs(std::span<const char> info, std::span<const char> error) const;
};

}  // namespace tfusion::hook
