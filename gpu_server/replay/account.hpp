// A slice's account, shared by the workers of its sessions and the daemon: the memory limit, what each
// session uses, and for how long each had work for the GPU. A worker writes its own slot only; the daemon
// zeroes the slot of a worker that is gone, and the peaks when it wants to know new ones. Clients never see
// it.
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
  void note_peak();            // of what all sessions have reserved, when it may be taken
  std::uint64_t used() const;  // by all sessions of the slice
  std::uint64_t mine() const;
  std::uint64_t limit() const { return limit_bytes_; }

  // How many calls this session has made, and how many more its client refused, for people to see.
  void tell_calls(std::uint64_t calls, std::uint64_t refused) {
    page_->calls[slot_].store(calls, std::memory_order_relaxed);
    page_->refused[slot_].store(refused, std::memory_order_relaxed);
  }

  // This session's time with GPU work under way, on CLOCK_MONOTONIC in ns: all of it that is over, and since
  // when there is some now. Only the beginning and the end of such a time are written, whoever reads adds
  // what has passed since.
  bool busy() const { return busy_since_ns_ != 0; }
  void begin_busy(std::uint64_t now_ns);
  void end_busy(std::uint64_t at_ns);  // at_ns: when it was over, not before it began

 private:
  struct Page {
    std::uint64_t limit_bytes;
    std::atomic<std::uint64_t> used_bytes[kSlots];
    std::atomic<std::uint64_t> busy_ns[kSlots];
    std::atomic<std::uint64_t> busy_since_ns[kSlots];  // 0: not busy
    std::atomic<std::uint64_t> calls[kSlots];
    std::atomic<std::uint64_t> peak_bytes[kSlots];  // most that the slice had right after this slot took some
    std::atomic<std::uint64_t> refused[kSlots];
  };
  Page* page_;
  unsigned slot_;
  std::uint64_t limit_bytes_;
  std::uint64_t busy_since_ns_ = 0;  // the page's, in memory of our own: looked at before every command
};

}  // namespace tfusion::replay
