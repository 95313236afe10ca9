// Device memory placed by the driver: see device_memory.hpp.
#include "device_memory.hpp"

#include <sys/mman.h>

#include "context.hpp"
#include "driver.hpp"
#include "failure.hpp"

namespace tfusion::software::driver {

std::uint64_t allocate_device_memory(const Context& context, std::size_t bytes, RegionKind kind) {
  require(bytes != 0);
  if (bytes > (std::size_t{1} << AddressSpace::kAddressBits)) throw Failure(CUDA_ERROR_OUT_OF_MEMORY);
  Driver& gpu = driver();
  const std::size_t span = page_ceiling(bytes);
  if (!gpu.accounting.charge(span)) {
    // Memory of cuMemFreeAsync comes back when the queue passes it.
    if (!Queue::on_queue_thread()) gpu.queue.wait(gpu.queue.submitted());
    if (!gpu.accounting.charge(span)) throw Failure(CUDA_ERROR_OUT_OF_MEMORY);
  }
  void* memory =
      mmap(nullptr, span + kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, span, PROT_READ | PROT_WRITE) != 0) {
    if (memory != MAP_FAILED) munmap(memory, span + kPageBytes);
    gpu.accounting.refund(span);
    throw Failure(CUDA_ERROR_OUT_OF_MEMORY);
  }
  madvise(memory, span, MADV_DONTFORK);
  Region region;
  region.base = reinterpret_cast<std::uint64_t>(memory);
  region.bytes = bytes;
  region.kind = kind;
  region.context = context.handle;
  {
    const auto lock = gpu.memory.lock();
    gpu.memory.insert(region);
  }
  if (kind != RegionKind::graph) gpu.space.allow(region.base, span);
  return region.base;
}

void release_device_memory(const Region& region) {
  Driver& gpu = driver();
  const std::size_t span = page_ceiling(region.bytes);
  gpu.queue.run([&] {
    gpu.space.forbid(region.base, span);
    munmap(reinterpret_cast<void*>(region.base), span + kPageBytes);
    gpu.accounting.refund(span);
  });
}

}  // namespace tfusion::software::driver
