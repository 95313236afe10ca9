// The fuzz driver's memory: physical pieces and their mappings, pinned ranges, arrays, textures, and the
// copies between them.
#include "driver_state.hpp"

namespace fuzz_driver {

namespace {

MipmappedArray& mipmapped_lives(const void* array) {
  const auto found = state().mipmapped.find(number(array));
  if (found == state().mipmapped.end()) broken("a dead mipmapped array", number(array));
  return found->second;
}

// How far a range reaches that a copy may use.
std::size_t reach(std::size_t pinned_bytes) {
  return pinned_bytes;
}
std::size_t reach(const Mapping& mapping) {
  return mapping.accessible ? mapping.bytes : 0;
}

template <typename Range>
bool inside(const std::map<std::uint64_t, Range>& ranges, std::uint64_t address, std::size_t bytes) {
  const std::uint64_t end = address + bytes;
  auto range = ranges.upper_bound(address);
  if (end < address || range == ranges.begin()) return false;
  std::uint64_t reached = address;
  for (--range; range != ranges.end() && range->first <= reached; ++range) {
    if (range->first + reach(range->second) > reached) reached = range->first + reach(range->second);
    if (reached >= end) return true;
  }
  return false;
}

}  // namespace

// Memory that a copy of the session may name.
void memory_is_its_own(std::uint64_t address, std::size_t bytes) {
  if (bytes == 0) broken("a copy of nothing", address);
  if (inside(state().mapped, address, bytes) || inside(state().pinned, address, bytes)) return;
  for (const auto& [handle, module] : state().modules) {
    if (module.global != 0 && address >= module.global && address - module.global <= kGlobalBytes &&
        bytes <= kGlobalBytes - (address - module.global)) {
      return;
    }
  }
  broken("a copy outside of the session's memory", address);
}

}  // namespace fuzz_driver

using namespace fuzz_driver;

EXPORT CUresult cuMemAddressReserve(CUdeviceptr* p, std::size_t, std::size_t, CUdeviceptr at,
                                    unsigned long long) {
  return set(p, at);
}
EXPORT CUresult cuMemAddressFree(CUdeviceptr, std::size_t) {
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle* h, std::size_t bytes, const CUmemAllocationProp*,
                            unsigned long long) {
  if (bytes == 0 || bytes % (2u << 20) != 0) broken("memory that is no whole page", bytes);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *h = state().next += 16;
  state().physical[*h] = bytes;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle h) {
  if (state().physical.erase(h) == 0) broken("releases memory twice", h);
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemMap(CUdeviceptr p, std::size_t bytes, std::size_t offset, CUmemGenericAllocationHandle h,
                         unsigned long long) {
  const auto memory = state().physical.find(h);
  if (memory == state().physical.end()) broken("maps memory that it does not have", h);
  if (bytes == 0 || bytes % (2u << 20) != 0 || offset % (2u << 20) != 0 || offset > memory->second ||
      bytes > memory->second - offset) {
    broken("maps more than there is", h);
  }
  const auto after = state().mapped.lower_bound(p);
  if (after != state().mapped.end() && after->first < p + bytes) broken("maps over a mapping", p);
  if (after != state().mapped.begin() && std::prev(after)->first + std::prev(after)->second.bytes > p)
    broken("maps over a mapping", p);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  state().mapped[p] = {bytes, false};
  return CUDA_SUCCESS;
}

namespace {
// Calls each(mapping) for the mappings that make up a range exactly; a range of anything else breaks the
// rule.
template <typename Each>
void for_mappings(CUdeviceptr p, std::size_t bytes, const char* rule, Each&& each) {
  if (bytes == 0) broken(rule, p);
  for (std::uint64_t at = p; at < p + bytes;) {
    const auto piece = state().mapped.find(at);
    if (piece == state().mapped.end() || piece->second.bytes > p + bytes - at) broken(rule, at);
    at += piece->second.bytes;
    each(piece);
  }
}
}  // namespace

EXPORT CUresult cuMemUnmap(CUdeviceptr p, std::size_t bytes) {
  if (draw(60) == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  for_mappings(p, bytes, "unmaps what is not mapped", [](auto piece) { state().mapped.erase(piece); });
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemSetAccess(CUdeviceptr p, std::size_t bytes, const CUmemAccessDesc* access,
                               std::size_t n) {
  if (n != 1) broken("access of several devices", n);
  for_mappings(p, bytes, "opens what is not mapped", [](auto) {});
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  for_mappings(p, bytes, "", [&](auto piece) {
    piece->second.accessible = access->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE;
  });
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemGetAllocationGranularity(std::size_t* g, const CUmemAllocationProp*,
                                              CUmemAllocationGranularity_flags) {
  return set(g, 2 << 20);
}
EXPORT CUresult cuMemHostRegister_v2(void* p, std::size_t bytes, unsigned) {
  const std::uint64_t start = number(p);
  const auto after = state().pinned.lower_bound(start);
  if (after != state().pinned.end() && after->first < start + bytes) broken("pins what is pinned", start);
  if (after != state().pinned.begin() && std::prev(after)->first + std::prev(after)->second > start)
    broken("pins what is pinned", start);
  state().pinned[start] = bytes;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemHostUnregister(void* p) {
  return state().pinned.erase(number(p)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

// A graph would read or write a buffer of the worker's long after the worker has other uses of it.
namespace {
void not_into_a_graph(CUstream s, const void* buffer) {
  if (state().capturing.count(number(s)) != 0) broken("a host buffer would get into a graph", number(buffer));
}
}  // namespace

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, std::size_t n, CUstream s) {
  memory_is_its_own(to, n);
  read_all(from, n);
  stream_lives(s), not_into_a_graph(s, from);
  return on(s);
}
EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, std::size_t n, CUstream s) {
  memory_is_its_own(from, n);
  std::memset(to, 0xd7, n);
  stream_lives(s), not_into_a_graph(s, to);
  return on(s);
}
EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t n, CUstream s) {
  memory_is_its_own(to, n), memory_is_its_own(from, n);
  CUDA_MEMCPY3D row{};
  row.srcMemoryType = row.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  row.srcDevice = from, row.dstDevice = to;
  row.WidthInBytes = n, row.Height = row.Depth = 1;
  return on(s, copy_work(row));
}
EXPORT CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, std::size_t n, CUstream s) {
  return cuMemcpyDtoDAsync_v2(to, from, n, s);
}
EXPORT CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* c, CUstream s) {
  if (c->WidthInBytes > c->srcPitch || c->WidthInBytes > c->dstPitch)
    broken("a row wider than its pitch", c->WidthInBytes);
  for (const std::size_t row : {std::size_t{0}, c->Height / 2, c->Height - 1}) {
    memory_is_its_own(c->dstDevice + row * c->dstPitch, c->WidthInBytes);
    memory_is_its_own(c->srcDevice + row * c->srcPitch, c->WidthInBytes);
  }
  CUDA_MEMCPY3D rows{};
  rows.srcMemoryType = rows.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  rows.srcDevice = c->srcDevice, rows.dstDevice = c->dstDevice;
  rows.srcPitch = c->srcPitch, rows.dstPitch = c->dstPitch;
  rows.WidthInBytes = c->WidthInBytes, rows.Height = c->Height, rows.Depth = 1;
  return on(s, copy_work(rows));
}
namespace {

std::uint64_t texel_bytes(CUarray_format format, unsigned channels) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return channels;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return 2 * channels;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
      return 4 * channels;
    default:
      broken("a format that is none", format);
  }
}

Array shape_of(const CUDA_ARRAY3D_DESCRIPTOR& d, unsigned level, std::uintptr_t mipmapped) {
  const auto shrink = [level](std::size_t n) { return n >> level > 1 ? n >> level : 1; };
  const bool layered = (d.Flags & (CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_CUBEMAP)) != 0;
  return {shrink(d.Width) * texel_bytes(d.Format, d.NumChannels), shrink(d.Height),
          layered ? (d.Depth > 1 ? d.Depth : 1) : shrink(d.Depth), mipmapped};
}

void box_is_inside(const Array& array, std::size_t x, std::size_t y, std::size_t z, const CUDA_MEMCPY3D& c) {
  if (x > array.width || c.WidthInBytes > array.width - x || y > array.height ||
      c.Height > array.height - y || z > array.depth || c.Depth > array.depth - z) {
    broken("a copy outside of its array", number(c.srcArray));
  }
}

// Calls row(offset) for the first, the middle and the last row of a box in memory.
template <typename Row>
void for_some_rows(const CUDA_MEMCPY3D& c, std::size_t pitch, std::size_t height, Row&& row) {
  if (c.WidthInBytes > pitch || (c.Depth > 1 && c.Height > height)) broken("rows that overlap", pitch);
  for (const std::size_t z : {std::size_t{0}, c.Depth / 2, c.Depth - 1}) {
    for (const std::size_t y : {std::size_t{0}, c.Height / 2, c.Height - 1}) row((z * height + y) * pitch);
  }
}

}  // namespace

namespace {
// The rows of one side of a node's copy, as the driver would find them from its start.
void side_is_its_own(CUmemorytype type, CUdeviceptr start, std::size_t x, std::size_t y, std::size_t z,
                     std::size_t pitch, std::size_t height, const CUDA_MEMCPY3D& c) {
  if (type != CU_MEMORYTYPE_UNIFIED) broken("a node that copies what is no address", type);
  if (pitch == 0) pitch = x + c.WidthInBytes;
  if (height == 0) height = y + c.Height;
  memory_is_its_own(start, 1);  // what kind of memory it is, a driver asks of the start
  for_some_rows(c, pitch, height, [&](std::size_t at) {
    memory_is_its_own(start + (z * height + y) * pitch + x + at, c.WidthInBytes);
  });
}
}  // namespace

namespace fuzz_driver {

void copy_is_its_own(const CUDA_MEMCPY3D& c) {
  if (c.WidthInBytes == 0 || c.Height == 0 || c.Depth == 0) broken("a node that copies nothing", 0);
  if (c.reserved0 != nullptr || c.reserved1 != nullptr || c.srcLOD != 0 || c.dstLOD != 0)
    broken("a copy with what must be zero", 0);
  side_is_its_own(c.srcMemoryType, c.srcDevice, c.srcXInBytes, c.srcY, c.srcZ, c.srcPitch, c.srcHeight, c);
  side_is_its_own(c.dstMemoryType, c.dstDevice, c.dstXInBytes, c.dstY, c.dstZ, c.dstPitch, c.dstHeight, c);
}

void fill_is_its_own(const CUDA_MEMSET_NODE_PARAMS& fill) {
  if (fill.elementSize != 1 && fill.elementSize != 2 && fill.elementSize != 4)
    broken("a fill of odd elements", fill.elementSize);
  if (fill.width == 0 || fill.height == 0) broken("a node that fills nothing", fill.dst);
  for (const std::size_t row : {std::size_t{0}, fill.height / 2, fill.height - 1})
    memory_is_its_own(fill.dst + row * fill.pitch, fill.width * fill.elementSize);
}

}  // namespace fuzz_driver

EXPORT CUresult cuArray3DCreate_v2(CUarray* a, const CUDA_ARRAY3D_DESCRIPTOR* d) {
  const Array made = shape_of(*d, 0, 0);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *a = fresh<CUarray>();
  state().arrays[number(*a)] = made;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuArrayDestroy(CUarray a) {
  if (array_lives(a).mipmapped != 0) broken("destroys a level", number(a));
  state().arrays.erase(number(a));
  return luck();
}
EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray* m, const CUDA_ARRAY3D_DESCRIPTOR* d,
                                       unsigned levels) {
  if (levels == 0 || levels > 32) broken("levels that cannot be", levels);
  shape_of(*d, 0, 0);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *m = fresh<CUmipmappedArray>();
  state().mipmapped[number(*m)] = {*d, levels};
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMipmappedArrayDestroy(CUmipmappedArray m) {
  mipmapped_lives(m);
  std::erase_if(state().arrays, [&](const auto& a) { return a.second.mipmapped == number(m); });
  state().mipmapped.erase(number(m));
  return luck();
}
EXPORT CUresult cuMipmappedArrayGetLevel(CUarray* a, CUmipmappedArray m, unsigned level) {
  const MipmappedArray& whole = mipmapped_lives(m);
  if (level >= whole.levels) broken("a level that there is not", level);
  if (const CUresult r = luck(); r != CUDA_SUCCESS) return r;
  *a = fresh<CUarray>();
  state().arrays[number(*a)] = shape_of(whole.descriptor, level, number(m));
  return CUDA_SUCCESS;
}
EXPORT CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* copy, CUstream s) {
  const CUDA_MEMCPY3D& c = *copy;
  if (c.WidthInBytes == 0 || c.Height == 0 || c.Depth == 0) broken("a copy of nothing", 0);
  stream_lives(s);
  if (c.srcMemoryType == CU_MEMORYTYPE_ARRAY) {
    box_is_inside(array_lives(c.srcArray), c.srcXInBytes, c.srcY, c.srcZ, c);
  } else if (c.srcMemoryType == CU_MEMORYTYPE_HOST) {
    not_into_a_graph(s, c.srcHost);
    for_some_rows(c, c.srcPitch, c.srcHeight, [&](std::size_t at) {
      read_all(static_cast<const char*>(c.srcHost) + at, c.WidthInBytes);
    });
  } else {
    for_some_rows(c, c.srcPitch, c.srcHeight,
                  [&](std::size_t at) { memory_is_its_own(c.srcDevice + at, c.WidthInBytes); });
  }
  if (c.dstMemoryType == CU_MEMORYTYPE_ARRAY) {
    box_is_inside(array_lives(c.dstArray), c.dstXInBytes, c.dstY, c.dstZ, c);
  } else if (c.dstMemoryType == CU_MEMORYTYPE_HOST) {
    not_into_a_graph(s, c.dstHost);
    for_some_rows(c, c.dstPitch, c.dstHeight, [&](std::size_t at) {
      std::memset(static_cast<char*>(c.dstHost) + at, 0xd7, c.WidthInBytes);
    });
  } else {
    for_some_rows(c, c.dstPitch, c.dstHeight,
                  [&](std::size_t at) { memory_is_its_own(c.dstDevice + at, c.WidthInBytes); });
  }
  return on(s, copy_work(c));
}
namespace {
void resource_is_its_own(const CUDA_RESOURCE_DESC& r) {
  if (r.resType == CU_RESOURCE_TYPE_ARRAY) {
    array_lives(r.res.array.hArray);
  } else if (r.resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY) {
    mipmapped_lives(r.res.mipmap.hMipmappedArray);
  } else if (r.resType == CU_RESOURCE_TYPE_LINEAR) {
    memory_is_its_own(r.res.linear.devPtr, r.res.linear.sizeInBytes);
  } else if (r.resType == CU_RESOURCE_TYPE_PITCH2D) {
    const auto& p = r.res.pitch2D;
    const std::size_t row = p.width * texel_bytes(p.format, p.numChannels);
    if (row > p.pitchInBytes) broken("a row wider than its pitch", row);
    for (const std::size_t y : {std::size_t{0}, p.height / 2, p.height - 1})
      memory_is_its_own(p.devPtr + y * p.pitchInBytes, row);
  } else {
    broken("a resource of no kind", r.resType);
  }
}
}  // namespace
EXPORT CUresult cuTexObjectCreate(CUtexObject* t, const CUDA_RESOURCE_DESC* r, const CUDA_TEXTURE_DESC* d,
                                  const CUDA_RESOURCE_VIEW_DESC* v) {
  resource_is_its_own(*r);
  read_all(d, sizeof *d);
  if (v != nullptr) read_all(v, sizeof *v);
  if (const CUresult e = luck(); e != CUDA_SUCCESS) return e;
  *t = state().next += 16;
  state().textures.insert(*t);
  return CUDA_SUCCESS;
}
EXPORT CUresult cuTexObjectDestroy(CUtexObject t) {
  if (state().textures.erase(t) == 0) broken("destroys a texture that is none", t);
  return luck();
}
EXPORT CUresult cuSurfObjectCreate(CUsurfObject* t, const CUDA_RESOURCE_DESC* r) {
  resource_is_its_own(*r);
  if (const CUresult e = luck(); e != CUDA_SUCCESS) return e;
  *t = state().next += 16;
  state().surfaces.insert(*t);
  return CUDA_SUCCESS;
}
EXPORT CUresult cuSurfObjectDestroy(CUsurfObject t) {
  if (state().surfaces.erase(t) == 0) broken("destroys a surface that is none", t);
  return luck();
}
EXPORT CUresult cuDeviceGetTexture1DLinearMaxWidth(std::size_t* n, CUarray_format format, unsigned channels,
                                                   CUdevice) {
  return set(n, (1u << 28) / texel_bytes(format, channels));
}

namespace {
CUresult memset_rows(CUdeviceptr to, std::size_t pitch, std::size_t element, std::size_t width,
                     std::size_t height, CUstream s) {
  if (to % element != 0 && draw(2) == 0) return CUDA_ERROR_INVALID_VALUE;
  for (const std::size_t row : {std::size_t{0}, height / 2, height - 1})
    memory_is_its_own(to + row * pitch, width * element);
  CUDA_MEMSET_NODE_PARAMS fill{};
  fill.dst = to, fill.pitch = pitch, fill.elementSize = static_cast<unsigned>(element);
  fill.width = width, fill.height = height;
  return on(s, fill_work(fill));
}
}  // namespace
EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char, std::size_t n, CUstream s) {
  return memset_rows(to, 0, 1, n, 1, s);
}
EXPORT CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short, std::size_t n, CUstream s) {
  return memset_rows(to, 0, 2, n, 1, s);
}
EXPORT CUresult cuMemsetD32Async(CUdeviceptr to, unsigned, std::size_t n, CUstream s) {
  return memset_rows(to, 0, 4, n, 1, s);
}
EXPORT CUresult cuMemsetD2D8Async(CUdeviceptr to, std::size_t pitch, unsigned char, std::size_t w,
                                  std::size_t h, CUstream s) {
  return memset_rows(to, pitch, 1, w, h, s);
}
EXPORT CUresult cuMemsetD2D16Async(CUdeviceptr to, std::size_t pitch, unsigned short, std::size_t w,
                                   std::size_t h, CUstream s) {
  return memset_rows(to, pitch, 2, w, h, s);
}
EXPORT CUresult cuMemsetD2D32Async(CUdeviceptr to, std::size_t pitch, unsigned, std::size_t w, std::size_t h,
                                   CUstream s) {
  return memset_rows(to, pitch, 4, w, h, s);
}
