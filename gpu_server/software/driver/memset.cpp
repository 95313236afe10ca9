// The memset functions, and the memset itself (fill.hpp). All of them return before the work is done, as
// CUDA's do for device memory.
#include <string.h>

#include "entry.hpp"
#include "fill.hpp"
#include "work.hpp"

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

// True if kernels may touch every row, or may once a graph's allocation node ran.
bool rows_accessible(const Fill& fill, bool now) {
  const AddressSpace& space = driver().space;
  const std::size_t row_bytes = fill.width * fill.element_bytes;
  for (std::size_t row = 0; row < fill.height; ++row) {
    const std::uint64_t address = fill.address + row * fill.pitch;
    if (space.contains(address, row_bytes)) continue;
    if (now) return false;
    const auto lock = driver().memory.lock();
    const Region* region = driver().memory.find(address);
    if (region == nullptr || !region->is_graph_memory(address, row_bytes)) return false;
  }
  return true;
}

CUresult set(CUdeviceptr address, std::size_t pitch, unsigned value, unsigned element_bytes,
             std::size_t width, std::size_t height, CUstream stream_handle) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto stream = stream_of(*context, stream_handle);
    const auto owner = context_of(*stream);
    if (width == 0 || height == 0) {
      captures(*stream, *owner);  // an error there is an error here
      return;
    }
    const Fill fill{address, pitch, value, element_bytes, width, height};
    require_fillable(fill);
    perform(*stream, owner, fill);
  });
}

}  // namespace

void Fill::run(Context& context) const noexcept {
  if (!rows_accessible(*this, true)) {
    context.fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a memset ran after its memory was freed or unmapped");
    return;
  }
  for (std::size_t row = 0; row < height; ++row) {
    const std::uint64_t to = address + row * pitch;
    if (element_bytes == 1) {
      fill<std::uint8_t>(to, static_cast<std::uint8_t>(value), width);
    } else if (element_bytes == 2) {
      fill<std::uint16_t>(to, static_cast<std::uint16_t>(value), width);
    } else {
      fill<std::uint32_t>(to, value, width);
    }
  }
}

void require_fillable(const Fill& fill) {
  std::size_t row_bytes = 0;
  std::size_t last_row = 0;
  require(fill.width != 0 && fill.height != 0);
  require(fill.element_bytes == 1 || fill.element_bytes == 2 || fill.element_bytes == 4);
  require(!__builtin_mul_overflow(fill.width, fill.element_bytes, &row_bytes));
  require(fill.height == 1 || (fill.pitch >= row_bytes && fill.pitch % fill.element_bytes == 0));
  require(!__builtin_mul_overflow(fill.pitch, fill.height - 1, &last_row) &&
          fill.address + last_row >= fill.address);
  require(fill.address % fill.element_bytes == 0);
  require(rows_accessible(fill, false));
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N) {
  return set(dstDevice, 0, uc, 1, N, 1, nullptr);
}

CUresult cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N) {
  return set(dstDevice, 0, us, 2, N, 1, nullptr);
}

CUresult cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N) {
  return set(dstDevice, 0, ui, 4, N, 1, nullptr);
}

CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream) {
  return set(dstDevice, 0, uc, 1, N, 1, hStream);
}

CUresult cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream) {
  return set(dstDevice, 0, us, 2, N, 1, hStream);
}

CUresult cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream) {
  return set(dstDevice, 0, ui, 4, N, 1, hStream);
}

CUresult cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                         size_t Height) {
  return set(dstDevice, dstPitch, uc, 1, Width, Height, nullptr);
}

CUresult cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                          size_t Height) {
  return set(dstDevice, dstPitch, us, 2, Width, Height, nullptr);
}

CUresult cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                          size_t Height) {
  return set(dstDevice, dstPitch, ui, 4, Width, Height, nullptr);
}

CUresult cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                           size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, uc, 1, Width, Height, hStream);
}

CUresult cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                            size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, us, 2, Width, Height, hStream);
}

CUresult cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                            size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, ui, 4, Width, Height, hStream);
}
