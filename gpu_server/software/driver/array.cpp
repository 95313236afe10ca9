// The array functions: see array.hpp.
#include "array.hpp"

#include <algorithm>
#include <bit>

#include "device.hpp"
#include "device_memory.hpp"
#include "entry.hpp"

namespace tfusion::software::driver {

namespace {

constexpr unsigned kKnownFlags = CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST |
                                 CUDA_ARRAY3D_TEXTURE_GATHER | CUDA_ARRAY3D_COLOR_ATTACHMENT;
constexpr std::size_t kPitchAlignment = 32;  // so that every row's texels are aligned, however wide
constexpr std::size_t kLevelAlignment = 512;

std::size_t align_up(std::size_t value, std::size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

void require_shape(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  require((d.Flags & (CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING |
                      CUDA_ARRAY3D_DEPTH_TEXTURE | CUDA_ARRAY3D_VIDEO_ENCODE_DECODE)) == 0,
          CUDA_ERROR_NOT_SUPPORTED);
  require((d.Flags & ~kKnownFlags) == 0 && d.Width > 0);
  if ((d.Flags & CUDA_ARRAY3D_LAYERED) != 0) {
    require(d.Depth > 0 && d.Depth <= kMaxTextureLayers && d.Width <= kMaxTextureLayered &&
            d.Height <= kMaxTextureLayered);
  } else if (d.Depth > 0) {
    require(d.Height > 0 && d.Width <= kMaxTexture3D && d.Height <= kMaxTexture3D &&
            d.Depth <= kMaxTexture3D);
  } else if (d.Height > 0) {
    require(d.Width <= kMaxTexture2DWidth && d.Height <= kMaxTexture2DHeight);
  } else {
    require(d.Width <= kMaxTexture1D);
  }
}

// The extent of a level; layers are as many in each.
CUDA_ARRAY3D_DESCRIPTOR level_of(CUDA_ARRAY3D_DESCRIPTOR d, unsigned level) {
  const auto shrink = [&](std::size_t size) {
    return size == 0 ? 0 : std::max<std::size_t>(size >> level, 1);
  };
  d.Width = shrink(d.Width);
  d.Height = shrink(d.Height);
  if ((d.Flags & CUDA_ARRAY3D_LAYERED) == 0) d.Depth = shrink(d.Depth);
  return d;
}

// An array of that shape without memory; ImageLevel::base is its offset. Moves `bytes` on by what it takes.
std::shared_ptr<Array> lay_out(const CUDA_ARRAY3D_DESCRIPTOR& descriptor, std::size_t& bytes) {
  auto array = std::make_shared<Array>();
  array->descriptor = descriptor;
  array->channel = channel_of(descriptor.Format, descriptor.NumChannels);
  ImageLevel& level = array->level;
  level.width = static_cast<std::uint32_t>(descriptor.Width);
  level.height = static_cast<std::uint32_t>(std::max<std::size_t>(descriptor.Height, 1));
  level.depth = static_cast<std::uint32_t>(std::max<std::size_t>(descriptor.Depth, 1));
  level.pitch = align_up(std::size_t{level.width} * array->texel_bytes(), kPitchAlignment);
  level.slice = level.pitch * level.height;
  level.base = bytes;
  bytes = align_up(bytes + level.slice * level.depth, kLevelAlignment);
  return array;
}

CUresult create(CUarray* handle, const CUDA_ARRAY3D_DESCRIPTOR& descriptor) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(handle != nullptr);
    require_shape(descriptor);
    std::size_t bytes = 0;
    const auto array = lay_out(descriptor, bytes);
    array->owner = context->handle;
    array->memory = allocate_device_memory(*context, bytes, RegionKind::array);
    array->level.base += array->memory;
    driver().handles.add(array);
    *handle = handle_of<CUarray>(*array);
  });
}

void release_memory(std::uint64_t memory) {
  std::optional<Region> region;
  {
    const auto lock = driver().memory.lock();
    region = driver().memory.take(memory, {RegionKind::array});
  }
  if (region) release_device_memory(*region);
}

CUresult describe(CUarray handle, CUDA_ARRAY3D_DESCRIPTOR* out) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(out != nullptr);
    *out = driver().handles.get<Array>(number_of(handle))->descriptor;
  });
}

}  // namespace

Channel channel_of(CUarray_format format, unsigned channels) {
  require(channels == 1 || channels == 2 || channels == 4);
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
      return Channel::u8;
    case CU_AD_FORMAT_UNSIGNED_INT16:
      return Channel::u16;
    case CU_AD_FORMAT_UNSIGNED_INT32:
      return Channel::u32;
    case CU_AD_FORMAT_SIGNED_INT8:
      return Channel::s8;
    case CU_AD_FORMAT_SIGNED_INT16:
      return Channel::s16;
    case CU_AD_FORMAT_SIGNED_INT32:
      return Channel::s32;
    case CU_AD_FORMAT_HALF:
      return Channel::f16;
    case CU_AD_FORMAT_FLOAT:
      return Channel::f32;
    default:
      require(format < CU_AD_FORMAT_UNORM_INT_101010_2 || format > CU_AD_FORMAT_SNORM_INT16X4,
              CUDA_ERROR_NOT_SUPPORTED);
      throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
}

std::uint64_t address_in(const Array& array, std::size_t x_bytes, std::size_t y, std::size_t z,
                         std::size_t width_bytes, std::size_t rows, std::size_t planes) {
  const ImageLevel& level = array.level;
  const std::size_t texel = array.texel_bytes();
  const auto fits = [](std::size_t start, std::size_t count, std::size_t size) {
    return start <= size && count <= size - start;
  };
  require(x_bytes % texel == 0 && width_bytes % texel == 0);
  require(fits(x_bytes, width_bytes, level.width * texel) && fits(y, rows, level.height) &&
          fits(z, planes, level.depth));
  return level.base + z * level.slice + y * level.pitch + x_bytes;
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuArrayCreate_v2(CUarray* pHandle, const CUDA_ARRAY_DESCRIPTOR* pAllocateArray) {
  if (pAllocateArray == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_ARRAY_DESCRIPTOR& d = *pAllocateArray;
  return create(pHandle, {d.Width, d.Height, 0, d.Format, d.NumChannels, 0});
}

CUresult cuArray3DCreate_v2(CUarray* pHandle, const CUDA_ARRAY3D_DESCRIPTOR* pAllocateArray) {
  if (pAllocateArray == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return create(pHandle, *pAllocateArray);
}

CUresult cuArrayDestroy(CUarray hArray) {
  return context_call([&](const std::shared_ptr<Context>&) {
    const auto array = driver().handles.get<Array>(number_of(hArray));
    require(array->mipmapped == 0, CUDA_ERROR_INVALID_HANDLE);
    require(driver().handles.remove(array->handle) != nullptr, CUDA_ERROR_INVALID_HANDLE);
    release_memory(array->memory);
  });
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* pArrayDescriptor, CUarray hArray) {
  CUDA_ARRAY3D_DESCRIPTOR found{};
  if (pArrayDescriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = describe(hArray, &found);
  if (result == CUDA_SUCCESS)
    *pArrayDescriptor = {found.Width, found.Height, found.Format, found.NumChannels};
  return result;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* pArrayDescriptor, CUarray hArray) {
  return describe(hArray, pArrayDescriptor);
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray* pHandle, const CUDA_ARRAY3D_DESCRIPTOR* pMipmappedArrayDesc,
                                unsigned int numMipmapLevels) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pHandle != nullptr && pMipmappedArrayDesc != nullptr);
    const CUDA_ARRAY3D_DESCRIPTOR d = *pMipmappedArrayDesc;
    require_shape(d);
    const bool layered = (d.Flags & CUDA_ARRAY3D_LAYERED) != 0;
    const std::size_t longest = std::max({d.Width, d.Height, layered ? std::size_t{0} : d.Depth});
    require(numMipmapLevels >= 1 && numMipmapLevels <= static_cast<unsigned>(std::bit_width(longest)));
    const auto whole = std::make_shared<MipmappedArray>();
    whole->owner = context->handle;
    std::size_t bytes = 0;
    for (unsigned level = 0; level < numMipmapLevels; ++level) {
      whole->levels.push_back(lay_out(level_of(d, level), bytes));
    }
    whole->memory = allocate_device_memory(*context, bytes, RegionKind::array);
    driver().handles.add(whole);
    for (const auto& level : whole->levels) {
      level->owner = context->handle;
      level->mipmapped = whole->handle;
      level->level.base += whole->memory;
      driver().handles.add(level);
    }
    *pHandle = handle_of<CUmipmappedArray>(*whole);
  });
}

CUresult cuMipmappedArrayGetLevel(CUarray* pLevelArray, CUmipmappedArray hMipmappedArray,
                                  unsigned int level) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(pLevelArray != nullptr);
    const auto whole = driver().handles.get<MipmappedArray>(number_of(hMipmappedArray));
    require(level < whole->levels.size());
    *pLevelArray = handle_of<CUarray>(*whole->levels[level]);
  });
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray hMipmappedArray) {
  return context_call([&](const std::shared_ptr<Context>&) {
    const auto whole = driver().handles.get<MipmappedArray>(number_of(hMipmappedArray));
    require(driver().handles.remove(whole->handle) != nullptr, CUDA_ERROR_INVALID_HANDLE);
    for (const auto& level : whole->levels) driver().handles.remove(level->handle);
    release_memory(whole->memory);
  });
}
