#include "thread_pool.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

namespace tfusion::software::ptx {

namespace {

struct Job {
  const std::function<void()>* work;
  unsigned wanted;  // helpers that may still join
  unsigned active;  // helpers at work
};

class ThreadPool {
 public:
  explicit ThreadPool(unsigned threads) : owner_(getpid()) {
    for (unsigned i = 0; i < threads; ++i) {
      try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::system_error&) {
        break;  // fewer helpers: the caller works anyway
      }
    }
  }

  pid_t owner() const { return owner_; }

  void run(unsigned helpers, const std::function<void()>& work) {
    Job job{&work, helpers, 0};
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(&job);
    }
    if (helpers == 1) {
      wake_.notify_one();
    } else {
      wake_.notify_all();
    }
    work();
    std::unique_lock lock(mutex_);
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    done_.wait(lock, [&] { return job.active == 0; });
  }

 private:
  [[noreturn]] void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      wake_.wait(lock, [&] {
        for (Job* candidate : jobs_) {
          if (candidate->wanted > 0) {
            job = candidate;
            return true;
          }
        }
        return false;
      });
      --job->wanted;
      ++job->active;
      lock.unlock();
      (*job->work)();
      lock.lock();
      if (--job->active == 0) done_.notify_all();
    }
  }

  const pid_t owner_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::deque<Job*> jobs_;
};

// Never destroyed: kernels may run while the process exits. A forked child has none of its parent's threads
// and makes its own pool.
ThreadPool& pool() {
  static std::mutex mutex;
  static ThreadPool* current = nullptr;
  const std::lock_guard lock(mutex);
  if (current == nullptr || current->owner() != getpid()) current = new ThreadPool(machine_threads() - 1);
  return *current;
}

}  // namespace

unsigned machine_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
  return std::max(1u, std::thread::hardware_concurrency());
}

void run_on_pool(unsigned helpers, const std::function<void()>& work) {
  if (helpers == 0) {
    work();
  } else {
    pool().run(helpers, work);
  }
}

}  // namespace tfusion::software::ptx
