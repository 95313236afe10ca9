// Fatbin containers, read with every size checked.
//
// A container is a 16-byte header (u32 magic 0xBA55ED50, u16 version 1, u16 header bytes, u64 bytes that
// follow), then entries. An entry is a header and a payload; worked out from containers that nvcc 13.0
// writes, little-endian:
//    0 u16 kind: 1 PTX, 2 ELF        2 u16 version      4 u32 header bytes      8 u64 payload bytes, padded
//   16 u32 compressed bytes, or 0   24 u16 PTX minor   26 u16 PTX major        28 u32 architecture (75 for
//   sm_75) 40 u64 flags: 0x2000 LZ4 block, 0x8000 zstd frame                          56 u64 bytes when
//   decompressed
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tfusion::software::driver {

inline constexpr std::uint32_t kFatbinMagic = 0xBA55ED50;
inline constexpr std::uint32_t kFatbinWrapperMagic = 0x466243b1;

// The size that a container's header names, header included. Throws Failure for a header that is none.
std::size_t fatbin_bytes(const unsigned char* container);

// The PTX entry with the highest architecture that this GPU can run. Throws Failure:
// CUDA_ERROR_NO_BINARY_FOR_GPU if there is none, CUDA_ERROR_INVALID_IMAGE if the container is damaged.
std::string ptx_of_fatbin(std::span<const unsigned char> container);

}  // namespace tfusion::software::driver
