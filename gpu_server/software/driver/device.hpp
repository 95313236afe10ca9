// What the software GPU says it is: one device, number 0, made like a small Turing (compute capability 7.5).
#pragma once

#include <cstddef>

#include "failure.hpp"

namespace tfusion::software::driver {

inline constexpr int kComputeMajor = 7;
inline constexpr int kComputeMinor = 5;
inline constexpr unsigned kComputeCapability = 75;
inline constexpr int kDriverVersion = 13000;
inline constexpr int kMaxPtxMajor = 9;  // .version 9.0 is what CUDA 13.0 writes
inline constexpr int kMaxPtxMinor = 0;

inline constexpr unsigned kWarpSize = 32;
inline constexpr unsigned kMaxThreadsPerBlock = 1024;
inline constexpr unsigned kMaxThreadsPerMultiprocessor = 1024;
inline constexpr unsigned kMaxBlocksPerMultiprocessor = 16;
inline constexpr unsigned kMaxBlock[3] = {1024, 1024, 64};
inline constexpr unsigned kMaxGrid[3] = {0x7fffffff, 65535, 65535};
inline constexpr unsigned kRegistersPerMultiprocessor = 65536;
inline constexpr std::size_t kSharedPerBlock = 48 << 10;
inline constexpr std::size_t kSharedPerBlockOptIn = 64 << 10;
inline constexpr std::size_t kSharedPerMultiprocessor = 64 << 10;
inline constexpr std::size_t kConstantBytes = 64 << 10;
inline constexpr std::size_t kParameterBytes = 4096;
// Texels of textures and surfaces.
inline constexpr int kMaxTexture1D = 131072;
inline constexpr int kMaxTexture1DLinear = 1 << 28;
inline constexpr int kMaxTexture2DWidth = 131072;
inline constexpr int kMaxTexture2DHeight = 65536;
inline constexpr int kMaxTexture2DLinearWidth = 131072;
inline constexpr int kMaxTexture2DLinearHeight = 65000;
inline constexpr int kMaxTexture2DLinearPitch = 2097120;
inline constexpr int kMaxTexture3D = 16384;
inline constexpr int kMaxTextureLayered = 32768;
inline constexpr int kMaxTextureLayers = 2048;
inline constexpr std::size_t kAllocationGranularity = std::size_t{2} << 20;

unsigned multiprocessor_count() noexcept;  // the machine's cores that this process may use

// CUDA_ERROR_INVALID_DEVICE unless it is device 0.
inline void require_device(CUdevice device) {
  require(device == 0, CUDA_ERROR_INVALID_DEVICE);
}

}  // namespace tfusion::software::driver
