// A slice's memory account, shared by the workers of its sessions and the daemon: the limit, and what each
// session uses. A worker writes its own slot only; the daemon zeroes the slot of a worker that is gone.
// Clients never see it.
#pragma once

#include <atomic>
#include <cstdint>

namespace tfusion::replay {

class SliceAccount {
 public:
  static constexpr unsigned kSlots = 64;

  // Maps the account's memfd. Throws std::runtime_error if it is too small or `slot` is no slot.
  SliceAccount(int descriptor, unsigned slot, std::uint64_t limit_bytes);
  ~SliceAccount();
  SliceAccount(const SliceAccount&) = delete;
  SliceAccount& operator=(const SliceAccount&) = delete;

  bool reserve(std::uint64_t bytes);  // false: the slice's limit would be passed
  void give_back(std::uint64_t bytes);
  std::uint64_t used() const;  // by all sessions of the slice
  std::uint64_t mine() const;
  std::uint64_t limit() const { return limit_bytes_; }

 private:
  struct Page {
    std::uint64_t limit_bytes;
    std::atomic<std::uint64_t> used_bytes[kSlots];
  };
  Page* page_;
  unsigned slot_;
  std::uint64_t limit_bytes_;
};

}  // namespace tfusion::replay
