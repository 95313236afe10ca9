// Tensor maps (Hopper's bulk copies): the encoding is the GPU driver's own, so it is asked.
#include <algorithm>
#include <cstring>

#include "api.hpp"
#include "call.hpp"
#include "protocol/tensor_map_kind.hpp"

namespace tfusion::hook::api {

namespace {

constexpr std::uint32_t kMostDimensions = 5;

// Dimensions, strides (one fewer), then the kind's own arrays, as one tail of 64-bit words.
struct Tail {
  std::uint64_t words[4 * kMostDimensions];
  std::uint32_t count = 0;

  template <typename T>
  void add(const T* from, std::uint32_t n) {
    for (std::uint32_t i = 0; i < n; ++i) words[count++] = static_cast<std::uint64_t>(from[i]);
  }
};

CUresult encode(wire::TensorMapEncode& command, const Tail& tail, CUtensorMap* out) {
  wire::TensorMapEncodeReply reply{};
  const CUresult result = call(command, &reply, tail.words, tail.count * 8);
  static_assert(sizeof reply.map == sizeof *out);
  if (result == CUDA_SUCCESS) std::memcpy(out, reply.map, sizeof reply.map);
  return result;
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* tensorMap, CUtensorMapDataType tensorDataType,
                                cuuint32_t tensorRank, void* globalAddress, const cuuint64_t* globalDim,
                                const cuuint64_t* globalStrides, const cuuint32_t* boxDim,
                                const cuuint32_t* elementStrides, CUtensorMapInterleave interleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2Promotion,
                                CUtensorMapFloatOOBfill oobFill) {
  if (tensorMap == nullptr || globalDim == nullptr || boxDim == nullptr || elementStrides == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (tensorRank == 0 || tensorRank > kMostDimensions || (tensorRank > 1 && globalStrides == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  wire::TensorMapEncode command{};
  command.kind = wire::kTensorMapTiled;
  command.data_type = static_cast<std::uint32_t>(tensorDataType);
  command.rank = tensorRank;
  command.address = reinterpret_cast<std::uint64_t>(globalAddress);
  command.interleave = static_cast<std::uint32_t>(interleave);
  command.swizzle = static_cast<std::uint32_t>(swizzle);
  command.promotion = static_cast<std::uint32_t>(l2Promotion);
  command.fill = static_cast<std::uint32_t>(oobFill);
  Tail tail;
  tail.add(globalDim, tensorRank);
  tail.add(globalStrides, tensorRank - 1);
  tail.add(boxDim, tensorRank);
  tail.add(elementStrides, tensorRank);
  return encode(command, tail, tensorMap);
}

CUresult cuTensorMapEncodeIm2col(CUtensorMap* tensorMap, CUtensorMapDataType tensorDataType,
                                 cuuint32_t tensorRank, void* globalAddress, const cuuint64_t* globalDim,
                                 const cuuint64_t* globalStrides, const int* pixelBoxLowerCorner,
                                 const int* pixelBoxUpperCorner, cuuint32_t channelsPerPixel,
                                 cuuint32_t pixelsPerColumn, const cuuint32_t* elementStrides,
                                 CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                 CUtensorMapL2promotion l2Promotion, CUtensorMapFloatOOBfill oobFill) {
  if (tensorMap == nullptr || globalDim == nullptr || globalStrides == nullptr ||
      pixelBoxLowerCorner == nullptr || pixelBoxUpperCorner == nullptr || elementStrides == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (tensorRank < 3 || tensorRank > kMostDimensions) return CUDA_ERROR_INVALID_VALUE;
  wire::TensorMapEncode command{};
  command.kind = wire::kTensorMapIm2col;
  command.data_type = static_cast<std::uint32_t>(tensorDataType);
  command.rank = tensorRank;
  command.address = reinterpret_cast<std::uint64_t>(globalAddress);
  command.interleave = static_cast<std::uint32_t>(interleave);
  command.swizzle = static_cast<std::uint32_t>(swizzle);
  command.promotion = static_cast<std::uint32_t>(l2Promotion);
  command.fill = static_cast<std::uint32_t>(oobFill);
  command.channels = channelsPerPixel;
  command.pixels = pixelsPerColumn;
  Tail tail;
  tail.add(globalDim, tensorRank);
  tail.add(globalStrides, tensorRank - 1);
  tail.add(pixelBoxLowerCorner, tensorRank - 2);
  tail.add(pixelBoxUpperCorner, tensorRank - 2);
  tail.add(elementStrides, tensorRank);
  return encode(command, tail, tensorMap);
}

}  // namespace tfusion::hook::api
