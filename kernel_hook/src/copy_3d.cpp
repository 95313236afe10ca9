// Copies of boxes: three dimensions, and arrays. Memory that the worker can reach, and arrays, are copied by
// one command. Pageable memory goes through staging chunks, into which boxes of rows or planes are packed;
// several are under way at once.
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "api.hpp"
#include "arena_heap.hpp"
#include "array.hpp"
#include "call.hpp"
#include "capture.hpp"
#include "context.hpp"
#include "copy.hpp"
#include "objects.hpp"

namespace tfusion::hook {

namespace {

using protocol::ArrayBox;
using protocol::kChunkBytes;

// One side of a copy.
struct Side {
  std::uint64_t array = 0;            // 0: memory
  std::uint64_t address = 0;          // of the box's first byte
  std::uint64_t pitch = 0;            // bytes from row to row
  std::uint64_t height = 0;           // rows from plane to plane
  std::uint64_t x = 0, y = 0, z = 0;  // of the box in the array

  bool reachable() const { return array != 0 || worker_can_reach(address); }
  std::byte* host(std::uint64_t row, std::uint64_t plane) const {
    return reinterpret_cast<std::byte*>(address + (plane * height + row) * pitch);
  }
};

struct Extent {
  std::uint64_t width, height, depth;
};

// A side as cuda.h describes it; the two halves of CUDA_MEMCPY3D have the same fields.
struct Described {
  CUmemorytype type;
  const void* host;
  CUdeviceptr device;
  CUarray array;
  std::size_t pitch, height, x, y, z;
};

CUresult side_of(const Described& d, const Extent& box, Side* out) {
  if (d.type == CU_MEMORYTYPE_ARRAY) {
    protocol::ArrayShape shape;
    if (CUresult r = shape_of(d.array, &shape); r != CUDA_SUCCESS) return r;
    if (!protocol::box_inside(shape, {d.x, d.y, d.z, box.width, box.height, box.depth}))
      return CUDA_ERROR_INVALID_VALUE;
    *out = {number(d.array), 0, 0, 0, d.x, d.y, d.z};
    return CUDA_SUCCESS;
  }
  if (d.type != CU_MEMORYTYPE_HOST && d.type != CU_MEMORYTYPE_DEVICE && d.type != CU_MEMORYTYPE_UNIFIED)
    return CUDA_ERROR_INVALID_VALUE;
  const std::uint64_t base = d.type == CU_MEMORYTYPE_HOST ? number(d.host) : d.device;
  if (base == 0) return CUDA_ERROR_INVALID_VALUE;
  std::uint64_t right = 0, bottom = 0, slice = 0, start = 0, rows = 0;
  if (__builtin_add_overflow(d.x, box.width, &right) || __builtin_add_overflow(d.y, box.height, &bottom))
    return CUDA_ERROR_INVALID_VALUE;
  const std::uint64_t pitch = d.pitch != 0 ? d.pitch : right;
  const std::uint64_t height = d.height != 0 || box.depth > 1 ? d.height : bottom;
  if (right > pitch || (box.depth > 1 && bottom > height)) return CUDA_ERROR_INVALID_VALUE;
  if (__builtin_mul_overflow(pitch, height, &slice) || __builtin_mul_overflow(slice, d.z, &start) ||
      __builtin_mul_overflow(pitch, d.y, &rows) || __builtin_add_overflow(start, rows, &start) ||
      __builtin_add_overflow(start, d.x, &start) || __builtin_add_overflow(start, base, &start)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *out = {0, start, pitch, height};
  if (d.type == CU_MEMORYTYPE_DEVICE && !worker_can_reach(start)) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

// The side of the part of a copy that `part` names within the whole box.
Side moved(Side side, const ArrayBox& part) {
  if (side.array != 0) {
    side.x += part.x;
    side.y += part.y;
    side.z += part.z;
  } else {
    side.address += (part.z * side.height + part.y) * side.pitch + part.x;
  }
  return side;
}

// Cuts the box into parts that fit a chunk: whole planes, rows of one plane, or pieces of a row.
class Parts {
 public:
  explicit Parts(const Extent& box) : box_(box) {
    width_ = std::min<std::uint64_t>(box.width, kChunkBytes);
    height_ = width_ < box.width ? 1 : std::min(box.height, kChunkBytes / width_);
    depth_ = height_ < box.height ? 1 : std::min(box.depth, kChunkBytes / (width_ * height_));
  }
  bool over() const { return z_ >= box_.depth; }
  ArrayBox next() {
    const ArrayBox part{x_,
                        y_,
                        z_,
                        std::min(width_, box_.width - x_),
                        std::min(height_, box_.height - y_),
                        std::min(depth_, box_.depth - z_)};
    x_ += width_;
    if (x_ < box_.width) return part;
    x_ = 0;
    y_ += height_;
    if (y_ < box_.height) return part;
    y_ = 0;
    z_ += depth_;
    return part;
  }

 private:
  Extent box_;
  std::uint64_t width_, height_, depth_;
  std::uint64_t x_ = 0, y_ = 0, z_ = 0;
};

// Calls move(host row, packed row) for each row of a part; `host` is the side of the part.
template <typename Byte, typename Move>
void for_rows(const Side& host, const ArrayBox& part, Byte* packed, Move&& move) {
  for (std::uint64_t plane = 0; plane < part.depth; ++plane) {
    for (std::uint64_t row = 0; row < part.height; ++row) {
      move(host.host(row, plane), packed);
      packed += part.width;
    }
  }
}

template <typename Command>
void put_destination(Command& command, const Side& to) {
  command.to_array = to.array;
  command.destination = to.address;
  command.to_pitch = to.pitch;
  command.to_height = to.height;
  command.to_at[0] = to.x;
  command.to_at[1] = to.y;
  command.to_at[2] = to.z;
}

template <typename Command>
void put_source(Command& command, const Side& from) {
  command.from_array = from.array;
  command.source = from.address;
  command.from_pitch = from.pitch;
  command.from_height = from.height;
  command.from_at[0] = from.x;
  command.from_at[1] = from.y;
  command.from_at[2] = from.z;
}

template <typename Command>
void put_extent(Command& command, const ArrayBox& part, std::uint64_t stream) {
  command.width = part.width;
  command.height = part.height;
  command.depth = part.depth;
  command.stream = stream;
}

CUresult up(const Side& to, const Side& from, const Extent& box, std::uint64_t stream) {
  for (Parts parts(box); !parts.over();) {
    const ArrayBox part = parts.next();
    UpChunk chunk;
    if (!chunk.valid()) return lost();
    for_rows(moved(from, part), part, chunk.data(),
             [&](const std::byte* host, std::byte* packed) { std::memcpy(packed, host, part.width); });
    wire::Copy3DFromStaging command{};
    put_destination(command, moved(to, part));
    put_extent(command, part, stream);
    command.chunk = chunk.index();
    if (CUresult r = post(command); r != CUDA_SUCCESS) return r;
  }
  return CUDA_SUCCESS;
}

// Parts of a copy to pageable memory that are under way, oldest first.
class Landing {
 public:
  explicit Landing(const Side& to) : to_(to) {}

  bool empty() const { return under_way_ == 0; }
  CUresult result() const { return result_; }

  // Sends one more part; false: nothing more is to be sent. Chunks and reply slots are waited for only while
  // none is held, so that threads which copy at once never wait for each other.
  bool send(const Side& from, const ArrayBox& part, std::uint64_t stream) {
    while (!take()) {
      if (empty()) return fail(lost());
      land();
      if (result_ != CUDA_SUCCESS) return false;
    }
    Piece& piece = pieces_[(oldest_ + under_way_) % kMost];
    piece.part = part;
    wire::Copy3DToStaging command{};
    put_source(command, moved(from, part));
    put_extent(command, part, stream);
    command.chunk = piece.chunk->index();
    command.header.opcode = static_cast<std::uint16_t>(wire::Copy3DToStaging::kOpcode);
    command.header.reply_slot = piece.reply->slot();
    if (CUresult r = post_bytes(command.header, sizeof command, nullptr, 0); r != CUDA_SUCCESS) {
      piece.reply.reset();
      piece.chunk.reset();
      return fail(r);
    }
    ++under_way_;
    return true;
  }

  void land() {
    Piece& piece = pieces_[oldest_];
    const CUresult landed = piece.reply->wait();
    if (landed == CUDA_SUCCESS) {
      for_rows(
          moved(to_, piece.part), piece.part, piece.chunk->data(),
          [&](std::byte* host, const std::byte* packed) { std::memcpy(host, packed, piece.part.width); });
    } else if (result_ == CUDA_SUCCESS) {
      result_ = landed;
    }
    piece.reply.reset();
    piece.chunk.reset();
    oldest_ = (oldest_ + 1) % kMost;
    --under_way_;
  }

 private:
  static constexpr std::size_t kMost = 6;
  struct Piece {
    std::optional<Reply> reply;
    std::optional<DownChunk> chunk;
    ArrayBox part;
  };

  // A chunk and a reply slot for the next piece. Waits only if nothing is under way.
  bool take() {
    if (under_way_ == kMost) return false;
    Piece& piece = pieces_[(oldest_ + under_way_) % kMost];
    if (empty()) {
      piece.chunk.emplace();
      piece.reply.emplace();
    } else {
      piece.chunk.emplace(std::try_to_lock);
      if (piece.chunk->valid()) piece.reply.emplace(std::try_to_lock);
    }
    if (piece.chunk->valid() && piece.reply && piece.reply->valid()) return true;
    piece.reply.reset();
    piece.chunk.reset();
    return false;
  }

  bool fail(CUresult why) {
    if (result_ == CUDA_SUCCESS) result_ = why;
    return false;
  }

  Side to_;
  std::array<Piece, kMost> pieces_;
  std::size_t oldest_ = 0, under_way_ = 0;
  CUresult result_ = CUDA_SUCCESS;
};

CUresult down(const Side& to, const Side& from, const Extent& box, std::uint64_t stream) {
  Landing landing(to);
  for (Parts parts(box); !parts.over() && landing.send(from, parts.next(), stream);) {
  }
  while (!landing.empty()) landing.land();
  return landing.result();
}

// A line of a one-dimensional array as one end of a copy.
CUresult line(CUarray array, std::size_t offset, std::size_t bytes, Described* out) {
  protocol::ArrayShape shape;
  if (CUresult r = shape_of(array, &shape); r != CUDA_SUCCESS) return r;
  if (bytes > 0 && (shape.height > 1 || shape.depth > 1)) return CUDA_ERROR_INVALID_VALUE;
  *out = {CU_MEMORYTYPE_ARRAY, nullptr, 0, array, 0, 0, offset, 0, 0};
  return CUDA_SUCCESS;
}

CUresult copy_box(const Described& to_described, const Described& from_described, const Extent& box,
                  CUstream stream, bool synchronous) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  if (box.width == 0 || box.height == 0 || box.depth == 0) return CUDA_SUCCESS;
  Side to, from;
  if (CUresult r = side_of(from_described, box, &from); r != CUDA_SUCCESS) return r;
  if (CUresult r = side_of(to_described, box, &to); r != CUDA_SUCCESS) return r;
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(stream, &on); r != CUDA_SUCCESS) return r;
  const bool host_sees_it = host_heap().contains(from.address) || host_heap().contains(to.address);
  if (to.reachable() && from.reachable()) {
    wire::Copy3DBetween command{};
    put_destination(command, to);
    put_source(command, from);
    put_extent(command, {0, 0, 0, box.width, box.height, box.depth}, on);
    const CUresult result = post(command);
    return result == CUDA_SUCCESS && synchronous && host_sees_it ? wait_for(on) : result;
  }
  if (is_capturing(on)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;  // as in copy.cpp
  if (to.reachable()) {
    const CUresult result = up(to, from, box, on);
    return result == CUDA_SUCCESS && synchronous && host_sees_it ? wait_for(on) : result;
  }
  if (from.reachable()) return down(to, from, box, on);
  // Host to host: after what the stream holds, as the driver does it.
  if (CUresult r = wait_for(on); r != CUDA_SUCCESS) return r;
  for (std::uint64_t plane = 0; plane < box.depth; ++plane) {
    for (std::uint64_t row = 0; row < box.height; ++row)
      std::memmove(to.host(row, plane), from.host(row, plane), box.width);
  }
  return CUDA_SUCCESS;
}

Described on_host(const void* pointer) {
  return {CU_MEMORYTYPE_HOST, pointer, 0, nullptr, 0, 0, 0, 0, 0};
}
Described on_device(CUdeviceptr address) {
  return {CU_MEMORYTYPE_DEVICE, nullptr, address, nullptr, 0, 0, 0, 0, 0};
}

// A copy between a line of an array and memory.
CUresult to_line(CUarray array, std::size_t offset, const Described& from, std::size_t bytes, CUstream stream,
                 bool synchronous) {
  Described to{};
  if (CUresult r = line(array, offset, bytes, &to); r != CUDA_SUCCESS) return r;
  return copy_box(to, from, {bytes, 1, 1}, stream, synchronous);
}
CUresult from_line(const Described& to, CUarray array, std::size_t offset, std::size_t bytes, CUstream stream,
                   bool synchronous) {
  Described from{};
  if (CUresult r = line(array, offset, bytes, &from); r != CUDA_SUCCESS) return r;
  return copy_box(to, from, {bytes, 1, 1}, stream, synchronous);
}

}  // namespace

namespace {

// CUDA_MEMCPY3D and CUDA_MEMCPY3D_PEER name alike what they have in common.
template <typename Described3D>
CUresult copy_described(const Described3D* copy, CUstream stream, bool synchronous) {
  if (copy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Described3D& c = *copy;
  if (c.srcLOD != 0 || c.dstLOD != 0) return CUDA_ERROR_INVALID_VALUE;
  return copy_box({c.dstMemoryType, c.dstHost, c.dstDevice, c.dstArray, c.dstPitch, c.dstHeight,
                   c.dstXInBytes, c.dstY, c.dstZ},
                  {c.srcMemoryType, c.srcHost, c.srcDevice, c.srcArray, c.srcPitch, c.srcHeight,
                   c.srcXInBytes, c.srcY, c.srcZ},
                  {c.WidthInBytes, c.Height, c.Depth}, stream, synchronous);
}

}  // namespace

CUresult copy_2d_of_arrays(const CUDA_MEMCPY2D& c, CUstream stream, bool synchronous) {
  return copy_box(
      {c.dstMemoryType, c.dstHost, c.dstDevice, c.dstArray, c.dstPitch, 0, c.dstXInBytes, c.dstY, 0},
      {c.srcMemoryType, c.srcHost, c.srcDevice, c.srcArray, c.srcPitch, 0, c.srcXInBytes, c.srcY, 0},
      {c.WidthInBytes, c.Height, 1}, stream, synchronous);
}

namespace api {

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* pCopy) {
  return copy_described(pCopy, nullptr, true);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* pCopy, CUstream hStream) {
  return copy_described(pCopy, hStream, false);
}

// All contexts of a session are of one device, so which of them an end belongs to makes no difference.
CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* pCopy) {
  return copy_described(pCopy, nullptr, true);
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* pCopy, CUstream hStream) {
  return copy_described(pCopy, hStream, false);
}

CUresult cuMemcpyHtoA_v2(CUarray dstArray, size_t dstOffset, const void* srcHost, size_t ByteCount) {
  return to_line(dstArray, dstOffset, on_host(srcHost), ByteCount, nullptr, true);
}

CUresult cuMemcpyHtoAAsync_v2(CUarray dstArray, size_t dstOffset, const void* srcHost, size_t ByteCount,
                              CUstream hStream) {
  return to_line(dstArray, dstOffset, on_host(srcHost), ByteCount, hStream, false);
}

CUresult cuMemcpyAtoH_v2(void* dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount) {
  return from_line(on_host(dstHost), srcArray, srcOffset, ByteCount, nullptr, true);
}

CUresult cuMemcpyAtoHAsync_v2(void* dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount,
                              CUstream hStream) {
  return from_line(on_host(dstHost), srcArray, srcOffset, ByteCount, hStream, false);
}

CUresult cuMemcpyDtoA_v2(CUarray dstArray, size_t dstOffset, CUdeviceptr srcDevice, size_t ByteCount) {
  return to_line(dstArray, dstOffset, on_device(srcDevice), ByteCount, nullptr, false);
}

CUresult cuMemcpyAtoD_v2(CUdeviceptr dstDevice, CUarray srcArray, size_t srcOffset, size_t ByteCount) {
  return from_line(on_device(dstDevice), srcArray, srcOffset, ByteCount, nullptr, false);
}

CUresult cuMemcpyAtoA_v2(CUarray dstArray, size_t dstOffset, CUarray srcArray, size_t srcOffset,
                         size_t ByteCount) {
  Described from{};
  if (CUresult r = line(srcArray, srcOffset, ByteCount, &from); r != CUDA_SUCCESS) return r;
  return to_line(dstArray, dstOffset, from, ByteCount, nullptr, false);
}

}  // namespace api
}  // namespace tfusion::hook
