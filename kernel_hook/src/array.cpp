// Arrays and mipmapped arrays: see array.hpp. Making and ending one waits for the worker, as it decides
// whether the slice has the memory. Ending one waits for earlier work as well; an earlier call's error that
// this tells is told on, but the array ends all the same, as memory does.
#include "array.hpp"

#include <vector>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "objects.hpp"
#include "own_context.hpp"
#include "pool.hpp"

namespace tfusion::hook {

using protocol::ArrayShape;
using protocol::HandleKind;

namespace {

constexpr unsigned kNotOffered =
    CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING | CUDA_ARRAY3D_VIDEO_ENCODE_DECODE;
static_assert(protocol::kArrayLayered == CUDA_ARRAY3D_LAYERED);
static_assert(protocol::kArrayCube == CUDA_ARRAY3D_CUBEMAP);
static_assert(protocol::kArrayFlags ==
              (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST | CUDA_ARRAY3D_CUBEMAP |
               CUDA_ARRAY3D_TEXTURE_GATHER | CUDA_ARRAY3D_COLOR_ATTACHMENT));

// What a program asks for as a shape, or why it cannot have it. The limits of the extents are the driver's to
// know.
CUresult shape_from(const CUDA_ARRAY3D_DESCRIPTOR& d, ArrayShape* shape) {
  if (d.NumChannels != 1 && d.NumChannels != 2 && d.NumChannels != 4) return CUDA_ERROR_INVALID_VALUE;
  if ((d.Flags & kNotOffered) != 0) return static_cast<CUresult>(refuse("sparse, deferred and video arrays"));
  if (protocol::texel_bytes(d.Format, d.NumChannels) == 0) {
    return d.Format >= CU_AD_FORMAT_UNORM_INT_101010_2 && d.Format <= CU_AD_FORMAT_SNORM_INT16X4
               ? static_cast<CUresult>(refuse("arrays of normalised, compressed and planar formats"))
               : CUDA_ERROR_INVALID_VALUE;
  }
  if ((d.Flags & ~protocol::kArrayFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (d.Width == 0 || d.Width > protocol::kMaxArrayExtent || d.Height > protocol::kMaxArrayExtent ||
      d.Depth > protocol::kMaxArrayExtent) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *shape = {d.Width, d.Height, d.Depth, d.Format, d.NumChannels, d.Flags};
  return CUDA_SUCCESS;
}

template <typename Command>
void describe(Command& command, const ArrayShape& shape) {
  command.width = shape.width;
  command.height = shape.height;
  command.depth = shape.depth;
  command.format = shape.format;
  command.channels = shape.channels;
  command.flags = shape.flags;
}

CUDA_ARRAY3D_DESCRIPTOR descriptor_of(const ArrayShape& shape) {
  CUDA_ARRAY3D_DESCRIPTOR d{};
  d.Width = shape.width;
  d.Height = shape.height;
  d.Depth = shape.depth;
  d.Format = static_cast<CUarray_format>(shape.format);
  d.NumChannels = shape.channels;
  d.Flags = shape.flags;
  return d;
}

CUresult create(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR& descriptor) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  ArrayShape shape;
  if (CUresult r = shape_from(descriptor, &shape); r != CUDA_SUCCESS) return r;
  const std::uint64_t handle = arrays().create([&](ArrayObject& a) { a.shape = shape; });
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  wire::ArrayCreate command{};
  command.array = handle;
  describe(command, shape);
  const CUresult result = with_unused_pool_memory([&] { return call(command); });
  if (result != CUDA_SUCCESS) {
    arrays().erase(handle);
  } else {
    own(Owned::array, handle);
    *out = reinterpret_cast<CUarray>(handle);
  }
  return result;
}

}  // namespace

HandleTable<ArrayObject>& arrays() {
  static auto& table = *new HandleTable<ArrayObject>(HandleKind::array);
  return table;
}

HandleTable<MipmappedArrayObject>& mipmapped_arrays() {
  static auto& table = *new HandleTable<MipmappedArrayObject>(HandleKind::mipmapped_array);
  return table;
}

void MipmappedArrayObject::reset() {
  std::lock_guard lock(mutex);
  shape = {};
  levels = 0;
  level_handles.fill(0);
}

CUresult shape_of(CUarray array, ArrayShape* shape) {
  const ArrayObject* found = arrays().find(number(array));
  if (found == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *shape = found->shape;
  return CUDA_SUCCESS;
}

void forget_arrays() {
  arrays().erase_all();
  mipmapped_arrays().erase_all();
}

namespace api {

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
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  const ArrayObject* array = arrays().find(number(hArray));
  if (array == nullptr || array->mipmapped != 0) return CUDA_ERROR_INVALID_HANDLE;
  const CUresult drained = drain();  // work may still touch it
  if (drained != CUDA_SUCCESS && enter() != CUDA_SUCCESS) return drained;
  if (!arrays().retire(number(hArray))) return CUDA_ERROR_INVALID_HANDLE;
  disown(Owned::array, number(hArray));
  wire::ArrayDestroy command{};
  command.array = number(hArray);
  const CUresult result = call(command);
  arrays().recycle(number(hArray));
  return result != CUDA_SUCCESS ? result : drained;
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* pArrayDescriptor, CUarray hArray) {
  if (pArrayDescriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ArrayShape shape;
  const CUresult result = shape_of(hArray, &shape);
  if (result == CUDA_SUCCESS)
    *pArrayDescriptor = {shape.width, shape.height, static_cast<CUarray_format>(shape.format),
                         shape.channels};
  return result;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* pArrayDescriptor, CUarray hArray) {
  if (pArrayDescriptor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  ArrayShape shape;
  const CUresult result = shape_of(hArray, &shape);
  if (result == CUDA_SUCCESS) *pArrayDescriptor = descriptor_of(shape);
  return result;
}

// Only an array whose memory is mapped later has requirements to tell, and there are none of these.
CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* memoryRequirements, CUarray array,
                                      CUdevice device) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  if (memoryRequirements == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return arrays().find(number(array)) == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* memoryRequirements,
                                               CUmipmappedArray mipmap, CUdevice device) {
  if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
  if (memoryRequirements == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return mipmapped_arrays().find(number(mipmap)) == nullptr ? CUDA_ERROR_INVALID_HANDLE
                                                            : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray* pHandle, const CUDA_ARRAY3D_DESCRIPTOR* pMipmappedArrayDesc,
                                unsigned int numMipmapLevels) {
  if (pHandle == nullptr || pMipmappedArrayDesc == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (numMipmapLevels == 0 || numMipmapLevels > protocol::kMaxArrayLevels) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  ArrayShape shape;
  if (CUresult r = shape_from(*pMipmappedArrayDesc, &shape); r != CUDA_SUCCESS) return r;
  const std::uint64_t handle = mipmapped_arrays().create([&](MipmappedArrayObject& m) {
    m.shape = shape;
    m.levels = numMipmapLevels;
  });
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  wire::MipmappedArrayCreate command{};
  command.mipmapped = handle;
  describe(command, shape);
  command.levels = numMipmapLevels;
  const CUresult result = with_unused_pool_memory([&] { return call(command); });
  if (result != CUDA_SUCCESS) {
    mipmapped_arrays().erase(handle);
  } else {
    own(Owned::mipmapped_array, handle);
    *pHandle = reinterpret_cast<CUmipmappedArray>(handle);
  }
  return result;
}

CUresult cuMipmappedArrayGetLevel(CUarray* pLevelArray, CUmipmappedArray hMipmappedArray,
                                  unsigned int level) {
  if (pLevelArray == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  MipmappedArrayObject* whole = mipmapped_arrays().find(number(hMipmappedArray));
  if (whole == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  std::lock_guard lock(whole->mutex);
  if (level >= whole->levels) return CUDA_ERROR_INVALID_VALUE;
  std::uint64_t& handle = whole->level_handles[level];
  if (handle == 0) {
    const std::uint64_t fresh = arrays().create([&](ArrayObject& a) {
      a.shape = protocol::level_shape(whole->shape, level);
      a.mipmapped = number(hMipmappedArray);
    });
    if (fresh == 0) return CUDA_ERROR_OUT_OF_MEMORY;
    wire::MipmappedArrayGetLevel command{};
    command.mipmapped = number(hMipmappedArray);
    command.array = fresh;
    command.level = level;
    if (CUresult r = call(command); r != CUDA_SUCCESS) {
      arrays().erase(fresh);
      return r;
    }
    handle = fresh;
  }
  *pLevelArray = reinterpret_cast<CUarray>(handle);
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray hMipmappedArray) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  MipmappedArrayObject* whole = mipmapped_arrays().find(number(hMipmappedArray));
  if (whole == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const CUresult drained = drain();
  if (drained != CUDA_SUCCESS && enter() != CUDA_SUCCESS) return drained;
  std::vector<std::uint64_t> levels;
  {
    std::lock_guard lock(whole->mutex);
    if (whole->levels == 0) return CUDA_ERROR_INVALID_HANDLE;  // another thread was faster
    whole->levels = 0;                                         // so that nobody asks for one more
    for (const std::uint64_t handle : whole->level_handles) {
      if (handle != 0) levels.push_back(handle);
    }
  }
  if (!mipmapped_arrays().retire(number(hMipmappedArray))) return CUDA_ERROR_INVALID_HANDLE;
  disown(Owned::mipmapped_array, number(hMipmappedArray));
  for (const std::uint64_t handle : levels) arrays().retire(handle);
  wire::MipmappedArrayDestroy command{};
  command.mipmapped = number(hMipmappedArray);
  const CUresult result = call(command);
  for (const std::uint64_t handle : levels) arrays().recycle(handle);
  mipmapped_arrays().recycle(number(hMipmappedArray));
  return result != CUDA_SUCCESS ? result : drained;
}

}  // namespace api
}  // namespace tfusion::hook
