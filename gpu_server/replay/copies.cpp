// Copies between the client's data (in the command, or in staging) and this session's memory.
//
// A staging chunk is pinned memory that the client may change while it is copied: that changes data, never an
// address. None of these buffers may get into a graph, which would copy from and to it long after it has
// other uses.
#include <cstring>

#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

bool up_chunk(std::uint32_t chunk, std::uint32_t bytes) {
  return chunk < kUpChunks && bytes > 0 && bytes <= kChunkBytes;
}

bool down_chunk(std::uint32_t chunk, std::uint32_t bytes) {
  return chunk >= kUpChunks && chunk < kChunks && bytes > 0 && bytes <= kChunkBytes;
}

// (height - 1) * pitch + width; 0 for what cannot be, or is larger than any memory.
std::uint64_t extent_2d(std::uint64_t width, std::uint64_t height, std::uint64_t pitch) {
  if (width == 0 || height == 0 || pitch < width) return 0;
  if (pitch > kDeviceArenaBytes || height > kDeviceArenaBytes / pitch) return 0;
  return (height - 1) * pitch + width;
}

}  // namespace

void replay(Session& session, const wire::CopyInline& command, std::span<const std::byte> tail) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (tail.empty() || tail.size() > wire::kMaxInlineBytes)
    return session.protocol_error("CopyInline has no data, or too much");
  if (!session.may_copy(command.destination, tail.size()))
    return session.note(command.header, CUDA_ERROR_INVALID_VALUE);
  if (session.is_capturing(stream))
    return session.note(command.header, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  // From pageable memory of this size the driver copies before it returns, so the command's buffer is free
  // again.
  session.note(command.header,
               session.driver().cuMemcpyHtoDAsync_v2(command.destination, tail.data(), tail.size(), stream));
}

void replay(Session& session, const wire::CopyFromStaging& command) {
  if (!up_chunk(command.chunk, command.bytes))
    return session.protocol_error("CopyFromStaging names no chunk that goes up");
  if (!session.hold_chunk(command.chunk)) return;
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return session.release_chunk(command.chunk);
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  if (session.is_capturing(stream)) {
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  } else if (session.may_copy(command.destination, command.bytes)) {
    result = session.driver().cuMemcpyHtoDAsync_v2(command.destination, session.shared().chunk(command.chunk),
                                                   command.bytes, stream);
  }
  session.note(command.header, result);
  if (result != CUDA_SUCCESS) return session.release_chunk(command.chunk);
  session.pending().after_stream(stream, [&session, command](CUresult done) {
    session.note(command.header, done);
    session.release_chunk(command.chunk);
  });
}

void replay(Session& session, const wire::CopyToStaging& command) {
  if (!down_chunk(command.chunk, command.bytes))
    return session.protocol_error("CopyToStaging names no chunk that comes down");
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (!session.may_copy(command.source, command.bytes))
    return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  if (session.is_capturing(stream))
    return session.reply(command.header, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  const CUresult result = session.driver().cuMemcpyDtoHAsync_v2(session.shared().chunk(command.chunk),
                                                                command.source, command.bytes, stream);
  if (result != CUDA_SUCCESS) return session.reply(command.header, result);
  session.pending().after_stream(stream,
                                 [&session, command](CUresult done) { session.reply(command.header, done); });
}

void replay(Session& session, const wire::CopyToReply& command) {
  if (command.bytes == 0 || command.bytes > kReplyPayloadBytes) {
    return session.protocol_error("CopyToReply asks for more than a reply holds");
  }
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (!session.may_copy(command.source, command.bytes))
    return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  if (session.is_capturing(stream))
    return session.reply(command.header, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  const CUresult result = session.driver().cuMemcpyDtoHAsync_v2(session.reply_payload(command.header),
                                                                command.source, command.bytes, stream);
  if (result != CUDA_SUCCESS) return session.reply(command.header, result);
  session.pending().after_stream(stream, [&session, command](CUresult done) {
    session.reply_in_place(command.header, done, command.bytes);
  });
}

void replay(Session& session, const wire::CopyBetween& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (command.bytes == 0 || !session.may_copy(command.destination, command.bytes) ||
      !session.may_copy(command.source, command.bytes)) {
    return session.note(command.header, CUDA_ERROR_INVALID_VALUE);
  }
  session.note(command.header,
               session.driver().cuMemcpyAsync(command.destination, command.source, command.bytes, stream));
}

void replay(Session& session, const wire::Copy2DBetween& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  const std::uint64_t to = extent_2d(command.width, command.height, command.destination_pitch);
  const std::uint64_t from = extent_2d(command.width, command.height, command.source_pitch);
  if (to == 0 || from == 0 || !session.may_copy(command.destination, to) ||
      !session.may_copy(command.source, from)) {
    return session.note(command.header, CUDA_ERROR_INVALID_VALUE);
  }
  CUDA_MEMCPY2D copy{};
  copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  copy.srcDevice = command.source;
  copy.dstDevice = command.destination;
  copy.srcPitch = command.source_pitch;
  copy.dstPitch = command.destination_pitch;
  copy.WidthInBytes = command.width;
  copy.Height = command.height;
  session.note(command.header, session.driver().cuMemcpy2DAsync_v2(&copy, stream));
}

void replay(Session& session, const wire::Memset& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  const std::uint64_t element = command.element_bytes;
  if (element != 1 && element != 2 && element != 4)
    return session.protocol_error("Memset's elements have no size that exists");
  const bool flat = command.height == 1;
  const bool sane = command.width > 0 && command.height > 0 && command.width <= kDeviceArenaBytes / element;
  const std::uint64_t row = sane ? command.width * element : 0;
  const std::uint64_t bytes = !sane ? 0 : flat ? row : extent_2d(row, command.height, command.pitch);
  if (bytes == 0 || !session.may_copy(command.destination, bytes)) {
    return session.note(command.header, CUDA_ERROR_INVALID_VALUE);
  }
  const DriverFunctions& driver = session.driver();
  const CUdeviceptr to = command.destination;
  const auto byte = static_cast<unsigned char>(command.value);
  const auto half = static_cast<unsigned short>(command.value);
  CUresult result = CUDA_SUCCESS;
  if (flat) {
    result = element == 1   ? driver.cuMemsetD8Async(to, byte, command.width, stream)
             : element == 2 ? driver.cuMemsetD16Async(to, half, command.width, stream)
                            : driver.cuMemsetD32Async(to, command.value, command.width, stream);
  } else {
    result = element == 1
                 ? driver.cuMemsetD2D8Async(to, command.pitch, byte, command.width, command.height, stream)
             : element == 2
                 ? driver.cuMemsetD2D16Async(to, command.pitch, half, command.width, command.height, stream)
                 : driver.cuMemsetD2D32Async(to, command.pitch, command.value, command.width, command.height,
                                             stream);
  }
  session.note(command.header, result);
}

}  // namespace tfusion::replay
