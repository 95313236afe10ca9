// Texture and surface objects. Their values are the driver's own, as kernels receive them in parameters; the
// session keeps which it made, so that a client ends its own only. Memory that a texture reads is checked as
// a copy's is.
#include <algorithm>

#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

// How many objects of either kind a session may have; a GPU's table of them holds 2^20 for all.
constexpr std::size_t kMostObjects = 1u << 16;

enum class Resource { good, bad, answered };

Resource resource_of(Session& session, const wire::TextureCreate& command, CUDA_RESOURCE_DESC* out) {
  const auto format = static_cast<CUarray_format>(command.format);
  const std::uint64_t texel = texel_bytes(command.format, command.channels);
  out->resType = static_cast<CUresourcetype>(command.resource);
  switch (command.resource) {
    case CU_RESOURCE_TYPE_ARRAY: {
      Array* array = nullptr;
      if (!session.resolve(command.header, command.array, &array)) return Resource::answered;
      out->res.array.hArray = array->array;
      return Resource::good;
    }
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY: {
      MipmappedArray* array = nullptr;
      if (!session.resolve(command.header, command.array, &array)) return Resource::answered;
      out->res.mipmap.hMipmappedArray = array->array;
      return Resource::good;
    }
    case CU_RESOURCE_TYPE_LINEAR:
      if (texel == 0 || command.bytes == 0 || !session.may_copy(command.address, command.bytes))
        return Resource::bad;
      out->res.linear = {command.address, format, command.channels, command.bytes};
      return Resource::good;
    case CU_RESOURCE_TYPE_PITCH2D: {
      if (texel == 0 || command.width == 0 || command.width > kMaxArrayExtent || command.height == 0 ||
          command.height > kMaxArrayExtent || command.pitch > kDeviceArenaBytes / kMaxArrayExtent) {
        return Resource::bad;
      }
      const std::uint64_t row = command.width * texel;
      if (command.pitch < row ||
          !session.may_copy(command.address, (command.height - 1) * command.pitch + row)) {
        return Resource::bad;
      }
      out->res.pitch2D = {command.address, format,         command.channels,
                          command.width,   command.height, command.pitch};
      return Resource::good;
    }
    default:
      return Resource::bad;
  }
}

CUDA_TEXTURE_DESC sampling_of(const wire::TextureCreate& command) {
  CUDA_TEXTURE_DESC sampling{};
  for (int axis = 0; axis < 3; ++axis)
    sampling.addressMode[axis] = static_cast<CUaddress_mode>(command.addressing[axis]);
  sampling.filterMode = static_cast<CUfilter_mode>(command.filter);
  sampling.flags = command.flags;
  sampling.maxAnisotropy = command.anisotropy;
  sampling.mipmapFilterMode = static_cast<CUfilter_mode>(command.level_filter);
  sampling.mipmapLevelBias = command.level_bias;
  sampling.minMipmapLevelClamp = command.least_level;
  sampling.maxMipmapLevelClamp = command.greatest_level;
  std::copy_n(command.border, 4, sampling.borderColor);
  return sampling;
}

CUDA_RESOURCE_VIEW_DESC view_of(const wire::TextureCreate& command) {
  CUDA_RESOURCE_VIEW_DESC view{};
  view.format = static_cast<CUresourceViewFormat>(command.view_format);
  view.width = command.view_size[0];
  view.height = command.view_size[1];
  view.depth = command.view_size[2];
  view.firstMipmapLevel = command.view_levels[0];
  view.lastMipmapLevel = command.view_levels[1];
  view.firstLayer = command.view_layers[0];
  view.lastLayer = command.view_layers[1];
  return view;
}

}  // namespace

void replay(Session& session, const wire::TextureCreate& command) {
  CUDA_RESOURCE_DESC resource{};
  const Resource checked = resource_of(session, command, &resource);
  if (checked == Resource::answered) return;
  if (checked == Resource::bad) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  if (session.textures.size() >= kMostObjects) return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  const CUDA_TEXTURE_DESC sampling = sampling_of(command);
  const CUDA_RESOURCE_VIEW_DESC view = view_of(command);
  CUtexObject texture = 0;
  const CUresult result = session.driver().cuTexObjectCreate(&texture, &resource, &sampling,
                                                             command.viewed != 0 ? &view : nullptr);
  if (result == CUDA_SUCCESS) session.textures.insert(texture);
  const wire::TextureCreateReply reply{texture};
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::TextureDestroy& command) {
  if (session.textures.erase(command.texture) == 0)
    return session.note(command.header, CUDA_ERROR_INVALID_HANDLE);
  session.note(command.header, session.driver().cuTexObjectDestroy(command.texture));
}

void replay(Session& session, const wire::SurfaceCreate& command) {
  Array* array = nullptr;
  if (!session.resolve(command.header, command.array, &array)) return;
  if (session.surfaces.size() >= kMostObjects) return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  CUDA_RESOURCE_DESC resource{};
  resource.resType = CU_RESOURCE_TYPE_ARRAY;
  resource.res.array.hArray = array->array;
  CUsurfObject surface = 0;
  const CUresult result = session.driver().cuSurfObjectCreate(&surface, &resource);
  if (result == CUDA_SUCCESS) session.surfaces.insert(surface);
  const wire::SurfaceCreateReply reply{surface};
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::SurfaceDestroy& command) {
  if (session.surfaces.erase(command.surface) == 0)
    return session.note(command.header, CUDA_ERROR_INVALID_HANDLE);
  session.note(command.header, session.driver().cuSurfObjectDestroy(command.surface));
}

void replay(Session& session, const wire::TextureLinearWidth& command) {
  wire::TextureLinearWidthReply reply{};
  CUresult result = CUDA_ERROR_NOT_SUPPORTED;
  std::size_t texels = 0;
  if (texel_bytes(command.format, command.channels) == 0) {
    result = CUDA_ERROR_INVALID_VALUE;
  } else if (session.driver().cuDeviceGetTexture1DLinearMaxWidth != nullptr) {
    result = session.driver().cuDeviceGetTexture1DLinearMaxWidth(
        &texels, static_cast<CUarray_format>(command.format), command.channels, session.device().ordinal());
  }
  reply.texels = texels;
  session.reply(command.header, result, &reply, sizeof reply);
}

}  // namespace tfusion::replay
