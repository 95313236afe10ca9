// How far the GPU is behind what was launched. Events between the launches mark it, when somebody wants to
// know: while others compete, launches wait so that the session can stop soon after it is told to; and where
// kernels have a time limit, a mark that is not reached in time tells of one that passed it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "driver.hpp"

namespace tfusion::replay {

class Pace {
 public:
  // `captures`: whether a stream captures now; it is passed over, as the mark would become a node.
  Pace(const Driver& driver, std::function<bool(CUstream)> captures)
      : driver_(driver), captures_(std::move(captures)) {}

  void set(bool contended, std::uint64_t kernel_limit_ns);
  // Otherwise nothing is marked and a launch costs one comparison.
  bool marks() const { return contended_ || kernel_limit_ns_ != 0; }

  // So many kernels were launched in a stream.
  void launched(CUstream stream, std::uint64_t kernels);
  // No launch follows for now: what was launched since the last mark gets one as well.
  void rest();
  // Looks which marks the GPU has passed. Then:
  void look(std::uint64_t now_ns);
  bool behind(std::uint64_t now_ns) const;   // launches should wait
  bool overdue(std::uint64_t now_ns) const;  // a kernel has run longer than it may
  std::uint64_t kernel_limit_ns() const { return kernel_limit_ns_; }

  // The client destroys a stream: it is not marked any more.
  void forget_stream(CUstream stream);
  // The context, and every event of it, is gone.
  void forget_context();

 private:
  struct Mark {
    std::vector<CUevent> events;  // one for each stream with launches
    std::uint64_t made_ns = 0;
    std::uint64_t kernels = 0;
  };
  void mark();

  static constexpr std::uint64_t kKernelsPerMark = 16;
  static constexpr std::uint64_t kLeastNs = 50'000;  // between two looks, which ask the driver
  static constexpr std::uint64_t kMostLagNs = 10'000'000;
  // When marks are further apart than this, each kernel gets one.
  static constexpr std::uint64_t kLongNs = 50'000'000;

  const Driver& driver_;
  const std::function<bool(CUstream)> captures_;
  bool contended_ = false;
  std::uint64_t kernel_limit_ns_ = 0;
  std::vector<CUstream> streams_;  // with launches since the last mark
  std::uint64_t kernels_ = 0;      // launched since then
  bool long_kernels_ = false;
  std::deque<Mark> marks_;  // not passed yet, oldest first
  std::uint64_t looked_ns_ = 0;
  std::uint64_t passed_ns_ = 0;  // when the last one was found to be passed
  std::vector<CUevent> pool_;
};

}  // namespace tfusion::replay
