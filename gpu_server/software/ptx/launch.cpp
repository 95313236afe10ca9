#include "launch.hpp"

#include <algorithm>
#include <deque>
#include <exception>

#include "thread_pool.hpp"

namespace tfusion::software::ptx {

namespace {

constexpr std::uint32_t kFrameBytes = 1 << 18;  // rows of a gang that should stay in cache
constexpr std::uint64_t kSharedLimit = std::uint64_t{1} << 24;
constexpr std::size_t kMaxResident = 64;  // blocks that one machine thread keeps under way

std::string at(const char* what, const std::uint32_t (&index)[3]) {
  return std::string(what) + " (" + std::to_string(index[0]) + "," + std::to_string(index[1]) + "," +
         std::to_string(index[2]) + ")";
}

}  // namespace

Launch::Launch(const std::vector<FunctionCode>& functions, const Kernel& kernel, const LaunchConfig& config,
               const AddressSpace& memory, DeviceHeap* heap, std::uint64_t number)
    : functions_(functions),
      kernel_(kernel),
      config_(config),
      memory_(memory),
      heap_(heap),
      number_(number) {}

LaunchReport Launch::run() {
  std::uint64_t threads = 1;
  blocks_ = 1;
  for (int i = 0; i < 3; ++i) {
    if (config_.block[i] == 0 || config_.block[i] > 1024 || config_.grid[i] == 0) {
      return {
          Outcome::illegal_instruction,
          "a launch needs at least one block of at least one thread, and at most 1024 threads in a block"};
    }
    threads *= config_.block[i];
    if (__builtin_mul_overflow(blocks_, std::uint64_t{config_.grid[i]}, &blocks_))
      return {Outcome::illegal_instruction, "the grid is too large"};
  }
  if (threads > 1024)
    return {Outcome::illegal_instruction,
            "a block has at most 1024 threads; " + std::to_string(threads) + " were asked for"};
  if (config_.parameters.size() < kernel_.info.parameter_bytes) {
    return {Outcome::illegal_instruction, "the kernel takes " + std::to_string(kernel_.info.parameter_bytes) +
                                              " bytes of parameters and got " +
                                              std::to_string(config_.parameters.size())};
  }
  shared_bytes_ = kernel_.static_shared_bytes + config_.dynamic_shared_bytes;
  if (config_.dynamic_shared_bytes > kSharedLimit)
    return {Outcome::illegal_instruction, "too much dynamic shared memory"};
  threads_ = static_cast<std::uint32_t>(threads);
  const std::uint32_t rows = functions_[kernel_.function].row_bytes;
  width_ = std::min((threads_ + kWarp - 1) / kWarp * kWarp, kMaxLanes);
  while (width_ > kWarp && rows * width_ > kFrameBytes) width_ = (width_ / 2 + kWarp - 1) / kWarp * kWarp;

  const std::uint64_t helpers = std::min<std::uint64_t>(blocks_, machine_threads()) - 1;
  run_on_pool(static_cast<unsigned>(helpers), [this] { work(); });
  if (report_.outcome == Outcome::success && must_stop())
    return {Outcome::cancelled, "the kernel was stopped before its end"};
  return report_;
}

void Launch::block_index(std::uint64_t number, std::uint32_t (&index)[3]) const {
  index[0] = static_cast<std::uint32_t>(number % config_.grid[0]);
  index[1] = static_cast<std::uint32_t>(number / config_.grid[0] % config_.grid[1]);
  index[2] = static_cast<std::uint32_t>(number / config_.grid[0] / config_.grid[1]);
}

void Launch::print(std::string_view text) {
  if (!config_.print) return;
  const std::lock_guard lock(mutex_);
  config_.print(text);
}

void Launch::report(Outcome outcome, std::string detail) {
  const std::lock_guard lock(mutex_);
  if (!failed_.exchange(true)) report_ = {outcome, std::move(detail)};
}

void Launch::fail(const Fault& fault, Block& block) {
  // The gang is where it was when the instruction failed.
  Gang& gang = const_cast<Gang&>(*block.running());
  const Lanes& lanes = gang.lanes();
  const std::uint32_t lane = std::min(fault.lane, lanes.width - 1);
  const std::uint32_t thread[3] = {lanes.thread[0][lane], lanes.thread[1][lane], lanes.thread[2][lane]};
  std::string detail = fault.what + " by " + at("thread", thread) + " of " + at("block", lanes.block) +
                       " of kernel '" + kernel_.info.name + "'";
  if (gang.current() != nullptr) detail += ", line " + std::to_string(gang.current()->line) + " of the PTX";
  report(fault.outcome, std::move(detail));
}

// What every machine thread of the launch does. A block whose threads only wait for other blocks gives way,
// and the thread begins another one beside it.
void Launch::work() {
  try {
    std::vector<std::unique_ptr<Block>> spare;
    std::deque<std::unique_ptr<Block>> resident;
    bool more = true;
    const auto begin = [&] {
      const std::uint64_t number = next_block_.fetch_add(1, std::memory_order_relaxed);
      if (number >= blocks_ || must_stop()) {
        more = false;
        return;
      }
      std::unique_ptr<Block> block;
      if (spare.empty()) {
        block = std::make_unique<Block>(*this);
      } else {
        block = std::move(spare.back());
        spare.pop_back();
      }
      block->start(number);
      resident.push_front(std::move(block));
    };
    for (;;) {
      if (more && resident.size() < kMaxResident) begin();
      if (resident.empty()) return;
      std::unique_ptr<Block> block = std::move(resident.front());
      resident.pop_front();
      Block::Status status;
      try {
        status = block->run();
      } catch (const Fault& fault) {
        fail(fault, *block);
        return;
      } catch (const Stopped&) {
        return;
      }
      if (status == Block::Status::finished) {
        spare.push_back(std::move(block));
        // Those that gave way come before new ones.
        while (!resident.empty() && status == Block::Status::finished) {
          block = std::move(resident.front());
          resident.pop_front();
          try {
            status = block->run();
          } catch (const Fault& fault) {
            fail(fault, *block);
            return;
          } catch (const Stopped&) {
            return;
          }
          if (status == Block::Status::finished) {
            spare.push_back(std::move(block));
          } else {
            resident.push_back(std::move(block));
          }
        }
      } else {
        resident.push_back(std::move(block));
      }
    }
  } catch (const std::exception& error) {
    report(Outcome::trap, std::string("the software GPU ran out of resources: ") + error.what());
  }
}

}  // namespace tfusion::software::ptx
