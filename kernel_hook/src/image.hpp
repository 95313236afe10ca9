// Module images: finding where one ends, and getting it into the worker's cache, once per content.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "channel.hpp"
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
  // The error log of a call that failed goes to stderr if the program gave no buffer for it.
  void deliver_logs(std::span<const char> info, std::span<const char> error, CUresult result) const;
};

// The logs of a reply that begins with a LogReply.
template <typename LogReply>
void deliver_logs(const JitOptions& jit, const Reply& reply, CUresult result) {
  if (reply.payload_bytes() < sizeof(LogReply)) return;
  LogReply logs;
  std::memcpy(&logs, reply.payload(), sizeof logs);
  const std::uint64_t bytes = std::uint64_t{logs.info_bytes} + logs.error_bytes;
  if (bytes > reply.payload_bytes() - sizeof logs) return;
  const auto* text = reinterpret_cast<const char*>(reply.payload() + sizeof logs);
  jit.deliver_logs({text, logs.info_bytes}, {text + logs.info_bytes, logs.error_bytes}, result);
}

}  // namespace tfusion::hook
