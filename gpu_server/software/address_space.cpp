#include "address_space.hpp"

#include <sys/mman.h>

#include <new>

namespace tfusion::software {

namespace {
constexpr std::size_t kMapBytes = std::size_t{1}
                                  << (AddressSpace::kAddressBits - AddressSpace::kPageBits - 3);
}

AddressSpace::AddressSpace() {
  void* map =
      mmap(nullptr, kMapBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  words_ = static_cast<std::atomic<std::uint64_t>*>(map);
}

AddressSpace::~AddressSpace() {
  munmap(static_cast<void*>(words_), kMapBytes);
}

void AddressSpace::allow(std::uint64_t address, std::size_t bytes) noexcept {
  for (std::uint64_t page = address >> kPageBits, end = (address + bytes) >> kPageBits; page != end;) {
    if (page % 64 == 0 && end - page >= 64) {
      words_[page / 64].store(~std::uint64_t{0}, std::memory_order_relaxed);
      page += 64;
    } else {
      words_[page / 64].fetch_or(std::uint64_t{1} << (page % 64), std::memory_order_relaxed);
      ++page;
    }
  }
}

void AddressSpace::forbid(std::uint64_t address, std::size_t bytes) noexcept {
  for (std::uint64_t page = address >> kPageBits, end = (address + bytes) >> kPageBits; page != end;) {
    if (page % 64 == 0 && end - page >= 64) {
      words_[page / 64].store(0, std::memory_order_relaxed);
      page += 64;
    } else {
      words_[page / 64].fetch_and(~(std::uint64_t{1} << (page % 64)), std::memory_order_relaxed);
      ++page;
    }
  }
}

}  // namespace tfusion::software
