#include "block.hpp"

#include <algorithm>
#include <cstring>

#include "launch.hpp"

namespace tfusion::software::ptx {

Block::Block(Launch& launch) : launch_(launch) {
  shared_ = std::make_unique_for_overwrite<std::byte[]>(launch.shared_bytes() + 64);
  const std::uint32_t threads = launch.threads_per_block();
  const std::uint32_t width = launch.gang_width();
  for (std::uint32_t first = 0; first < threads; first += width) {
    auto gang = std::make_unique<Gang>();
    gang->prepare(launch, *this, first / width, first, std::min(threads - first, width), width);
    gangs_.push_back(std::move(gang));
  }
}

void Block::start(std::uint64_t number) {
  living_ = launch_.threads_per_block();
  for (BarrierState& barrier : barriers_) barrier = {};
  for (const auto& gang : gangs_) {
    launch_.block_index(number, gang->lanes().block);
    gang->start();
  }
}

Block::Status Block::run() {
  for (;;) {
    bool finished = true;
    bool moved = false;
    bool yielded = false;
    for (const auto& gang : gangs_) {
      if (gang->finished()) continue;
      finished = false;
      if (!gang->runnable()) {
        // It may wait for lanes of its own that ended meanwhile; run() looks.
        running_ = gang.get();
        const std::uint64_t steps = gang->steps();
        if (gang->run() != Gang::Status::waiting || gang->steps() != steps) moved = true;
        continue;
      }
      running_ = gang.get();
      moved = true;
      if (gang->run() == Gang::Status::yielded) yielded = true;
    }
    if (finished) return Status::finished;
    if (yielded) {
      if (launch_.must_stop()) throw Stopped{};
      return Status::yielded;
    }
    if (!moved) {
      const std::string lines = std::to_string(running_->waiting_line());
      throw Fault{
          Outcome::trap, 0,
          "the threads of a block wait for each other for ever: not all of them reach the same barrier or "
          "warp synchronisation (some wait at line " +
              lines + " of the PTX). Move __syncthreads() out of code that only some threads run"};
    }
  }
}

void Block::arrive(std::uint32_t id, std::uint32_t lanes, std::uint32_t expected, const Barrier& barrier,
                   std::uint32_t trues) {
  BarrierState& state = barriers_[id];
  state.arrived += lanes;
  state.trues += trues;
  state.expected = expected;
  if (barrier.reduction != Barrier::Reduction::none) state.reduction = barrier.reduction;
  if (state.arrived >= (expected == 0 ? living_ : expected)) complete(id);
}

void Block::retire(std::uint32_t lanes) {
  living_ -= lanes;
  for (std::uint32_t id = 0; id < kBarriers; ++id) {
    if (barriers_[id].arrived != 0 && barriers_[id].expected == 0 && barriers_[id].arrived >= living_)
      complete(id);
  }
}

void Block::complete(std::uint32_t id) {
  const BarrierState state = barriers_[id];
  barriers_[id] = {};
  std::uint32_t value = state.trues;
  if (state.reduction == Barrier::Reduction::all) value = state.trues == state.arrived ? 1 : 0;
  if (state.reduction == Barrier::Reduction::any) value = state.trues != 0 ? 1 : 0;
  for (const auto& gang : gangs_) gang->release_barrier(id, value);
}

}  // namespace tfusion::software::ptx
