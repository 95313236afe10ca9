// One launch of a kernel: what all its blocks share. Made by Program::launch, run on the thread pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "block.hpp"
#include "device_heap.hpp"
#include "program.hpp"

namespace tfusion::software::ptx {

// A kernel with what its launches need to know.
struct Kernel {
  std::uint32_t function = 0;
  std::uint64_t static_shared_bytes = 0;
  std::uint64_t stack_bytes = 0;  // local memory of a thread: its own frame and its calls'
  KernelInfo info;
};

class Launch {
 public:
  Launch(const std::vector<FunctionCode>& functions, const Kernel& kernel, const LaunchConfig& config,
         const AddressSpace& memory, DeviceHeap* heap, std::uint64_t number);

  LaunchReport run();

  // --- for blocks and handlers
  const std::vector<FunctionCode>& functions() const { return functions_; }
  const Kernel& kernel() const { return kernel_; }
  const LaunchConfig& config() const { return config_; }
  const AddressSpace& memory() const { return memory_; }
  DeviceHeap* heap() const { return heap_; }
  std::uint64_t number() const { return number_; }
  std::uint32_t threads_per_block() const { return threads_; }
  std::uint32_t gang_width() const { return width_; }
  std::uint64_t shared_bytes() const { return shared_bytes_; }
  void block_index(std::uint64_t number, std::uint32_t (&index)[3]) const;
  void print(std::string_view text);
  // True if this launch must end: it was cancelled, or another block failed.
  bool must_stop() const {
    return failed_.load(std::memory_order_relaxed) ||
           (config_.stop != nullptr && config_.stop->load(std::memory_order_relaxed));
  }

 private:
  void work();
  void run_block(Block& block);
  void fail(const Fault& fault, Block& block);
  void report(Outcome outcome, std::string detail);

  const std::vector<FunctionCode>& functions_;
  const Kernel& kernel_;
  const LaunchConfig& config_;
  const AddressSpace& memory_;
  DeviceHeap* heap_;
  std::uint64_t number_;
  std::uint32_t threads_ = 0;
  std::uint32_t width_ = 0;
  std::uint64_t shared_bytes_ = 0;
  std::uint64_t blocks_ = 0;
  std::atomic<std::uint64_t> next_block_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;  // of the report and of printing
  LaunchReport report_;
};

// Thrown within a gang when must_stop() became true.
struct Stopped {};

}  // namespace tfusion::software::ptx
