// Copies of boxes between memory, arrays and the client's staging, where a box lies packed. Each side is
// checked before the driver sees it: memory by may_copy() over its whole span, arrays by their shape.
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

struct Extent {
  std::uint64_t width, height, depth;
};

// One side of a copy as a command says it: an array's box, or memory that starts at `address`.
struct Side {
  std::uint64_t array;  // 0: memory
  std::uint64_t address;
  std::uint64_t pitch;   // bytes from row to row
  std::uint64_t height;  // rows from plane to plane
  const std::uint64_t* at;
};

// Bytes from the first to the last of a box in memory; 0 for what cannot be, or is larger than any memory.
std::uint64_t span(const Side& side, const Extent& box) {
  constexpr std::uint64_t kMost = kDeviceArenaBytes;
  if (box.width == 0 || box.height == 0 || box.depth == 0) return 0;
  if (side.pitch < box.width || side.pitch > kMost || box.height > kMost / side.pitch) return 0;
  const std::uint64_t plane = (box.height - 1) * side.pitch + box.width;
  if (box.depth == 1) return plane;
  if (side.height < box.height || side.height > kMost / side.pitch) return 0;
  const std::uint64_t slice = side.height * side.pitch;
  if (box.depth > kMost / slice) return 0;
  return (box.depth - 1) * slice + plane;
}

// How the driver is told of a side; the same for both ends of CUDA_MEMCPY3D.
struct DriverSide {
  CUmemorytype type = CU_MEMORYTYPE_UNIFIED;
  CUdeviceptr address = 0;
  CUarray array = nullptr;
  std::size_t pitch = 0, height = 0, x = 0, y = 0, z = 0;
};

enum class Checked { good, bad, answered };

// `captured`: the copy becomes a graph's node. `answered`: a handle was wrong, and the client has been told
// or its session ended.
Checked check(Session& session, const wire::CommandHeader& header, const Side& side, const Extent& box,
              bool captured, DriverSide* out) {
  if (side.array != 0) {
    Array* array = nullptr;
    if (!session.resolve(header, side.array, &array)) return Checked::answered;
    const ArrayBox place{side.at[0], side.at[1], side.at[2], box.width, box.height, box.depth};
    if (!box_inside(array->shape, place)) return Checked::bad;
    if (captured) array->in_graph = true;
    *out = {CU_MEMORYTYPE_ARRAY, 0, array->array, 0, 0, place.x, place.y, place.z};
    return Checked::good;
  }
  const std::uint64_t bytes = span(side, box);
  if (bytes == 0 || !session.may_copy(side.address, bytes)) return Checked::bad;
  *out = {CU_MEMORYTYPE_UNIFIED, side.address, nullptr, side.pitch,
          box.depth == 1 ? box.height : side.height};
  return Checked::good;
}

bool fits_chunk(const Extent& box) {
  return box.width > 0 && box.height > 0 && box.depth > 0 && box.width <= kChunkBytes &&
         box.height <= kChunkBytes / box.width && box.depth <= kChunkBytes / (box.width * box.height);
}

DriverSide packed(const std::byte* memory, const Extent& box) {
  DriverSide side;
  side.type = CU_MEMORYTYPE_HOST;
  side.address = reinterpret_cast<std::uint64_t>(memory);
  side.pitch = box.width;
  side.height = box.height;
  return side;
}

CUresult copy(Session& session, const DriverSide& to, const DriverSide& from, const Extent& box,
              CUstream stream) {
  CUDA_MEMCPY3D c{};
  c.srcMemoryType = from.type;
  c.srcArray = from.array;
  c.srcPitch = from.pitch;
  c.srcHeight = from.height;
  c.srcXInBytes = from.x;
  c.srcY = from.y;
  c.srcZ = from.z;
  if (from.type == CU_MEMORYTYPE_HOST) {
    c.srcHost = reinterpret_cast<const void*>(from.address);
  } else {
    c.srcDevice = from.address;
  }
  c.dstMemoryType = to.type;
  c.dstArray = to.array;
  c.dstPitch = to.pitch;
  c.dstHeight = to.height;
  c.dstXInBytes = to.x;
  c.dstY = to.y;
  c.dstZ = to.z;
  if (to.type == CU_MEMORYTYPE_HOST) {
    c.dstHost = reinterpret_cast<void*>(to.address);
  } else {
    c.dstDevice = to.address;
  }
  c.WidthInBytes = box.width;
  c.Height = box.height;
  c.Depth = box.depth;
  return session.driver().cuMemcpy3DAsync_v2(&c, stream);
}

template <typename Command>
Side destination_of(const Command& c) {
  return {c.to_array, c.destination, c.to_pitch, c.to_height, c.to_at};
}
template <typename Command>
Side source_of(const Command& c) {
  return {c.from_array, c.source, c.from_pitch, c.from_height, c.from_at};
}

}  // namespace

void replay(Session& session, const wire::Copy3DBetween& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  const Extent box{command.width, command.height, command.depth};
  const bool captured = session.is_capturing(stream);
  DriverSide to, from;
  const Checked end = check(session, command.header, destination_of(command), box, captured, &to);
  if (end == Checked::answered) return;
  const Checked start = check(session, command.header, source_of(command), box, captured, &from);
  if (start == Checked::answered) return;
  if (end == Checked::bad || start == Checked::bad)
    return session.note(command.header, CUDA_ERROR_INVALID_VALUE);
  session.note(command.header, copy(session, to, from, box, stream));
}

void replay(Session& session, const wire::Copy3DFromStaging& command) {
  const Extent box{command.width, command.height, command.depth};
  if (command.chunk >= kUpChunks || !fits_chunk(box))
    return session.protocol_error("Copy3DFromStaging names no chunk that goes up, or more than it holds");
  if (!session.hold_chunk(command.chunk)) return;
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return session.release_chunk(command.chunk);
  DriverSide to;
  const Checked end = check(session, command.header, destination_of(command), box, false, &to);
  if (end == Checked::answered) return session.release_chunk(command.chunk);
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  if (session.is_capturing(stream)) {
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;  // see copies.cpp
  } else if (end == Checked::good) {
    result = copy(session, to, packed(session.shared().chunk(command.chunk), box), box, stream);
  }
  session.note(command.header, result);
  if (result != CUDA_SUCCESS) return session.release_chunk(command.chunk);
  session.pending().after_stream(stream, [&session, command](CUresult done) {
    session.note(command.header, done);
    session.release_chunk(command.chunk);
  });
}

void replay(Session& session, const wire::Copy3DToStaging& command) {
  const Extent box{command.width, command.height, command.depth};
  if (command.chunk < kUpChunks || command.chunk >= kChunks || !fits_chunk(box))
    return session.protocol_error("Copy3DToStaging names no chunk that comes down, or more than it holds");
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  DriverSide from;
  const Checked start = check(session, command.header, source_of(command), box, false, &from);
  if (start == Checked::answered) return;
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  if (session.is_capturing(stream)) {
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  } else if (start == Checked::good) {
    result = copy(session, packed(session.shared().chunk(command.chunk), box), from, box, stream);
  }
  if (result != CUDA_SUCCESS) return session.reply(command.header, result);
  session.pending().after_stream(stream,
                                 [&session, command](CUresult done) { session.reply(command.header, done); });
}

}  // namespace tfusion::replay
