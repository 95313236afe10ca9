// Fatbin containers: see fatbin.hpp.
#include "fatbin.hpp"

#include <string.h>

#include "decompress.hpp"
#include "device.hpp"
#include "failure.hpp"

namespace tfusion::software::driver {

namespace {

constexpr std::size_t kContainerHeaderBytes = 16;
constexpr std::size_t kEntryHeaderBytes = 64;  // what is read of it; newer ones are longer
constexpr std::uint16_t kKindPtx = 1;
constexpr std::uint64_t kFlagLz4 = 0x2000;
constexpr std::uint64_t kFlagZstd = 0x8000;
// PTX of the largest libraries stays far below; a wrong size must not take all memory.
constexpr std::uint64_t kMaxPtxBytes = std::uint64_t{1} << 30;

template <class Value>
Value read(std::span<const unsigned char> bytes, std::size_t offset) {
  Value value;
  memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
  return value;
}

Failure damaged(const char* what) {
  return Failure(CUDA_ERROR_INVALID_IMAGE, std::string("The fatbin is damaged: ") + what + ".");
}

}  // namespace

std::size_t fatbin_bytes(const unsigned char* container) {
  const std::span<const unsigned char> header(container, kContainerHeaderBytes);
  if (read<std::uint32_t>(header, 0) != kFatbinMagic)
    throw damaged("it does not begin with its magic number");
  const std::size_t header_bytes = read<std::uint16_t>(header, 6);
  const std::uint64_t body_bytes = read<std::uint64_t>(header, 8);
  if (header_bytes < kContainerHeaderBytes) throw damaged("its header is too short");
  if (body_bytes > std::uint64_t{1} << 40) throw damaged("its size is impossible");
  return header_bytes + static_cast<std::size_t>(body_bytes);
}

std::string ptx_of_fatbin(std::span<const unsigned char> container) {
  if (container.size() < kContainerHeaderBytes) throw damaged("it ends in its header");
  const std::size_t whole = fatbin_bytes(container.data());
  if (whole > container.size()) throw damaged("it is shorter than it says");
  std::span<const unsigned char> rest = container.first(whole).subspan(read<std::uint16_t>(container, 6));

  std::span<const unsigned char> best_header;
  std::span<const unsigned char> best_payload;
  std::uint32_t best_architecture = 0;
  std::string others;
  while (rest.size() >= kEntryHeaderBytes) {
    const std::size_t header_bytes = read<std::uint32_t>(rest, 4);
    const std::uint64_t payload_bytes = read<std::uint64_t>(rest, 8);
    if (header_bytes < kEntryHeaderBytes || header_bytes > rest.size() ||
        payload_bytes > rest.size() - header_bytes) {
      throw damaged("an entry goes past its end");
    }
    const auto kind = read<std::uint16_t>(rest, 0);
    const auto architecture = read<std::uint32_t>(rest, 28);
    if (kind == kKindPtx && architecture <= kComputeCapability) {
      if (best_header.empty() || architecture > best_architecture) {
        best_header = rest.first(header_bytes);
        best_payload = rest.subspan(header_bytes, static_cast<std::size_t>(payload_bytes));
        best_architecture = architecture;
      }
    } else {
      others += (others.empty() ? "" : ", ") + std::string(kind == kKindPtx ? "PTX" : "machine code") +
                " for sm_" + std::to_string(architecture);
    }
    rest = rest.subspan(header_bytes + static_cast<std::size_t>(payload_bytes));
  }
  if (best_header.empty()) {
    throw Failure(CUDA_ERROR_NO_BINARY_FOR_GPU,
                  "The fatbin holds no PTX that the software GPU can run (it holds " +
                      (others.empty() ? std::string("nothing") : others) +
                      "). Compile with -gencode arch=compute_75,code=compute_75.");
  }

  const auto flags = read<std::uint64_t>(best_header, 40);
  if ((flags & (kFlagLz4 | kFlagZstd)) == 0) {
    return {reinterpret_cast<const char*>(best_payload.data()), best_payload.size()};
  }
  const std::size_t compressed_bytes = read<std::uint32_t>(best_header, 16);
  const auto bytes = read<std::uint64_t>(best_header, 56);
  if (compressed_bytes > best_payload.size()) throw damaged("an entry is shorter than it says");
  if (bytes > kMaxPtxBytes) throw damaged("an entry's size is impossible");
  const auto compressed = best_payload.first(compressed_bytes);
  return (flags & kFlagZstd) != 0 ? decompress_zstd(compressed, static_cast<std::size_t>(bytes))
                                  : decompress_lz4(compressed, static_cast<std::size_t>(bytes));
}

}  // namespace tfusion::software::driver
