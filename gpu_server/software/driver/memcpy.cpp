// The memcpy functions: linear memory and arrays.
#include "array.hpp"
#include "copy.hpp"
#include "entry.hpp"

namespace tfusion::software::driver {

namespace {

std::uint64_t address_of(const void* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

CUresult copy_line(Side from, Side to, std::size_t bytes, CUstream stream, bool wait) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    Copy what;
    what.from = from;
    what.to = to;
    what.from.pitch = what.to.pitch = bytes;
    what.width = bytes;
    return copy(context, stream, what, wait);
  });
}

Side on_device(CUdeviceptr address) {
  return {address, 0, 0, Place::device};
}
Side on_host(const void* pointer) {
  return {address_of(pointer), 0, 0, Place::host};
}
Side anywhere(CUdeviceptr address) {
  return {address, 0, 0, Place::unified};
}

// One side of a 2D or 3D copy as cuda.h describes it.
Side side_of(CUmemorytype type, const void* host, CUdeviceptr device, CUarray array, std::size_t x,
             std::size_t y, std::size_t z, std::size_t pitch, std::size_t height, std::size_t width,
             std::size_t rows, std::size_t planes) {
  Side side;
  switch (type) {
    case CU_MEMORYTYPE_HOST:
      side = on_host(host);
      break;
    case CU_MEMORYTYPE_DEVICE:
      side = on_device(device);
      break;
    case CU_MEMORYTYPE_UNIFIED:
      side = anywhere(device);
      break;
    case CU_MEMORYTYPE_ARRAY: {
      const auto found = driver().handles.get<Array>(number_of(array));
      side.address = address_in(*found, x, y, z, width, rows, planes);
      side.pitch = found->level.pitch;
      side.slice = found->level.slice;
      side.place = Place::device;
      return side;
    }
    default:
      throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
  std::size_t right_edge = 0;
  require(!__builtin_add_overflow(x, width, &right_edge));
  if (pitch == 0 && rows * planes <= 1) pitch = right_edge;  // may be left out for a single row
  require(right_edge <= pitch);
  if (height == 0) height = planes <= 1 ? y + rows : 0;
  require(planes <= 1 || (rows <= height && y <= height - rows));
  side.pitch = pitch;
  require(!__builtin_mul_overflow(pitch, height, &side.slice));
  std::size_t start = 0;
  std::size_t rows_before = 0;
  require(!__builtin_mul_overflow(z, side.slice, &start) && !__builtin_mul_overflow(y, pitch, &rows_before) &&
          !__builtin_add_overflow(start, rows_before, &start) && !__builtin_add_overflow(start, x, &start) &&
          !__builtin_add_overflow(side.address, start, &side.address));
  return side;
}

CUresult copy_2d(const CUDA_MEMCPY2D* described, CUstream stream, bool wait) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(described != nullptr);
    const CUDA_MEMCPY2D p = *described;
    Copy what;
    what.width = p.WidthInBytes;
    what.height = p.Height;
    if (what.width == 0 || what.height == 0) return copy(context, stream, what, wait);
    what.from = side_of(p.srcMemoryType, p.srcHost, p.srcDevice, p.srcArray, p.srcXInBytes, p.srcY, 0,
                        p.srcPitch, 0, what.width, what.height, 1);
    what.to = side_of(p.dstMemoryType, p.dstHost, p.dstDevice, p.dstArray, p.dstXInBytes, p.dstY, 0,
                      p.dstPitch, 0, what.width, what.height, 1);
    return copy(context, stream, what, wait);
  });
}

CUresult copy_3d(const CUDA_MEMCPY3D* described, CUstream stream, bool wait) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(described != nullptr);
    return copy(context, stream, copy_of(*described), wait);
  });
}

}  // namespace

Copy copy_of(const CUDA_MEMCPY3D& described) {
  const CUDA_MEMCPY3D p = described;
  require(p.srcLOD == 0 && p.dstLOD == 0);
  Copy what;
  what.width = p.WidthInBytes;
  what.height = p.Height;
  what.depth = p.Depth;
  if (what.width == 0 || what.height == 0 || what.depth == 0) return what;
  std::size_t rows = 0;
  require(!__builtin_mul_overflow(what.height, what.depth, &rows));
  what.from = side_of(p.srcMemoryType, p.srcHost, p.srcDevice, p.srcArray, p.srcXInBytes, p.srcY, p.srcZ,
                      p.srcPitch, p.srcHeight, what.width, what.height, what.depth);
  what.to = side_of(p.dstMemoryType, p.dstHost, p.dstDevice, p.dstArray, p.dstXInBytes, p.dstY, p.dstZ,
                    p.dstPitch, p.dstHeight, what.width, what.height, what.depth);
  return what;
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount) {
  return copy_line(anywhere(src), anywhere(dst), ByteCount, nullptr, true);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream) {
  return copy_line(anywhere(src), anywhere(dst), ByteCount, hStream, false);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount) {
  return copy_line(on_host(srcHost), on_device(dstDevice), ByteCount, nullptr, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount,
                              CUstream hStream) {
  return copy_line(on_host(srcHost), on_device(dstDevice), ByteCount, hStream, false);
}

CUresult cuMemcpyDtoH_v2(void* dstHost, CUdeviceptr srcDevice, size_t ByteCount) {
  return copy_line(on_device(srcDevice), on_host(dstHost), ByteCount, nullptr, true);
}

CUresult cuMemcpyDtoHAsync_v2(void* dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  return copy_line(on_device(srcDevice), on_host(dstHost), ByteCount, hStream, false);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount) {
  // Between two places of the device the host does not wait.
  return copy_line(on_device(srcDevice), on_device(dstDevice), ByteCount, nullptr, false);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream) {
  return copy_line(on_device(srcDevice), on_device(dstDevice), ByteCount, hStream, false);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* pCopy) {
  return copy_2d(pCopy, nullptr, true);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* pCopy) {
  return copy_2d(pCopy, nullptr, true);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* pCopy, CUstream hStream) {
  return copy_2d(pCopy, hStream, false);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* pCopy) {
  return copy_3d(pCopy, nullptr, true);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* pCopy, CUstream hStream) {
  return copy_3d(pCopy, hStream, false);
}
