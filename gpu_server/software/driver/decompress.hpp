// Decompression of fatbin entries.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace tfusion::software::driver {

// An LZ4 block (no frame) that yields exactly `bytes`. Throws Failure(CUDA_ERROR_INVALID_IMAGE).
std::string decompress_lz4(std::span<const unsigned char> block, std::size_t bytes);

// A zstd frame that yields exactly `bytes`. Throws Failure: CUDA_ERROR_INVALID_IMAGE, or
// CUDA_ERROR_NO_BINARY_FOR_GPU if the host has no libzstd.
std::string decompress_zstd(std::span<const unsigned char> frame, std::size_t bytes);

}  // namespace tfusion::software::driver
