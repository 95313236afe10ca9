#include "image.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <mutex>

#include "call.hpp"
#include "log.hpp"
#include "protocol/image_format.hpp"

namespace tfusion::hook {

CUresult image_extent(const void* image, std::span<const std::byte>* out) {
  if (image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::byte* start = protocol::unwrap_fatbin(static_cast<const std::byte*>(image));
  if (start == nullptr) return CUDA_ERROR_INVALID_IMAGE;
  const std::uint64_t bytes = protocol::image_bytes(start, PTRDIFF_MAX);
  if (bytes == 0) return CUDA_ERROR_INVALID_IMAGE;
  *out = {start, bytes};
  return CUDA_SUCCESS;
}

CUresult upload_image(const protocol::Digest& digest, std::span<const std::byte> image) {
  // One at a time: the pieces of one image sent by two threads would be each other's fault.
  static constinit std::mutex mutex;
  std::lock_guard lock(mutex);
  for (std::size_t offset = 0; offset < image.size(); offset += protocol::kChunkBytes) {
    UpChunk chunk;
    if (!chunk.valid()) return lost();
    wire::ImagePart command{};
    std::memcpy(command.digest, digest.data(), digest.size());
    command.image_bytes = image.size();
    command.offset = offset;
    command.chunk = chunk.index();
    command.bytes =
        static_cast<std::uint32_t>(std::min<std::size_t>(image.size() - offset, protocol::kChunkBytes));
    std::memcpy(chunk.data(), image.data() + offset, command.bytes);
    if (CUresult r = call(command); r != CUDA_SUCCESS) return r;
  }
  return CUDA_SUCCESS;
}

std::uint32_t JitOptions::encode(std::span<std::uint64_t> out) const {
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < options.size() && 2 * (count + 1) <= out.size(); ++i) {
    switch (options[i]) {
      case CU_JIT_INFO_LOG_BUFFER:
      case CU_JIT_ERROR_LOG_BUFFER:
      case CU_JIT_WALL_TIME:
      case CU_JIT_THREADS_PER_BLOCK:
      case CU_JIT_GLOBAL_SYMBOL_NAMES:
      case CU_JIT_GLOBAL_SYMBOL_ADDRESSES:
      case CU_JIT_GLOBAL_SYMBOL_COUNT:
        continue;  // pointers into this process, or outputs
      default:
        break;
    }
    out[2 * count] = static_cast<std::uint64_t>(options[i]);
    out[2 * count + 1] = reinterpret_cast<std::uint64_t>(values[i]);
    ++count;
  }
  return count;
}

void JitOptions::deliver_logs(std::span<const char> info, std::span<const char> error,
                              CUresult result) const {
  auto deliver = [&](CUjit_option buffer_option, CUjit_option size_option, std::span<const char> text) {
    std::size_t buffer_at = options.size(), size_at = options.size();
    for (std::size_t i = 0; i < options.size(); ++i) {
      if (options[i] == buffer_option) buffer_at = i;
      if (options[i] == size_option) size_at = i;
    }
    if (buffer_at == options.size() || size_at == options.size()) return false;
    const auto room = static_cast<std::uint32_t>(reinterpret_cast<std::uint64_t>(values[size_at]));
    auto* buffer = static_cast<char*>(values[buffer_at]);
    if (buffer == nullptr || room == 0) return false;
    const std::size_t n = std::min<std::size_t>(text.size(), room - 1);
    if (n > 0) std::memcpy(buffer, text.data(), n);
    buffer[n] = '\0';
    values[size_at] = reinterpret_cast<void*>(n);  // the driver writes the log's size where the room was
    return true;
  };
  deliver(CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, info);
  const bool told = deliver(CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, error);
  if (!told && result != CUDA_SUCCESS && !error.empty())
    log("%.*s", static_cast<int>(error.size()), error.data());
}

}  // namespace tfusion::hook
