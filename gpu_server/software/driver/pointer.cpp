// Pointer attributes: what lies at an address.
#include "device.hpp"
#include "entry.hpp"
#include "physical_memory.hpp"
#include "pool.hpp"

namespace tfusion::software::driver {

namespace {

template <class Value>
void put(void* data, Value value) {
  *static_cast<Value*>(data) = value;
}

// Writes one attribute of an address; `region` is null for memory that CUDA does not know, and the
// attribute's null value is written.
void write_attribute(void* data, CUpointer_attribute attribute, CUdeviceptr address, const Region* region) {
  const bool known = region != nullptr;
  switch (static_cast<int>(attribute)) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      put(data, reinterpret_cast<CUcontext>(known ? region->context : 0));
      break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      put<unsigned>(data, !known ? 0 : region->is_host() ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      put<CUdeviceptr>(data, known ? address : 0);
      break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER: {
      const bool host = known && region->is_host();
      put<void*>(data, host ? reinterpret_cast<void*>(address) : nullptr);
      break;
    }
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
      put<int>(data, 0);
      break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      put<unsigned long long>(data, known ? region->id : 0);
      break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      put<int>(data, known ? 0 : -2);  // what cuda.h documents for unknown memory
      break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
      put<CUdeviceptr>(data, known ? region->base : 0);
      break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
      put<std::size_t>(data, known ? region->bytes : 0);
      break;
    case CU_POINTER_ATTRIBUTE_MAPPED:
      put<int>(data, known ? 1 : 0);
      break;
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
      put<unsigned long long>(data, 0);
      break;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
      put<CUmemAccess_flags>(data, known && region->accessible ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                                                               : CU_MEM_ACCESS_FLAGS_PROT_NONE);
      break;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      put<CUmemoryPool>(data, known && region->kind == RegionKind::pooled ? default_memory_pool() : nullptr);
      break;
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
      put<unsigned long long>(data, !known ? 0 : region->physical ? region->physical->handle : region->id);
      break;
    default:
      throw Failure(CUDA_ERROR_NOT_SUPPORTED);
  }
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(data != nullptr);
    const auto lock = driver().memory.lock();
    const Region* region = driver().memory.find(ptr);
    // Programs tell plain host memory by this error.
    require(region != nullptr);
    if (attribute == CU_POINTER_ATTRIBUTE_HOST_POINTER) require(region->is_host());
    write_attribute(data, attribute, ptr, region);
  });
}

CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute* attributes, void** data,
                                CUdeviceptr ptr) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(numAttributes != 0 && attributes != nullptr && data != nullptr);
    const auto lock = driver().memory.lock();
    const Region* region = driver().memory.find(ptr);
    for (unsigned index = 0; index < numAttributes; ++index) {
      require(data[index] != nullptr);
      write_attribute(data[index], attributes[index], ptr, region);
    }
  });
}

CUresult cuPointerSetAttribute(const void* value, CUpointer_attribute attribute, CUdeviceptr ptr) {
  return context_call([&](const std::shared_ptr<Context>&) {
    // Every operation of this driver that is synchronous to the host is so already.
    require(value != nullptr && attribute == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS);
    const auto lock = driver().memory.lock();
    require(driver().memory.find(ptr) != nullptr);
  });
}
