#include "pace.hpp"

#include <algorithm>
#include <utility>

#include "protocol/futex.hpp"

namespace tfusion::replay {

void Pace::set(bool contended, std::uint64_t kernel_limit_ns) {
  contended_ = contended;
  kernel_limit_ns_ = kernel_limit_ns;
  if (!marks()) {
    streams_.clear();
    kernels_ = 0;
  }
}

void Pace::launched(CUstream stream, std::uint64_t kernels) {
  if (captures_(stream)) return;
  if (std::find(streams_.begin(), streams_.end(), stream) == streams_.end()) streams_.push_back(stream);
  kernels_ += kernels;
  if (kernels_ >= kKernelsPerMark || long_kernels_) mark();
}

void Pace::rest() {
  if (kernels_ > 0) mark();
}

void Pace::mark() {
  Mark made;
  for (const CUstream stream : streams_) {
    if (captures_(stream)) continue;
    CUevent event = nullptr;
    if (!pool_.empty()) {
      event = pool_.back();
      pool_.pop_back();
    } else if (driver_->cuEventCreate(&event, CU_EVENT_DISABLE_TIMING) != CUDA_SUCCESS) {
      continue;
    }
    if (driver_->cuEventRecord(event, stream) == CUDA_SUCCESS) {
      made.events.push_back(event);
    } else {
      pool_.push_back(event);
    }
  }
  made.made_ns = protocol::now_ns();
  made.kernels = std::exchange(kernels_, 0);
  streams_.clear();
  if (!made.events.empty()) marks_.push_back(std::move(made));
}

void Pace::look(std::uint64_t now_ns) {
  if (now_ns - looked_ns_ < kLeastNs) return;
  looked_ns_ = now_ns;
  while (!marks_.empty()) {
    Mark& oldest = marks_.front();
    while (!oldest.events.empty()) {
      // An error is no matter of ours: whoever waits for the work is told of it.
      if (driver_->cuEventQuery(oldest.events.back()) == CUDA_ERROR_NOT_READY) return;
      pool_.push_back(oldest.events.back());
      oldest.events.pop_back();
    }
    long_kernels_ = now_ns > std::max(oldest.made_ns, passed_ns_) + kLongNs;
    passed_ns_ = now_ns;
    marks_.pop_front();
  }
}

bool Pace::behind(std::uint64_t now_ns) const {
  return marks_.size() >= 2 && now_ns > marks_.front().made_ns + kMostLagNs;
}

bool Pace::overdue(std::uint64_t now_ns) const {
  if (kernel_limit_ns_ == 0 || marks_.empty()) return false;
  const Mark& oldest = marks_.front();
  return now_ns > std::max(oldest.made_ns, passed_ns_) + oldest.kernels * kernel_limit_ns_;
}

void Pace::forget_stream(CUstream stream) {
  if (std::find(streams_.begin(), streams_.end(), stream) != streams_.end()) mark();
}

void Pace::forget_context() {
  streams_.clear();
  marks_.clear();
  pool_.clear();
  kernels_ = 0;
}

}  // namespace tfusion::replay
