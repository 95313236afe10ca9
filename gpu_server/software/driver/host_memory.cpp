// Page-locked host memory: cuMemHostAlloc and cuMemHostRegister and what goes with them.
#include "host_memory.hpp"

#include <sys/mman.h>

#include <cstdio>
#include <memory>

#include "capture.hpp"
#include "entry.hpp"

namespace tfusion::software::driver {

void release_host_memory(const Region& region) {
  Driver& gpu = driver();
  const std::uint64_t first = page_floor(region.base);
  const std::uint64_t end = page_ceiling(region.end());
  gpu.queue.run([&] {
    gpu.space.forbid(first, end - first);
    if (region.kind == RegionKind::host) munmap(reinterpret_cast<void*>(first), end - first);
  });
}

namespace {

CUresult allocate(void** result, size_t bytes, unsigned flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    constexpr unsigned kKnown =
        CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
    require(result != nullptr && bytes != 0 && (flags & ~kKnown) == 0);
    require(bytes <= std::size_t{1} << AddressSpace::kAddressBits, CUDA_ERROR_OUT_OF_MEMORY);
    forbid_unsafe_call();
    const std::size_t span = page_ceiling(bytes);
    void* memory = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, CUDA_ERROR_OUT_OF_MEMORY);
    Driver& gpu = driver();
    Region region;
    region.base = reinterpret_cast<std::uint64_t>(memory);
    region.bytes = bytes;
    region.kind = RegionKind::host;
    region.context = context->handle;
    region.flags = flags | CU_MEMHOSTALLOC_DEVICEMAP;  // as under unified addressing
    {
      const auto lock = gpu.memory.lock();
      gpu.memory.insert(region);
    }
    gpu.space.allow(region.base, span);
    *result = memory;
  });
}

// True if every page of [first, end) is mapped readable and writable in this process. A kernel's access goes
// to the memory itself, so a registered range that is not would end the process instead of the kernel.
bool is_mapped_writable(std::uint64_t first, std::uint64_t end) {
  struct Closer {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Closer> maps(std::fopen("/proc/self/maps", "re"));
  require(maps != nullptr, CUDA_ERROR_OPERATING_SYSTEM);
  std::uint64_t covered = first;
  char line[8192];
  while (covered < end && std::fgets(line, sizeof line, maps.get()) != nullptr) {
    unsigned long long from = 0;
    unsigned long long to = 0;
    char rights[5] = {};
    if (std::sscanf(line, "%llx-%llx %4s", &from, &to, rights) != 3) continue;
    if (to <= covered) continue;
    if (from > covered || rights[0] != 'r' || rights[1] != 'w') return false;
    covered = to;
  }
  return covered >= end;
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;
using tfusion::software::AddressSpace;

CUresult cuMemHostAlloc(void** pp, size_t bytesize, unsigned int Flags) {
  return allocate(pp, bytesize, Flags);
}

CUresult cuMemAllocHost_v2(void** pp, size_t bytesize) {
  return allocate(pp, bytesize, 0);
}

CUresult cuMemFreeHost(void* p) {
  return context_call([&](const std::shared_ptr<Context>&) {
    if (p == nullptr) return;
    forbid_unsafe_call();
    Driver& gpu = driver();
    std::optional<Region> region;
    {
      const auto lock = gpu.memory.lock();
      region = gpu.memory.take(reinterpret_cast<std::uint64_t>(p), {RegionKind::host});
    }
    require(region.has_value());
    release_host_memory(*region);
  });
}

CUresult cuMemHostRegister_v2(void* p, size_t bytesize, unsigned int Flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    constexpr unsigned kKnown = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
                                CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY;
    require(p != nullptr && bytesize != 0 && (Flags & ~kKnown) == 0);
    require((Flags & (CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY)) == 0,
            CUDA_ERROR_NOT_SUPPORTED);
    const auto base = reinterpret_cast<std::uint64_t>(p);
    require(base < std::uint64_t{1} << AddressSpace::kAddressBits &&
            bytesize <= (std::uint64_t{1} << AddressSpace::kAddressBits) - base - kPageBytes);
    const std::uint64_t first = page_floor(base);
    const std::uint64_t end = page_ceiling(base + bytesize);
    require(is_mapped_writable(first, end));
    Driver& gpu = driver();
    Region region;
    region.base = base;
    region.bytes = bytesize;
    region.kind = RegionKind::registered;
    region.context = context->handle;
    region.flags = Flags | CU_MEMHOSTREGISTER_DEVICEMAP;
    const auto lock = gpu.memory.lock();
    require(!gpu.memory.overlaps(base, bytesize), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    gpu.memory.insert(region);
    gpu.space.allow(first, end - first);
  });
}

CUresult cuMemHostUnregister(void* p) {
  return context_call([&](const std::shared_ptr<Context>&) {
    Driver& gpu = driver();
    std::optional<Region> region;
    {
      const auto lock = gpu.memory.lock();
      region = gpu.memory.take(reinterpret_cast<std::uint64_t>(p), {RegionKind::registered});
    }
    require(region.has_value(), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    release_host_memory(*region);
  });
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* pdptr, void* p, unsigned int Flags) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(pdptr != nullptr && Flags == 0);
    const auto lock = driver().memory.lock();
    const Region* region = driver().memory.find(reinterpret_cast<std::uint64_t>(p));
    require(region != nullptr && region->is_host());
    *pdptr = reinterpret_cast<CUdeviceptr>(p);
  });
}

CUresult cuMemHostGetFlags(unsigned int* pFlags, void* p) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(pFlags != nullptr);
    const auto lock = driver().memory.lock();
    const Region* region = driver().memory.find(reinterpret_cast<std::uint64_t>(p));
    require(region != nullptr && region->is_host());
    *pFlags = region->flags;
  });
}
