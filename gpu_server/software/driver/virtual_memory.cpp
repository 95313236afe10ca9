// Virtual memory management: reservations of addresses, physical memory, mappings and access.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "device.hpp"
#include "entry.hpp"
#include "physical_memory.hpp"

namespace tfusion::software::driver {

namespace {

// Ranges are cut from here one after another: at one TiB a second it would last twelve days.
constexpr std::uint64_t kFileBytes = std::uint64_t{1} << 60;

struct MemoryFile {
  MemoryFile() {
    descriptor = memfd_create("tfusion-gpu", MFD_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, static_cast<off_t>(kFileBytes)) != 0) {
      throw Failure(CUDA_ERROR_OPERATING_SYSTEM);
    }
  }
  int descriptor;
  std::atomic<std::uint64_t> next{0};
};

MemoryFile& memory_file() {
  static MemoryFile* file = new MemoryFile;  // closed by the end of the process
  return *file;
}

bool is_granular(std::uint64_t value) {
  return value % kAllocationGranularity == 0;
}

// CUDA_ERROR_INVALID_VALUE unless it is a granular, non-empty range inside the address space.
void require_range(std::uint64_t address, std::size_t bytes) {
  constexpr std::uint64_t kEnd = std::uint64_t{1} << AddressSpace::kAddressBits;
  require(address != 0 && bytes != 0 && is_granular(address) && is_granular(bytes));
  require(address < kEnd && bytes <= kEnd - address);
}

void require_device_location(const CUmemLocation& location) {
  require(location.type == CU_MEM_LOCATION_TYPE_DEVICE, CUDA_ERROR_NOT_SUPPORTED);
  require_device(location.id);
}

void require_properties(const CUmemAllocationProp* properties) {
  require(properties != nullptr && properties->type == CU_MEM_ALLOCATION_TYPE_PINNED);
  require(properties->requestedHandleTypes == CU_MEM_HANDLE_TYPE_NONE, CUDA_ERROR_NOT_SUPPORTED);
  require_device_location(properties->location);
}

void* pointer(std::uint64_t address) {
  return reinterpret_cast<void*>(address);
}

// Reserves exactly there, or nowhere.
bool reserve_at(std::uint64_t address, std::size_t bytes) {
  void* memory = mmap(pointer(address), bytes, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (memory == MAP_FAILED) return false;
  if (memory == pointer(address)) return true;
  munmap(memory, bytes);  // a kernel older than 4.17 takes the address as a hint
  return false;
}

// Reserves at a multiple of `alignment` of the kernel's choice; 0 if there is no room.
std::uint64_t reserve_aligned(std::size_t bytes, std::size_t alignment) {
  const std::size_t span = bytes + alignment;
  void* memory = mmap(nullptr, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return 0;
  const auto start = reinterpret_cast<std::uint64_t>(memory);
  const std::uint64_t aligned = (start + alignment - 1) / alignment * alignment;
  if (aligned != start) munmap(memory, aligned - start);
  if (const std::uint64_t rest = start + span - (aligned + bytes); rest != 0)
    munmap(pointer(aligned + bytes), rest);
  return aligned;
}

}  // namespace

PhysicalMemory::PhysicalMemory(std::size_t size_bytes, const CUmemAllocationProp& memory_properties)
    : bytes(size_bytes), properties(memory_properties) {
  MemoryFile& whole = memory_file();
  if (!driver().accounting.charge(bytes)) throw Failure(CUDA_ERROR_OUT_OF_MEMORY);
  file_offset = whole.next.fetch_add(bytes);
}

PhysicalMemory::~PhysicalMemory() {
  fallocate(file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(file_offset),
            static_cast<off_t>(bytes));
  driver().accounting.refund(bytes);
}

int PhysicalMemory::file() const noexcept {
  return memory_file().descriptor;
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;
using tfusion::software::AddressSpace;

CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags option) {
  return call([&] {
    require(granularity != nullptr);
    require(option == CU_MEM_ALLOC_GRANULARITY_MINIMUM || option == CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
    require_properties(prop);
    *granularity = kAllocationGranularity;
  });
}

CUresult cuMemAddressReserve(CUdeviceptr* ptr, size_t size, size_t alignment, CUdeviceptr addr,
                             unsigned long long flags) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(ptr != nullptr && size != 0 && is_granular(size) && flags == 0);
    require((alignment & (alignment - 1)) == 0 && alignment <= std::size_t{1} << 40);
    require(size < std::size_t{1} << AddressSpace::kAddressBits, CUDA_ERROR_OUT_OF_MEMORY);
    const std::size_t needed = std::max(alignment, kAllocationGranularity);
    Driver& gpu = driver();
    std::uint64_t base = 0;
    // The address is a hint: somewhere else if it is not free.
    constexpr std::uint64_t kEnd = std::uint64_t{1} << AddressSpace::kAddressBits;
    if (addr != 0 && addr % needed == 0 && addr < kEnd && size <= kEnd - addr && reserve_at(addr, size))
      base = addr;
    if (base == 0) base = reserve_aligned(size, needed);
    require(base != 0, CUDA_ERROR_OUT_OF_MEMORY);
    const auto lock = gpu.memory.lock();
    gpu.memory.reserve(base, size);
    *ptr = base;
  });
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size) {
  return call([&] {
    Driver& gpu = driver();
    {
      const auto lock = gpu.memory.lock();
      require(gpu.memory.unreserve(ptr, size));
    }
    munmap(pointer(ptr), size);
  });
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t size, const CUmemAllocationProp* prop,
                     unsigned long long flags) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(handle != nullptr && size != 0 && is_granular(size) && flags == 0);
    require_properties(prop);
    *handle = driver().handles.add(std::make_shared<PhysicalMemory>(size, *prop))->handle;
  });
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  return call([&] {
    const auto memory = driver().handles.get<PhysicalMemory>(handle);
    if (memory->references.fetch_sub(1) == 1) driver().handles.remove(handle);
  });
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* addr) {
  return call([&] {
    require(handle != nullptr);
    Driver& gpu = driver();
    std::shared_ptr<PhysicalMemory> memory;
    {
      const auto lock = gpu.memory.lock();
      const Region* region = gpu.memory.find(reinterpret_cast<std::uint64_t>(addr));
      require(region != nullptr && region->kind == RegionKind::mapping);
      memory = region->physical;
    }
    memory->references.fetch_add(1);
    gpu.handles.restore(memory);
    *handle = memory->handle;
  });
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* prop,
                                                CUmemGenericAllocationHandle handle) {
  return call([&] {
    require(prop != nullptr);
    *prop = driver().handles.get<PhysicalMemory>(handle)->properties;
  });
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(flags == 0 && offset == 0);
    require_range(ptr, size);
    Driver& gpu = driver();
    const auto memory = gpu.handles.get<PhysicalMemory>(handle);
    require(size <= memory->bytes);
    const auto lock = gpu.memory.lock();
    require(gpu.memory.is_reserved(ptr, size) && !gpu.memory.overlaps(ptr, size));
    // Nobody may touch it until cuMemSetAccess, the driver's own copies included.
    void* mapped = mmap(pointer(ptr), size, PROT_NONE, MAP_SHARED | MAP_FIXED, memory->file(),
                        static_cast<off_t>(memory->file_offset));
    require(mapped != MAP_FAILED, CUDA_ERROR_MAP_FAILED);
    madvise(mapped, size, MADV_DONTFORK);
    Region region;
    region.base = ptr;
    region.bytes = size;
    region.kind = RegionKind::mapping;
    region.accessible = false;
    region.offset = offset;
    region.physical = memory;
    gpu.memory.insert(std::move(region));
  });
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size) {
  return call([&] {
    require_range(ptr, size);
    Driver& gpu = driver();
    std::vector<Region> ended;  // given up outside the lock: the last user of physical memory frees it
    gpu.queue.run([&] {
      const auto lock = gpu.memory.lock();
      const std::vector<Region*> mappings = gpu.memory.mappings(ptr, size);
      require(!mappings.empty());
      ended.reserve(mappings.size());
      gpu.space.forbid(ptr, size);
      require(mmap(pointer(ptr), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                   0) != MAP_FAILED,
              CUDA_ERROR_UNMAP_FAILED);
      for (const Region* each : mappings)
        ended.push_back(*gpu.memory.take(each->base, {RegionKind::mapping}));
    });
  });
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc* desc, size_t count) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(desc != nullptr && count != 0);
    require_range(ptr, size);
    Driver& gpu = driver();
    for (std::size_t index = 0; index < count; ++index) {
      require_device_location(desc[index].location);
      const CUmemAccess_flags access = desc[index].flags;
      // Kernels' accesses are checked for permission as such, not for reading and writing apart.
      require(access != CU_MEM_ACCESS_FLAGS_PROT_READ, CUDA_ERROR_NOT_SUPPORTED);
      require(access == CU_MEM_ACCESS_FLAGS_PROT_NONE || access == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
      const bool allow = access == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
      const auto change = [&] {
        const auto lock = gpu.memory.lock();
        const std::vector<Region*> mappings = gpu.memory.mappings(ptr, size);
        require(!mappings.empty());
        if (!allow) gpu.space.forbid(ptr, size);
        require(mprotect(pointer(ptr), size, allow ? PROT_READ | PROT_WRITE : PROT_NONE) == 0,
                CUDA_ERROR_OPERATING_SYSTEM);
        for (Region* each : mappings) each->accessible = allow;
        if (allow) gpu.space.allow(ptr, size);
      };
      // Taking access away must not meet a running kernel; giving it may.
      if (allow) {
        change();
      } else {
        gpu.queue.run(change);
      }
    }
  });
}

CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location, CUdeviceptr ptr) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(flags != nullptr && location != nullptr);
    require_device_location(*location);
    const auto lock = driver().memory.lock();
    const Region* region = driver().memory.find(ptr);
    require(region != nullptr && region->kind == RegionKind::mapping);
    *flags = region->accessible ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  });
}
