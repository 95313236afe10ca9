// Device memory as programs ask for it: cuMemAlloc and its kin, cuMemGetInfo.
#include "capture.hpp"
#include "device_memory.hpp"
#include "entry.hpp"
#include "graph_memory.hpp"

namespace tfusion::software::driver {

void free_device_memory(std::uint64_t address) {
  Driver& gpu = driver();
  std::optional<Region> region;
  {
    const auto lock = gpu.memory.lock();
    region = gpu.memory.take(address, {RegionKind::device, RegionKind::pooled});
  }
  require(region.has_value());
  release_device_memory(*region);
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuMemAlloc_v2(CUdeviceptr* dptr, size_t bytesize) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(dptr != nullptr);
    forbid_unsafe_call();
    *dptr = allocate_device_memory(*context, bytesize, RegionKind::device);
  });
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* dptr, size_t* pPitch, size_t WidthInBytes, size_t Height,
                            unsigned int ElementSizeBytes) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    constexpr std::size_t kPitchAlignment = 512;  // CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT
    require(dptr != nullptr && pPitch != nullptr && WidthInBytes != 0 && Height != 0);
    require(ElementSizeBytes == 4 || ElementSizeBytes == 8 || ElementSizeBytes == 16);
    require(WidthInBytes <= 0x7fffffff);  // CU_DEVICE_ATTRIBUTE_MAX_PITCH
    const std::size_t pitch = (WidthInBytes + kPitchAlignment - 1) / kPitchAlignment * kPitchAlignment;
    std::size_t bytes = 0;
    require(!__builtin_mul_overflow(pitch, Height, &bytes), CUDA_ERROR_OUT_OF_MEMORY);
    forbid_unsafe_call();
    *dptr = allocate_device_memory(*context, bytes, RegionKind::device);
    *pPitch = pitch;
  });
}

CUresult cuMemFree_v2(CUdeviceptr dptr) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    forbid_unsafe_call();
    if (const auto allocation = find_graph_allocation(dptr)) {
      driver().queue.wait(free_graph_allocation(allocation));
    } else if (dptr != 0) {
      free_device_memory(dptr);
    }
    return context->status();
  });
}

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(free != nullptr && total != nullptr);
    *free = driver().accounting.free_bytes();
    *total = driver().total_bytes;
  });
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* pbase, size_t* psize, CUdeviceptr dptr) {
  return context_call([&](const std::shared_ptr<Context>&) {
    const auto lock = driver().memory.lock();
    const Region* region = driver().memory.find(dptr);
    require(region != nullptr, CUDA_ERROR_NOT_FOUND);
    if (pbase != nullptr) *pbase = region->base;
    if (psize != nullptr) *psize = region->bytes;
  });
}
