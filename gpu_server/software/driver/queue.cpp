// The queue thread: see queue.hpp.
#include "queue.hpp"

#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <thread>

namespace tfusion::software::driver {

namespace {
thread_local bool is_queue_thread = false;
}

bool Queue::on_queue_thread() noexcept {
  return is_queue_thread;
}

void Queue::start() {
  // Signals belong to the application's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread([this] { loop(); }).detach();
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

std::uint64_t Queue::push(std::unique_ptr<Task> task, std::size_t captured_bytes) {
  task->captured_bytes = captured_bytes;
  std::unique_lock lock(mutex_);
  // One task larger than the bound may pass when nothing else is captured.
  const auto has_room = [&] {
    return tasks_.size() < kMaxPendingTasks &&
           (captured_bytes_ == 0 || captured_bytes_ + captured_bytes <= kMaxCapturedBytes);
  };
  if (!has_room()) {
    ++waiters_;
    progressed_.wait(lock, has_room);
    --waiters_;
  }
  captured_bytes_ += captured_bytes;
  tasks_.push_back(std::move(task));
  const std::uint64_t number = submitted_.load(std::memory_order_relaxed) + 1;
  submitted_.store(number, std::memory_order_release);
  if (tasks_.size() == 1) arrived_.notify_one();
  return number;
}

void Queue::wait(std::uint64_t number) {
  if (passed(number)) return;
  std::unique_lock lock(mutex_);
  ++waiters_;
  progressed_.wait(lock, [&] { return passed(number); });
  --waiters_;
}

void Queue::abandon() noexcept {
  abandoned_.store(true, std::memory_order_release);
}

void Queue::loop() {
  is_queue_thread = true;
  pthread_setname_np(pthread_self(), "tfusion-gpu");
  std::unique_lock lock(mutex_);
  for (;;) {
    arrived_.wait(lock, [&] { return !tasks_.empty(); });
    if (abandoned_.load(std::memory_order_acquire)) {
      lock.unlock();
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));  // until exit() ends the process
    }
    std::unique_ptr<Task> task = std::move(tasks_.front());
    lock.unlock();
    const std::size_t captured = task->captured_bytes;
    task->run();
    task.reset();  // what the task kept alive is given up before anyone learns that it passed
    lock.lock();
    tasks_.pop_front();
    captured_bytes_ -= captured;
    completed_.fetch_add(1, std::memory_order_release);
    if (waiters_ != 0) progressed_.notify_all();
  }
}

}  // namespace tfusion::software::driver
