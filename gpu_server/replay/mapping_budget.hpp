// How much of the time may go into changing what is mapped, while others compete for the GPU. Such a change
// holds up everybody's work on the device for a moment, so a program that takes and gives back memory in a
// loop would slow its neighbours down without ever being ahead of its share. It waits before it takes more, a
// moment each time and never long: what was spent is forgotten soon, and what is saved up lets a program that
// only begins take all its memory at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "protocol/futex.hpp"

namespace tfusion::replay {

class MappingBudget {
 public:
  static constexpr std::uint64_t kMostWaitNs = 20'000'000;

  // Charges the time from now until the end of its life.
  class Spending {
   public:
    explicit Spending(MappingBudget& budget) : budget_(budget), since_ns_(protocol::now_ns()) {}
    ~Spending() {
      const std::uint64_t now = protocol::now_ns();
      budget_.spend(now, now - since_ns_);
    }
    Spending(const Spending&) = delete;
    Spending& operator=(const Spending&) = delete;

   private:
    MappingBudget& budget_;
    const std::uint64_t since_ns_;
  };

  void spend(std::uint64_t now_ns, std::uint64_t took_ns) {
    fill(now_ns);
    left_ns_ = std::max(-kMostOwedNs, left_ns_ - static_cast<std::int64_t>(std::min(took_ns, kMostTimeNs)));
  }

  // For how long nothing more should be mapped, at most kMostWaitNs; 0: not at all.
  std::uint64_t closed_for_ns(std::uint64_t now_ns) {
    fill(now_ns);
    return left_ns_ >= 0 ? 0 : static_cast<std::uint64_t>(-left_ns_) * kPart;
  }

 private:
  static constexpr std::uint64_t kPart = 16;  // one sixteenth of the time
  static constexpr std::int64_t kSavedNs = 100'000'000;
  static constexpr std::int64_t kMostOwedNs = kMostWaitNs / kPart;
  static constexpr std::uint64_t kMostTimeNs = std::uint64_t{1} << 62;

  void fill(std::uint64_t now_ns) {
    if (now_ns <= filled_ns_) return;
    const auto earned = static_cast<std::int64_t>((now_ns - filled_ns_) / kPart);
    left_ns_ = std::min(kSavedNs, left_ns_ + earned);
    filled_ns_ = now_ns;
  }

  std::int64_t left_ns_ = kSavedNs;
  std::uint64_t filled_ns_ = 0;
};

}  // namespace tfusion::replay
