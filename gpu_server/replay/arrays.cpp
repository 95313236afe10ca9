// Arrays, mipmapped arrays and their levels: memory of the GPU that has no address, so it is not in the
// arena. It is counted on the slice's account before the driver is asked for it.
#include <algorithm>
#include <bit>

#include "array.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
  return (value + to - 1) / to * to;
}

// Extents are laid out in tiles whose edges are powers of two up to `most`.
std::uint64_t tiled(std::uint64_t size, std::uint64_t least, std::uint64_t most) {
  return round_up(size, std::clamp(std::bit_ceil(size), least, most));
}

template <typename Command>
ArrayShape shape_of(const Command& command) {
  return {command.width, command.height, command.depth, command.format, command.channels, command.flags};
}

bool sane(const ArrayShape& shape) {
  return texel_bytes(shape.format, shape.channels) != 0 && (shape.flags & ~kArrayFlags) == 0 &&
         shape.width > 0 && shape.width <= kMaxArrayExtent && shape.height <= kMaxArrayExtent &&
         shape.depth <= kMaxArrayExtent;
}

CUDA_ARRAY3D_DESCRIPTOR descriptor_of(const ArrayShape& shape) {
  CUDA_ARRAY3D_DESCRIPTOR descriptor{};
  descriptor.Width = shape.width;
  descriptor.Height = shape.height;
  descriptor.Depth = shape.depth;
  descriptor.Format = static_cast<CUarray_format>(shape.format);
  descriptor.NumChannels = shape.channels;
  descriptor.Flags = shape.flags;
  return descriptor;
}

}  // namespace

std::uint64_t array_bytes(const ArrayShape& shape, std::uint32_t levels) {
  // Tiles of 64 bytes by 8 rows, stacked to blocks of up to 16 tiles' rows and, in space, 32 planes.
  std::uint64_t total = 0;
  for (std::uint32_t level = 0; level < levels; ++level) {
    const ArrayShape one = level_shape(shape, level);
    const std::uint64_t pitch = round_up(one.width * texel_bytes(one.format, one.channels), 64);
    const std::uint64_t rows = tiled(std::max<std::uint64_t>(one.height, 1), 8, 128);
    const std::uint64_t planes = std::max<std::uint64_t>(one.depth, 1);
    total += pitch * rows * (is_layered(shape) ? planes : tiled(planes, 1, 32));
  }
  // The driver gives memory in pages; small arrays share one.
  constexpr std::uint64_t kSmallPage = 64 << 10, kPage = 2 << 20;
  return round_up(total, total < kPage / 2 ? kSmallPage : kPage);
}

void Session::release_arrays() {
  for (const CUtexObject texture : textures) driver().cuTexObjectDestroy(texture);
  for (const CUsurfObject surface : surfaces) driver().cuSurfObjectDestroy(surface);
  textures.clear();
  surfaces.clear();
  arrays.for_each([&](Array& array) {
    if (array.mipmapped != 0) return;
    driver().cuArrayDestroy(array.array);
    give_back(array.charged_bytes, true);
  });
  mipmapped_arrays.for_each([&](MipmappedArray& array) {
    driver().cuMipmappedArrayDestroy(array.array);
    give_back(array.charged_bytes, true);
  });
  arrays.clear();
  mipmapped_arrays.clear();
}

void replay(Session& session, const wire::ArrayCreate& command) {
  if (!session.may_create(command.header, command.array, HandleKind::array)) return;
  const ArrayShape shape = shape_of(command);
  if (!sane(shape)) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  const std::uint64_t bytes = array_bytes(shape, 1);
  if (!session.claim(bytes, true)) return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  const CUDA_ARRAY3D_DESCRIPTOR descriptor = descriptor_of(shape);
  CUarray array = nullptr;
  const CUresult result = session.driver().cuArray3DCreate_v2(&array, &descriptor);
  if (result == CUDA_SUCCESS) {
    session.arrays.put(command.array, {array, shape, bytes, 0});
  } else {
    session.give_back(bytes, true);
  }
  session.reply(command.header, result);
}

void replay(Session& session, const wire::ArrayDestroy& command) {
  Array* array = nullptr;
  if (!session.resolve(command.header, command.array, &array)) return;
  if (array->mipmapped != 0) {
    return session.protocol_error("ArrayDestroy names a level of a mipmapped array, which ends with it");
  }
  const Array gone = session.arrays.take(command.array);
  CUresult result = CUDA_SUCCESS;
  auto end = [&session, gone] {
    const CUresult ended = session.driver().cuArrayDestroy(gone.array);
    session.give_back(gone.charged_bytes, true);
    return ended;
  };
  if (gone.in_graph) {
    session.keep_for_graphs(end);
  } else {
    result = end();
  }
  session.reply(command.header, result);
}

void replay(Session& session, const wire::MipmappedArrayCreate& command) {
  if (!session.may_create(command.header, command.mipmapped, HandleKind::mipmapped_array)) return;
  const ArrayShape shape = shape_of(command);
  if (!sane(shape) || command.levels == 0 || command.levels > kMaxArrayLevels)
    return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  const std::uint64_t bytes = array_bytes(shape, command.levels);
  if (!session.claim(bytes, true)) return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  const CUDA_ARRAY3D_DESCRIPTOR descriptor = descriptor_of(shape);
  CUmipmappedArray array = nullptr;
  const CUresult result = session.driver().cuMipmappedArrayCreate(&array, &descriptor, command.levels);
  if (result == CUDA_SUCCESS) {
    session.mipmapped_arrays.put(command.mipmapped, {array, shape, command.levels, bytes});
  } else {
    session.give_back(bytes, true);
  }
  session.reply(command.header, result);
}

void replay(Session& session, const wire::MipmappedArrayDestroy& command) {
  MipmappedArray* array = nullptr;
  if (!session.resolve(command.header, command.mipmapped, &array)) return;
  bool in_graph = false;
  session.arrays.forget_if([&](const Array& level) {
    if (level.mipmapped != command.mipmapped) return false;
    in_graph |= level.in_graph;
    return true;
  });
  const MipmappedArray gone = session.mipmapped_arrays.take(command.mipmapped);
  CUresult result = CUDA_SUCCESS;
  auto end = [&session, gone] {
    const CUresult ended = session.driver().cuMipmappedArrayDestroy(gone.array);
    session.give_back(gone.charged_bytes, true);
    return ended;
  };
  if (in_graph) {
    session.keep_for_graphs(end);
  } else {
    result = end();
  }
  session.reply(command.header, result);
}

void replay(Session& session, const wire::MipmappedArrayGetLevel& command) {
  MipmappedArray* whole = nullptr;
  if (!session.resolve(command.header, command.mipmapped, &whole)) return;
  if (!session.may_create(command.header, command.array, HandleKind::array)) return;
  if (command.level >= whole->levels) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  CUarray level = nullptr;
  const CUresult result = session.driver().cuMipmappedArrayGetLevel(&level, whole->array, command.level);
  if (result == CUDA_SUCCESS) {
    session.arrays.put(command.array,
                       {level, level_shape(whole->shape, command.level), 0, command.mipmapped});
  }
  session.reply(command.header, result);
}

}  // namespace tfusion::replay
