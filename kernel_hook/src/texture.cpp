// Texture and surface objects. Their values are the driver's, since kernels get them as parameters; what they
// were made of is kept here and answers the questions about them.
#include "texture.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>

#include "api.hpp"
#include "array.hpp"
#include "call.hpp"
#include "context.hpp"
#include "objects.hpp"
#include "own_context.hpp"

namespace tfusion::hook {

namespace {

struct TextureObject {
  CUDA_RESOURCE_DESC resource;
  CUDA_TEXTURE_DESC sampling;
  std::optional<CUDA_RESOURCE_VIEW_DESC> view;
};

constinit std::mutex mutex;  // of both maps; a leaf
std::map<CUtexObject, TextureObject>& textures() {
  static auto& map = *new std::map<CUtexObject, TextureObject>;
  return map;
}
std::map<CUsurfObject, CUDA_RESOURCE_DESC>& surfaces() {
  static auto& map = *new std::map<CUsurfObject, CUDA_RESOURCE_DESC>;
  return map;
}

// The fields of the command that say what is sampled.
CUresult describe(const CUDA_RESOURCE_DESC& resource, wire::TextureCreate& command) {
  if (resource.flags != 0) return CUDA_ERROR_INVALID_VALUE;
  command.resource = resource.resType;
  switch (resource.resType) {
    case CU_RESOURCE_TYPE_ARRAY:
      command.array = number(resource.res.array.hArray);
      return arrays().find(command.array) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
      command.array = number(resource.res.mipmap.hMipmappedArray);
      return mipmapped_arrays().find(command.array) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    case CU_RESOURCE_TYPE_LINEAR:
      command.address = resource.res.linear.devPtr;
      command.bytes = resource.res.linear.sizeInBytes;
      command.format = resource.res.linear.format;
      command.channels = resource.res.linear.numChannels;
      return CUDA_SUCCESS;
    case CU_RESOURCE_TYPE_PITCH2D:
      command.address = resource.res.pitch2D.devPtr;
      command.width = resource.res.pitch2D.width;
      command.height = resource.res.pitch2D.height;
      command.pitch = resource.res.pitch2D.pitchInBytes;
      command.format = resource.res.pitch2D.format;
      command.channels = resource.res.pitch2D.numChannels;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

void describe(const CUDA_TEXTURE_DESC& sampling, wire::TextureCreate& command) {
  for (int axis = 0; axis < 3; ++axis) command.addressing[axis] = sampling.addressMode[axis];
  command.filter = sampling.filterMode;
  command.flags = sampling.flags;
  command.anisotropy = sampling.maxAnisotropy;
  command.level_filter = sampling.mipmapFilterMode;
  command.level_bias = sampling.mipmapLevelBias;
  command.least_level = sampling.minMipmapLevelClamp;
  command.greatest_level = sampling.maxMipmapLevelClamp;
  std::copy_n(sampling.borderColor, 4, command.border);
}

void describe(const CUDA_RESOURCE_VIEW_DESC& view, wire::TextureCreate& command) {
  command.viewed = 1;
  command.view_format = view.format;
  command.view_size[0] = view.width;
  command.view_size[1] = view.height;
  command.view_size[2] = view.depth;
  command.view_levels[0] = view.firstMipmapLevel;
  command.view_levels[1] = view.lastMipmapLevel;
  command.view_layers[0] = view.firstLayer;
  command.view_layers[1] = view.lastLayer;
}

// Asks `answer` about a texture of the program's.
template <typename Answer>
CUresult ask(CUtexObject texture, Answer&& answer) {
  std::lock_guard lock(mutex);
  const auto found = textures().find(texture);
  return found == textures().end() ? CUDA_ERROR_INVALID_VALUE : answer(found->second);
}

}  // namespace

void forget_textures() {
  std::lock_guard lock(mutex);
  textures().clear();
  surfaces().clear();
}

namespace api {

CUresult cuTexObjectCreate(CUtexObject* pTexObject, const CUDA_RESOURCE_DESC* pResDesc,
                           const CUDA_TEXTURE_DESC* pTexDesc, const CUDA_RESOURCE_VIEW_DESC* pResViewDesc) {
  if (pTexObject == nullptr || pResDesc == nullptr || pTexDesc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  TextureObject object{*pResDesc, *pTexDesc, {}};
  if (pResViewDesc != nullptr) object.view = *pResViewDesc;
  wire::TextureCreate command{};
  if (CUresult r = describe(object.resource, command); r != CUDA_SUCCESS) return r;
  describe(object.sampling, command);
  if (object.view) describe(*object.view, command);
  wire::TextureCreateReply reply{};
  const CUresult result = call(command, &reply);
  if (result != CUDA_SUCCESS) return result;
  own(Owned::texture, reply.texture);
  std::lock_guard lock(mutex);
  textures().insert_or_assign(reply.texture, object);
  *pTexObject = reply.texture;
  return CUDA_SUCCESS;
}

CUresult cuTexObjectDestroy(CUtexObject texObject) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  {
    // Forgotten before the worker hears of it: the driver may give the value out again at once.
    std::lock_guard lock(mutex);
    if (textures().erase(texObject) == 0) return CUDA_ERROR_INVALID_VALUE;
  }
  disown(Owned::texture, texObject);
  wire::TextureDestroy command{};
  command.texture = texObject;
  return post(command);
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC* pResDesc, CUtexObject texObject) {
  if (pResDesc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return ask(texObject, [&](const TextureObject& t) { return *pResDesc = t.resource, CUDA_SUCCESS; });
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC* pTexDesc, CUtexObject texObject) {
  if (pTexDesc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return ask(texObject, [&](const TextureObject& t) { return *pTexDesc = t.sampling, CUDA_SUCCESS; });
}

CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC* pResViewDesc, CUtexObject texObject) {
  if (pResViewDesc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return ask(texObject, [&](const TextureObject& t) {
    if (!t.view) return CUDA_ERROR_INVALID_VALUE;
    return *pResViewDesc = *t.view, CUDA_SUCCESS;
  });
}

CUresult cuSurfObjectCreate(CUsurfObject* pSurfObject, const CUDA_RESOURCE_DESC* pResDesc) {
  if (pSurfObject == nullptr || pResDesc == nullptr || pResDesc->resType != CU_RESOURCE_TYPE_ARRAY)
    return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  wire::SurfaceCreate command{};
  command.array = number(pResDesc->res.array.hArray);
  if (arrays().find(command.array) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  wire::SurfaceCreateReply reply{};
  const CUresult result = call(command, &reply);
  if (result != CUDA_SUCCESS) return result;
  own(Owned::surface, reply.surface);
  std::lock_guard lock(mutex);
  surfaces().insert_or_assign(reply.surface, *pResDesc);
  *pSurfObject = reply.surface;
  return CUDA_SUCCESS;
}

CUresult cuSurfObjectDestroy(CUsurfObject surfObject) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  {
    std::lock_guard lock(mutex);
    if (surfaces().erase(surfObject) == 0) return CUDA_ERROR_INVALID_VALUE;
  }
  disown(Owned::surface, surfObject);
  wire::SurfaceDestroy command{};
  command.surface = surfObject;
  return post(command);
}

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC* pResDesc, CUsurfObject surfObject) {
  if (pResDesc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  const auto found = surfaces().find(surfObject);
  if (found == surfaces().end()) return CUDA_ERROR_INVALID_VALUE;
  *pResDesc = found->second;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t* maxWidthInElements, CUarray_format format,
                                            unsigned numChannels, CUdevice dev) {
  if (maxWidthInElements == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (dev != 0) return CUDA_ERROR_INVALID_DEVICE;
  wire::TextureLinearWidth command{};
  command.format = format;
  command.channels = numChannels;
  wire::TextureLinearWidthReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS) *maxWidthInElements = reply.texels;
  return result;
}

}  // namespace api
}  // namespace tfusion::hook
