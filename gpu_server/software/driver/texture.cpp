// The functions of texture and surface objects: see texture.hpp.
#include "texture.hpp"

#include <mutex>
#include <unordered_map>

#include "array.hpp"
#include "device.hpp"
#include "entry.hpp"

namespace tfusion::software::driver {

namespace {

// From the value that programs and kernels hold to the object's handle.
class Registry {
 public:
  void add(std::uint64_t value, std::uint64_t handle) {
    const std::lock_guard lock(mutex_);
    handles_.emplace(value, handle);
  }
  // 0 if there is no such object.
  std::uint64_t find(std::uint64_t value) const {
    const std::lock_guard lock(mutex_);
    const auto found = handles_.find(value);
    return found == handles_.end() ? 0 : found->second;
  }
  void remove(std::uint64_t value) {
    const std::lock_guard lock(mutex_);
    handles_.erase(value);
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::uint64_t> handles_;
};

Registry& registry() {
  static auto& the = *new Registry;  // like the driver, never destroyed
  return the;
}

constexpr std::size_t kTextureAlignment = 512;  // CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT
constexpr std::size_t kPitchAlignment = 32;     // CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT

void use_array(TextureObject& object, const Array& array) {
  object.channel = array.channel;
  object.channels = static_cast<std::uint8_t>(array.descriptor.NumChannels);
  object.layered = array.layered();
  object.levels.push_back(array.level);
}

void use_memory(TextureObject& object, std::uint64_t address, std::size_t bytes) {
  require(address % kTextureAlignment == 0 && bytes > 0 && driver().space.contains(address, bytes));
  object.levels[0].base = address;
}

// The texels that a resource names.
void describe_resource(TextureObject& object, const CUDA_RESOURCE_DESC& resource) {
  require(resource.flags == 0);
  switch (resource.resType) {
    case CU_RESOURCE_TYPE_ARRAY: {
      use_array(object, *driver().handles.get<Array>(number_of(resource.res.array.hArray)));
      return;
    }
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY: {
      const auto whole = driver().handles.get<MipmappedArray>(number_of(resource.res.mipmap.hMipmappedArray));
      for (const auto& level : whole->levels) use_array(object, *level);
      return;
    }
    case CU_RESOURCE_TYPE_LINEAR: {
      const auto& linear = resource.res.linear;
      object.channel = channel_of(linear.format, linear.numChannels);
      object.channels = static_cast<std::uint8_t>(linear.numChannels);
      object.linear_memory = true;
      const std::size_t texels = linear.sizeInBytes / object.texel_bytes();
      require(texels > 0 && texels <= kMaxTexture1DLinear);
      object.levels.resize(1);
      object.levels[0].width = static_cast<std::uint32_t>(texels);
      use_memory(object, linear.devPtr, texels * object.texel_bytes());
      return;
    }
    case CU_RESOURCE_TYPE_PITCH2D: {
      const auto& plane = resource.res.pitch2D;
      object.channel = channel_of(plane.format, plane.numChannels);
      object.channels = static_cast<std::uint8_t>(plane.numChannels);
      const std::size_t texel = object.texel_bytes();
      require(plane.width > 0 && plane.width <= kMaxTexture2DLinearWidth && plane.height > 0 &&
              plane.height <= kMaxTexture2DLinearHeight);
      require(plane.pitchInBytes % kPitchAlignment == 0 && plane.pitchInBytes <= kMaxTexture2DLinearPitch &&
              plane.pitchInBytes >= plane.width * texel);
      object.levels.resize(1);
      ImageLevel& level = object.levels[0];
      level.width = static_cast<std::uint32_t>(plane.width);
      level.height = static_cast<std::uint32_t>(plane.height);
      level.pitch = plane.pitchInBytes;
      use_memory(object, plane.devPtr, (plane.height - 1) * plane.pitchInBytes + plane.width * texel);
      return;
    }
    default:
      throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
}

Addressing addressing_of(CUaddress_mode mode) {
  switch (mode) {
    case CU_TR_ADDRESS_MODE_WRAP:
      return Addressing::wrap;
    case CU_TR_ADDRESS_MODE_CLAMP:
      return Addressing::clamp;
    case CU_TR_ADDRESS_MODE_MIRROR:
      return Addressing::mirror;
    case CU_TR_ADDRESS_MODE_BORDER:
      return Addressing::border;
  }
  throw Failure(CUDA_ERROR_INVALID_VALUE);
}

bool is_linear(CUfilter_mode mode) {
  require(mode == CU_TR_FILTER_MODE_POINT || mode == CU_TR_FILTER_MODE_LINEAR);
  return mode == CU_TR_FILTER_MODE_LINEAR;
}

void describe_sampling(TextureObject& object, const CUDA_RESOURCE_DESC& resource,
                       const CUDA_TEXTURE_DESC& s) {
  constexpr unsigned kKnown = CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_SRGB |
                              CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION | CU_TRSF_SEAMLESS_CUBEMAP;
  require((s.flags & ~kKnown) == 0);
  require((s.flags & (CU_TRSF_SRGB | CU_TRSF_SEAMLESS_CUBEMAP)) == 0, CUDA_ERROR_NOT_SUPPORTED);
  for (int axis = 0; axis < 3; ++axis) object.addressing[axis] = addressing_of(s.addressMode[axis]);
  object.linear_filter = is_linear(s.filterMode) && !object.linear_memory;
  object.linear_levels = is_linear(s.mipmapFilterMode);
  object.normalised_coordinates = (s.flags & CU_TRSF_NORMALIZED_COORDINATES) != 0;
  const bool real = object.channel == Channel::f32 || object.channel == Channel::f16;
  object.normalised_values =
      !real && channel_bytes(object.channel) < 4 && (s.flags & CU_TRSF_READ_AS_INTEGER) == 0;
  require(!object.linear_filter || real || object.normalised_values);  // integers cannot be mixed
  require(resource.resType != CU_RESOURCE_TYPE_MIPMAPPED_ARRAY || object.normalised_coordinates);
  object.level_bias = s.mipmapLevelBias;
  object.least_level = s.minMipmapLevelClamp;
  object.greatest_level = s.maxMipmapLevelClamp;
  for (int channel = 0; channel < 4; ++channel) object.border[channel] = s.borderColor[channel];
}

std::uint64_t publish(const Context& context, std::unique_ptr<TextureObject> object,
                      const std::shared_ptr<Texture>& texture) {
  texture->owner = context.handle;
  texture->surface = object->surface;
  texture->value = driver().textures.add(std::move(object));
  require(texture->value != 0, CUDA_ERROR_OUT_OF_MEMORY);
  driver().handles.add(texture);
  registry().add(texture->value, texture->handle);
  return texture->value;
}

std::shared_ptr<Texture> find(std::uint64_t value, bool surface) {
  const auto texture = driver().handles.find<Texture>(registry().find(value));
  require(texture != nullptr && texture->surface == surface);
  return texture;
}

CUresult destroy(std::uint64_t value, bool surface) {
  return context_call(
      [&](const std::shared_ptr<Context>&) { driver().handles.remove(find(value, surface)->handle); });
}

template <class T>
CUresult tell(T* out, std::uint64_t value, bool surface, T Texture::* what) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(out != nullptr);
    *out = (*find(value, surface)).*what;
  });
}

}  // namespace

Texture::~Texture() {
  if (value == 0) return;
  registry().remove(value);
  driver().queue.run([this] { driver().textures.remove(value); });
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;
using tfusion::software::TextureObject;

CUresult cuTexObjectCreate(CUtexObject* pTexObject, const CUDA_RESOURCE_DESC* pResDesc,
                           const CUDA_TEXTURE_DESC* pTexDesc, const CUDA_RESOURCE_VIEW_DESC* pResViewDesc) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pTexObject != nullptr && pResDesc != nullptr && pTexDesc != nullptr);
    require(pResViewDesc == nullptr, CUDA_ERROR_NOT_SUPPORTED);
    auto object = std::make_unique<TextureObject>();
    auto texture = std::make_shared<Texture>();
    texture->resource = *pResDesc;
    texture->sampling = *pTexDesc;
    describe_resource(*object, texture->resource);
    describe_sampling(*object, texture->resource, texture->sampling);
    *pTexObject = publish(*context, std::move(object), texture);
  });
}

CUresult cuTexObjectDestroy(CUtexObject texObject) {
  return destroy(texObject, false);
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC* pResDesc, CUtexObject texObject) {
  return tell(pResDesc, texObject, false, &Texture::resource);
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC* pTexDesc, CUtexObject texObject) {
  return tell(pTexDesc, texObject, false, &Texture::sampling);
}

CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC* pResViewDesc, CUtexObject texObject) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(pResViewDesc != nullptr);
    find(texObject, false);
    throw Failure(CUDA_ERROR_INVALID_VALUE);  // none of this driver's has a view
  });
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t* maxWidthInElements, CUarray_format format,
                                            unsigned numChannels, CUdevice dev) {
  return call([&] {
    require(maxWidthInElements != nullptr);
    require_device(dev);
    channel_of(format, numChannels);
    *maxWidthInElements = kMaxTexture1DLinear;
  });
}

CUresult cuSurfObjectCreate(CUsurfObject* pSurfObject, const CUDA_RESOURCE_DESC* pResDesc) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pSurfObject != nullptr && pResDesc != nullptr && pResDesc->resType == CU_RESOURCE_TYPE_ARRAY);
    const auto array = driver().handles.get<Array>(number_of(pResDesc->res.array.hArray));
    require((array->descriptor.Flags & CUDA_ARRAY3D_SURFACE_LDST) != 0);
    auto object = std::make_unique<TextureObject>();
    object->surface = true;
    auto texture = std::make_shared<Texture>();
    texture->resource = *pResDesc;
    describe_resource(*object, texture->resource);
    *pSurfObject = publish(*context, std::move(object), texture);
  });
}

CUresult cuSurfObjectDestroy(CUsurfObject surfObject) {
  return destroy(surfObject, true);
}

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC* pResDesc, CUsurfObject surfObject) {
  return tell(pResDesc, surfObject, true, &Texture::resource);
}
