// The one queue thread of the process. It executes the work of all streams in the order of submission, which
// is a legal serialisation of any set of streams, so waiting for an event of another stream needs no
// machinery.
//
// Whatever changes what kernels may touch (free, unmap, unregister) runs here too: between two kernels by
// construction. Called by every part of the driver that gives work to the GPU.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace tfusion::software::driver {

class Queue {
 public:
  // Work beyond these bounds makes submit() wait, as a GPU's full launch queue does.
  static constexpr std::size_t kMaxPendingTasks = 4096;
  static constexpr std::size_t kMaxCapturedBytes = std::size_t{64} << 20;

  Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  void start();  // once; throws std::system_error when no thread can be had

  // Adds work and returns its number; numbers rise by one from 1. `captured_bytes` is host memory that the
  // task holds. `work` must not throw. Precondition: the caller holds no lock of the driver.
  template <class Work>
  std::uint64_t submit(Work&& work, std::size_t captured_bytes = 0) {
    return push(std::make_unique<TaskOf<std::decay_t<Work>>>(std::forward<Work>(work)), captured_bytes);
  }

  // Runs `work` on the queue thread after everything submitted before and returns when it is done; exceptions
  // come back to the caller. On the queue thread itself `work` runs at once.
  template <class Work>
  void run(Work&& work) {
    if (on_queue_thread()) return work();
    std::exception_ptr failure;
    wait(submit([&work, &failure]() noexcept {
      try {
        work();
      } catch (...) {
        failure = std::current_exception();
      }
    }));
    if (failure) std::rethrow_exception(failure);
  }

  void wait(std::uint64_t number);
  bool passed(std::uint64_t number) const noexcept {
    return completed_.load(std::memory_order_acquire) >= number;
  }
  std::uint64_t submitted() const noexcept { return submitted_.load(std::memory_order_acquire); }

  static bool on_queue_thread() noexcept;

  // The process ends: no further task is begun, and a running kernel is asked to stop.
  void abandon() noexcept;
  const std::atomic<bool>& stop_flag() const noexcept { return abandoned_; }

 private:
  struct Task {
    virtual ~Task() = default;
    virtual void run() noexcept = 0;
    std::size_t captured_bytes = 0;
  };
  template <class Work>
  struct TaskOf final : Task {
    template <class Source>
    explicit TaskOf(Source&& source) : work(std::forward<Source>(source)) {}
    void run() noexcept override { work(); }
    Work work;
  };

  std::uint64_t push(std::unique_ptr<Task> task, std::size_t captured_bytes);
  void loop();

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable progressed_;
  std::deque<std::unique_ptr<Task>> tasks_;
  std::size_t captured_bytes_ = 0;
  std::size_t waiters_ = 0;
  std::atomic<std::uint64_t> submitted_{0};
  std::atomic<std::uint64_t> completed_{0};
  std::atomic<bool> abandoned_{false};
};

}  // namespace tfusion::software::driver
