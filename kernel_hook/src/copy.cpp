// Copies and synchronous memsets. Where a pointer lies is told by its address: device arena, pinned arena, a
// module's variable, or plain host memory, which only this process can read.
//
// Host memory to the device: small pieces travel in the command, larger ones through staging chunks; the call
// returns when the source was read, as CUDA's does. Device to host memory: pieces come back in the reply or
// in chunks, several under way at once. Pinned memory is the worker's as well, so its copies are one command
// and no wait.
#include "copy.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "api.hpp"
#include "arena_heap.hpp"
#include "call.hpp"
#include "capture.hpp"
#include "context.hpp"
#include "globals.hpp"
#include "objects.hpp"
#include "stream_memory.hpp"

namespace tfusion::hook {

bool worker_can_reach(std::uint64_t address) {
  MemoryBlock block{};
  return device_heap().contains(address) || host_heap().contains(address) || find_global(address, &block);
}

CUresult wait_for(std::uint64_t stream) {
  wire::StreamSynchronize command{};
  command.stream = stream;
  return call(command);
}

namespace {

using protocol::kChunkBytes;

CUresult up(std::uint64_t destination, const void* source, std::size_t bytes, std::uint64_t stream) {
  const auto* from = static_cast<const std::byte*>(source);
  if (bytes <= wire::kMaxInlineBytes) {
    wire::CopyInline command{};
    command.destination = destination;
    command.stream = stream;
    return post(command, from, static_cast<std::uint32_t>(bytes));
  }
  while (bytes > 0) {
    const auto piece = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, kChunkBytes));
    UpChunk chunk;
    if (!chunk.valid()) return lost();
    std::memcpy(chunk.data(), from, piece);
    wire::CopyFromStaging command{};
    command.destination = destination;
    command.stream = stream;
    command.chunk = chunk.index();
    command.bytes = piece;
    if (CUresult r = post(command); r != CUDA_SUCCESS) return r;
    from += piece;
    destination += piece;
    bytes -= piece;
  }
  return CUDA_SUCCESS;
}

// One piece of a copy to host memory that is under way.
struct Piece {
  std::optional<Reply> reply;
  std::optional<DownChunk> chunk;
  std::byte* to = nullptr;
  std::uint32_t bytes = 0;
};

CUresult land(Piece& piece, bool past_caches) {
  const CUresult result = piece.reply->wait();
  if (result == CUDA_SUCCESS) {
    if (past_caches) {
      copy_past_caches(piece.to, piece.chunk->data(), piece.bytes);
    } else {
      std::memcpy(piece.to, piece.chunk->data(), piece.bytes);
    }
  }
  piece.reply.reset();
  piece.chunk.reset();
  return result;
}

CUresult down(void* destination, std::uint64_t source, std::size_t bytes, std::uint64_t stream) {
  auto* to = static_cast<std::byte*>(destination);
  if (bytes <= protocol::kReplyPayloadBytes) {
    Reply reply;
    wire::CopyToReply command{};
    command.source = source;
    command.stream = stream;
    command.bytes = static_cast<std::uint32_t>(bytes);
    const CUresult result = call_with(reply, command);
    if (result == CUDA_SUCCESS) std::memcpy(to, reply.payload(), bytes);
    return result;
  }
  // Chunks and reply slots are waited for only while none is held: threads that copy at once never wait for
  // each other.
  constexpr std::size_t kUnderWay = 6;
  std::array<Piece, kUnderWay> pieces;
  CUresult result = CUDA_SUCCESS;
  std::size_t oldest = 0, under_way = 0, sent = 0;
  auto land_oldest = [&] {
    const CUresult landed = land(pieces[oldest], bytes >= kPastCaches);
    if (result == CUDA_SUCCESS) result = landed;
    oldest = (oldest + 1) % kUnderWay;
    --under_way;
  };
  while (sent < bytes && result == CUDA_SUCCESS) {
    if (under_way == kUnderWay) land_oldest();
    Piece& piece = pieces[(oldest + under_way) % kUnderWay];
    if (under_way == 0) {
      piece.chunk.emplace();
      piece.reply.emplace();
      if (!piece.chunk->valid() || !piece.reply->valid()) return lost();
    } else {
      piece.chunk.emplace(std::try_to_lock);
      if (piece.chunk->valid()) piece.reply.emplace(std::try_to_lock);
      if (!piece.chunk->valid() || !piece.reply->valid()) {
        piece.chunk.reset();
        piece.reply.reset();
        land_oldest();
        continue;
      }
    }
    piece.bytes = static_cast<std::uint32_t>(std::min<std::size_t>(bytes - sent, kChunkBytes));
    piece.to = to + sent;
    wire::CopyToStaging command{};
    command.source = source + sent;
    command.stream = stream;
    command.chunk = piece.chunk->index();
    command.bytes = piece.bytes;
    command.header.opcode = static_cast<std::uint16_t>(wire::CopyToStaging::kOpcode);
    command.header.reply_slot = piece.reply->slot();
    result = post_bytes(command.header, sizeof command, nullptr, 0);
    if (result != CUDA_SUCCESS) break;
    sent += piece.bytes;
    ++under_way;
  }
  while (under_way > 0) land_oldest();
  return result;
}

CUresult between(std::uint64_t destination, std::uint64_t source, std::size_t bytes, std::uint64_t stream) {
  wire::CopyBetween command{};
  command.destination = destination;
  command.source = source;
  command.bytes = bytes;
  command.stream = stream;
  return post(command);
}

enum class Direction { any, host_to_device, device_to_host, device_to_device };

// `synchronous`: the data is at its place when the call returns, as far as the host can tell.
CUresult copy(Direction direction, std::uint64_t destination, std::uint64_t source, std::size_t bytes,
              CUstream stream, bool synchronous) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  if (bytes == 0) return CUDA_SUCCESS;
  if (destination == 0 || source == 0) return CUDA_ERROR_INVALID_VALUE;
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(stream, &on); r != CUDA_SUCCESS) return r;
  const bool to_worker = worker_can_reach(destination), from_worker = worker_can_reach(source);
  const bool needs_device_destination =
      direction == Direction::host_to_device || direction == Direction::device_to_device;
  const bool needs_device_source =
      direction == Direction::device_to_host || direction == Direction::device_to_device;
  if ((needs_device_destination && !to_worker) || (needs_device_source && !from_worker))
    return CUDA_ERROR_INVALID_VALUE;
  if (to_worker && from_worker) {
    const CUresult result = between(destination, source, bytes, on);
    const bool host_sees_it = host_heap().contains(destination) || host_heap().contains(source);
    return result == CUDA_SUCCESS && synchronous && host_sees_it ? wait_for(on) : result;
  }
  // A graph would have to read or write this memory when it runs, in a process that does not have it.
  if (is_capturing(on)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (to_worker) {
    const CUresult result = up(destination, reinterpret_cast<const void*>(source), bytes, on);
    return result == CUDA_SUCCESS && synchronous && host_heap().contains(destination) ? wait_for(on) : result;
  }
  if (from_worker) return down(reinterpret_cast<void*>(destination), source, bytes, on);
  // Host to host: after what the stream holds, as the driver does it.
  if (CUresult r = wait_for(on); r != CUDA_SUCCESS) return r;
  std::memmove(reinterpret_cast<void*>(destination), reinterpret_cast<const void*>(source), bytes);
  return CUDA_SUCCESS;
}

// `failed` may be nullptr; else it gets the index of the copy that was wrong, or the largest number for the
// batch's own fault.
CUresult copy_batch(const CUdeviceptr* destinations, const CUdeviceptr* sources, const std::size_t* sizes,
                    std::size_t count, const CUmemcpyAttributes* attributes,
                    const std::size_t* attribute_indices, std::size_t attribute_count, std::size_t* failed,
                    CUstream stream) {
  if (failed != nullptr) *failed = SIZE_MAX;
  if (destinations == nullptr || sources == nullptr || sizes == nullptr || count == 0)
    return CUDA_ERROR_INVALID_VALUE;
  if (attributes == nullptr || attribute_indices == nullptr || attribute_count == 0 ||
      attribute_count > count || attribute_indices[0] != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::uint64_t on = 0;
  if (CUresult r = stream_on_wire(stream, &on); r != CUDA_SUCCESS) return r;
  if (on == kLegacyStream) return CUDA_ERROR_INVALID_VALUE;  // batches are for any stream but that
  for (std::size_t i = 0; i < count; ++i) {
    const CUresult result = copy(Direction::any, destinations[i], sources[i], sizes[i], stream, false);
    if (result == CUDA_SUCCESS) continue;
    if (failed != nullptr) *failed = i;
    return result;
  }
  return CUDA_SUCCESS;
}

struct Side2D {
  std::uint64_t start;
  std::size_t pitch;
};

CUresult side(CUmemorytype type, const void* host, CUdeviceptr device, std::size_t pitch, std::size_t x,
              std::size_t y, std::size_t width, Side2D* out) {
  std::uint64_t base = 0;
  switch (type) {
    case CU_MEMORYTYPE_HOST:
      base = number(host);
      break;
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
      base = device;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  if (base == 0) return CUDA_ERROR_INVALID_VALUE;
  if (pitch == 0) pitch = x + width;
  if (x > pitch || width > pitch - x) return CUDA_ERROR_INVALID_VALUE;
  *out = {base + y * pitch + x, pitch};
  return CUDA_SUCCESS;
}

CUresult copy_2d(const CUDA_MEMCPY2D* c, CUstream stream, bool synchronous) {
  if (c == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (c->srcMemoryType == CU_MEMORYTYPE_ARRAY || c->dstMemoryType == CU_MEMORYTYPE_ARRAY)
    return copy_2d_of_arrays(*c, stream, synchronous);
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  if (c->WidthInBytes == 0 || c->Height == 0) return CUDA_SUCCESS;
  Side2D from{}, to{};
  if (CUresult r = side(c->srcMemoryType, c->srcHost, c->srcDevice, c->srcPitch, c->srcXInBytes, c->srcY,
                        c->WidthInBytes, &from);
      r != CUDA_SUCCESS) {
    return r;
  }
  if (CUresult r = side(c->dstMemoryType, c->dstHost, c->dstDevice, c->dstPitch, c->dstXInBytes, c->dstY,
                        c->WidthInBytes, &to);
      r != CUDA_SUCCESS) {
    return r;
  }
  if (from.pitch == c->WidthInBytes && to.pitch == c->WidthInBytes) {
    return copy(Direction::any, to.start, from.start, c->WidthInBytes * c->Height, stream, synchronous);
  }
  if (worker_can_reach(from.start) && worker_can_reach(to.start)) {
    wire::Copy2DBetween command{};
    if (CUresult r = stream_on_wire(stream, &command.stream); r != CUDA_SUCCESS) return r;
    command.destination = to.start;
    command.source = from.start;
    command.destination_pitch = to.pitch;
    command.source_pitch = from.pitch;
    command.width = c->WidthInBytes;
    command.height = c->Height;
    const CUresult result = post(command);
    const bool host_sees_it = host_heap().contains(from.start) || host_heap().contains(to.start);
    return result == CUDA_SUCCESS && synchronous && host_sees_it ? wait_for(command.stream) : result;
  }
  for (std::size_t row = 0; row < c->Height; ++row) {
    if (CUresult r = copy(Direction::any, to.start + row * to.pitch, from.start + row * from.pitch,
                          c->WidthInBytes, stream, synchronous);
        r != CUDA_SUCCESS) {
      return r;
    }
  }
  return CUDA_SUCCESS;
}

struct Fill {
  CUdeviceptr destination;
  std::size_t pitch, width, height;  // width in elements
  unsigned value;
  unsigned element_bytes;
};

// `synchronous`: a fill of pinned memory is there when the call returns; one of device memory need not be.
CUresult set(const Fill& fill, CUstream stream, bool synchronous) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  if (fill.width == 0 || fill.height == 0) return CUDA_SUCCESS;
  if (!worker_can_reach(fill.destination) || fill.destination % fill.element_bytes != 0)
    return CUDA_ERROR_INVALID_VALUE;
  wire::Memset command{};
  if (CUresult r = stream_on_wire(stream, &command.stream); r != CUDA_SUCCESS) return r;
  command.destination = fill.destination;
  command.pitch = fill.pitch;
  command.width = fill.width;
  command.height = fill.height;
  command.value = fill.value;
  command.element_bytes = fill.element_bytes;
  const CUresult result = post(command);
  const bool host_sees_it = host_heap().contains(fill.destination);
  return result == CUDA_SUCCESS && synchronous && host_sees_it ? wait_for(command.stream) : result;
}

}  // namespace

namespace api {

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount) {
  return copy(Direction::any, dst, src, ByteCount, nullptr, true);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream) {
  return copy(Direction::any, dst, src, ByteCount, hStream, false);
}

// All contexts of a session are of one device: a copy between two of them is a copy.
CUresult cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext, CUdeviceptr srcDevice, CUcontext, size_t ByteCount) {
  return copy(Direction::device_to_device, dstDevice, srcDevice, ByteCount, nullptr, false);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext, CUdeviceptr srcDevice, CUcontext,
                           size_t ByteCount, CUstream hStream) {
  return copy(Direction::device_to_device, dstDevice, srcDevice, ByteCount, hStream, false);
}

// Where the attributes would let a driver read a source later than now, reading it now is right as well.
CUresult cuMemcpyBatchAsync_v2(CUdeviceptr* dsts, CUdeviceptr* srcs, size_t* sizes, size_t count,
                               CUmemcpyAttributes* attrs, size_t* attrsIdxs, size_t numAttrs,
                               CUstream hStream) {
  return copy_batch(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, nullptr, hStream);
}

CUresult cuMemcpyBatchAsync(CUdeviceptr* dsts, CUdeviceptr* srcs, size_t* sizes, size_t count,
                            CUmemcpyAttributes* attrs, size_t* attrsIdxs, size_t numAttrs, size_t* failIdx,
                            CUstream hStream) {
  return copy_batch(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, failIdx, hStream);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount) {
  return copy(Direction::host_to_device, dstDevice, number(srcHost), ByteCount, nullptr, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount,
                              CUstream hStream) {
  return copy(Direction::host_to_device, dstDevice, number(srcHost), ByteCount, hStream, false);
}

CUresult cuMemcpyDtoH_v2(void* dstHost, CUdeviceptr srcDevice, size_t ByteCount) {
  return copy(Direction::device_to_host, number(dstHost), srcDevice, ByteCount, nullptr, true);
}

CUresult cuMemcpyDtoHAsync_v2(void* dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  return copy(Direction::device_to_host, number(dstHost), srcDevice, ByteCount, hStream, false);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount) {
  return copy(Direction::device_to_device, dstDevice, srcDevice, ByteCount, nullptr, false);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream) {
  return copy(Direction::device_to_device, dstDevice, srcDevice, ByteCount, hStream, false);
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

CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream) {
  return set({dstDevice, 0, N, 1, uc, 1}, hStream, false);
}
CUresult cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N) {
  return set({dstDevice, 0, N, 1, uc, 1}, nullptr, true);
}
CUresult cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                           size_t Height, CUstream hStream) {
  return set({dstDevice, dstPitch, Width, Height, uc, 1}, hStream, false);
}
CUresult cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                         size_t Height) {
  return set({dstDevice, dstPitch, Width, Height, uc, 1}, nullptr, true);
}
CUresult cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream) {
  return set({dstDevice, 0, N, 1, us, 2}, hStream, false);
}
CUresult cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N) {
  return set({dstDevice, 0, N, 1, us, 2}, nullptr, true);
}
CUresult cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                            size_t Height, CUstream hStream) {
  return set({dstDevice, dstPitch, Width, Height, us, 2}, hStream, false);
}
CUresult cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                          size_t Height) {
  return set({dstDevice, dstPitch, Width, Height, us, 2}, nullptr, true);
}
CUresult cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream) {
  return set({dstDevice, 0, N, 1, ui, 4}, hStream, false);
}
CUresult cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N) {
  return set({dstDevice, 0, N, 1, ui, 4}, nullptr, true);
}
CUresult cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                            size_t Height, CUstream hStream) {
  return set({dstDevice, dstPitch, Width, Height, ui, 4}, hStream, false);
}
CUresult cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                          size_t Height) {
  return set({dstDevice, dstPitch, Width, Height, ui, 4}, nullptr, true);
}

}  // namespace api
}  // namespace tfusion::hook
