// Which device addresses the software GPU's kernels may touch.
//
// Device addresses are host addresses of this process: memory that a session maps lies where its device
// address says, so a kernel's load is one check here and one machine load. The map holds one bit per 4 KiB
// page of the 47-bit user address space, in lazily filled pages of its own. Mapping and unmapping happen
// between kernels (the driver's queue thread) or for fresh ranges; readers need no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tfusion::software {

class AddressSpace {
 public:
  static constexpr unsigned kPageBits = 12;
  static constexpr unsigned kAddressBits = 47;

  AddressSpace();  // throws std::bad_alloc when the map cannot be reserved
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  // Precondition: address and bytes are multiples of the page size and inside the address space.
  void allow(std::uint64_t address, std::size_t bytes) noexcept;
  void forbid(std::uint64_t address, std::size_t bytes) noexcept;

  // True if all of [address, address + bytes) may be touched. bytes > 0. Safe for any address.
  bool contains(std::uint64_t address, std::size_t bytes) const noexcept {
    const std::uint64_t last = address + (bytes - 1);
    if (last < address || (last >> kAddressBits) != 0) return false;
    for (std::uint64_t page = address >> kPageBits; page <= last >> kPageBits; ++page) {
      if (!((words_[page / 64].load(std::memory_order_relaxed) >> (page % 64)) & 1)) return false;
    }
    return true;
  }

 private:
  std::atomic<std::uint64_t>* words_;
};

}  // namespace tfusion::software
