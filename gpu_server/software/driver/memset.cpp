// The memset functions. All of them return before the work is done, as CUDA's do for device memory.
#include <string.h>

#include "entry.hpp"
#include "stream.hpp"

namespace tfusion::software::driver {

namespace {

template <class Value>
void fill(std::uint64_t address, Value value, std::size_t count) noexcept {
  auto* to = reinterpret_cast<Value*>(address);
  if constexpr (sizeof(Value) == 1) {
    memset(to, value, count);
  } else {
    for (std::size_t index = 0; index < count; ++index) to[index] = value;
  }
}

template <class Value>
CUresult set(CUdeviceptr address, std::size_t pitch, Value value, std::size_t width, std::size_t height,
             CUstream stream_handle) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto stream = stream_of(*context, stream_handle);
    if (width == 0 || height == 0) return;
    std::size_t row_bytes = 0;
    std::size_t last_row = 0;
    require(!__builtin_mul_overflow(width, sizeof(Value), &row_bytes));
    require(height == 1 || (pitch >= row_bytes && pitch % sizeof(Value) == 0));
    require(!__builtin_mul_overflow(pitch, height - 1, &last_row) && address + last_row >= address);
    require(address % sizeof(Value) == 0);
    const AddressSpace& space = driver().space;
    const auto accessible = [=, &space] {
      for (std::size_t row = 0; row < height; ++row) {
        if (!space.contains(address + row * pitch, row_bytes)) return false;
      }
      return true;
    };
    require(accessible());
    enqueue(*stream, context_of(*stream), [=](Context& owner) noexcept {
      if (!accessible()) {
        owner.fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a memset ran after its memory was freed or unmapped");
        return;
      }
      for (std::size_t row = 0; row < height; ++row) fill(address + row * pitch, value, width);
    });
  });
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N) {
  return set(dstDevice, 0, uc, N, 1, nullptr);
}

CUresult cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N) {
  return set(dstDevice, 0, us, N, 1, nullptr);
}

CUresult cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N) {
  return set(dstDevice, 0, ui, N, 1, nullptr);
}

CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream) {
  return set(dstDevice, 0, uc, N, 1, hStream);
}

CUresult cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream) {
  return set(dstDevice, 0, us, N, 1, hStream);
}

CUresult cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream) {
  return set(dstDevice, 0, ui, N, 1, hStream);
}

CUresult cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                         size_t Height) {
  return set(dstDevice, dstPitch, uc, Width, Height, nullptr);
}

CUresult cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                          size_t Height) {
  return set(dstDevice, dstPitch, us, Width, Height, nullptr);
}

CUresult cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                          size_t Height) {
  return set(dstDevice, dstPitch, ui, Width, Height, nullptr);
}

CUresult cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                           size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, uc, Width, Height, hStream);
}

CUresult cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                            size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, us, Width, Height, hStream);
}

CUresult cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                            size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, ui, Width, Height, hStream);
}
