// One block of threads: its gangs, shared memory and barriers. Run by one machine thread at a time
// (launch.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "gang.hpp"

namespace tfusion::software::ptx {

class Block {
 public:
  static constexpr std::uint32_t kBarriers = 16;

  explicit Block(Launch& launch);
  void start(std::uint64_t number);  // of the block in the grid

  enum class Status { finished, yielded };
  Status run();  // throws Fault

  // `lanes` threads arrive at a barrier that waits for `expected` of them (0: all that live).
  void arrive(std::uint32_t id, std::uint32_t lanes, std::uint32_t expected, const Barrier& barrier,
              std::uint32_t trues);
  void retire(std::uint32_t lanes);

  std::byte* shared() const { return shared_.get(); }
  const Gang* running() const { return running_; }

 private:
  struct BarrierState {
    std::uint32_t arrived = 0;
    std::uint32_t expected = 0;
    std::uint32_t trues = 0;
    Barrier::Reduction reduction = Barrier::Reduction::none;
  };
  void complete(std::uint32_t id);

  Launch& launch_;
  std::vector<std::unique_ptr<Gang>> gangs_;
  std::unique_ptr<std::byte[]> shared_;
  BarrierState barriers_[kBarriers];
  std::uint32_t living_ = 0;
  Gang* running_ = nullptr;
};

}  // namespace tfusion::software::ptx
