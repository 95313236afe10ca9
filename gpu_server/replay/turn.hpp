// Whose turn it is, and how much of the GPU's memory is whose: a page of shared memory between the daemon and
// one worker, with a bell (an eventfd) for each direction. The daemon writes orders, the worker tells of
// itself; each writes words of its own only, and all of them say how things are, so one that was missed is no
// loss. gpu_server/turn.py is the daemon's end. Clients never see it.
#pragma once

#include <atomic>
#include <cstdint>

namespace tfusion::replay {

struct TurnOrder {
  bool run = true;                                    // the client's commands may be replayed
  bool contended = false;                             // others want the GPU too: keep the backlog on it short
  bool watch = false;                                 // ring the bell when the GPU gets work of this session
  std::uint64_t allowance_bytes = ~std::uint64_t{0};  // most physical memory on the GPU
  std::uint64_t store_bytes = 0;                      // most pinned host memory for what is swapped out
  std::uint64_t spill_bytes = 0;                      // and then, most disk
  std::uint64_t kernel_limit_ns = 0;                  // longest that one kernel may run; 0: no limit
  std::uint64_t denied_want = 0;                      // number of a want that cannot be met; 0: none
};

class Turn {
 public:
  // Nobody decides: every order is to run, with all the memory that the driver gives.
  Turn() = default;
  // Maps the page; `bell` stays the caller's. Throws std::runtime_error if the page is too small.
  Turn(int page, int bell);
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Looked at before every command.
  bool changed() const {
    return page_ != nullptr && page_->epoch.load(std::memory_order_acquire) != seen_epoch_;
  }
  const TurnOrder& take();  // the newest order
  const TurnOrder& order() const { return order_; }

  // What the worker tells. Nothing rings by itself.
  struct Report {
    bool waiting = false;      // has commands, or a wish for memory, that it may not go on with
    bool stopped = false;      // replays nothing, and nothing of this session runs on the GPU
    bool swap_failed = false;  // its last attempt to swap out
    std::uint64_t wanted_bytes = 0;
    std::uint64_t want_number =
        0;  // of this want; another one for each, so that a denial of one denies no other
    bool operator==(const Report&) const = default;
  };
  void tell(const Report& report);
  void tell_allowance(std::uint64_t bytes);  // that it goes by from now on
  void tell_memory(std::uint64_t resident, std::uint64_t fixed, std::uint64_t swapped, std::uint64_t stored,
                   std::uint64_t spilled);
  void tell_swap(bool out, std::uint64_t bytes, std::uint64_t ns);  // one more swap that is over
  void tell_waited(std::uint64_t ns);                               // one more wait that is over
  void ring();

  struct Page {
    // The daemon's words.
    std::atomic<std::uint64_t> epoch;  // rises with each order, after the words of it
    std::atomic<std::uint64_t> order_flags;
    std::atomic<std::uint64_t> allowance_bytes;
    std::atomic<std::uint64_t> store_bytes;
    std::atomic<std::uint64_t> spill_bytes;
    std::atomic<std::uint64_t> kernel_limit_ns;
    std::atomic<std::uint64_t> denied_want;
    std::atomic<std::uint64_t> unused;
    // The worker's.
    std::atomic<std::uint64_t> report_flags;
    std::atomic<std::uint64_t> wanted_bytes;
    std::atomic<std::uint64_t> accepted_bytes;  // the allowance that it goes by
    std::atomic<std::uint64_t> resident_bytes;
    std::atomic<std::uint64_t> fixed_bytes;    // of the resident ones, what cannot be swapped out
    std::atomic<std::uint64_t> swapped_bytes;  // that are not resident; those under way are
    std::atomic<std::uint64_t> stored_bytes;   // room taken for them in the store; the next: on disk
    std::atomic<std::uint64_t> spilled_bytes;
    std::atomic<std::uint64_t> swapped_out_bytes;  // ever, as the four after it
    std::atomic<std::uint64_t> swapped_in_bytes;
    std::atomic<std::uint64_t> swap_out_ns;
    std::atomic<std::uint64_t> swap_in_ns;
    std::atomic<std::uint64_t> waited_ns;
    std::atomic<std::uint64_t> want_number;
  };
  static constexpr std::uint64_t kRun = 1, kContended = 2, kWatch = 4;
  static constexpr std::uint64_t kWaiting = 1, kStopped = 2, kSwapFailed = 4;

 private:
  Page* page_ = nullptr;
  int bell_ = -1;
  std::uint64_t seen_epoch_ = 0;
  TurnOrder order_;
};

}  // namespace tfusion::replay
