#include "pending.hpp"

#include <algorithm>
#include <utility>

namespace tfusion::replay {

CUevent PendingWork::take_event() {
  if (pool_.empty()) {
    CUevent event = nullptr;
    return driver_->cuEventCreate(&event, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS ? event : nullptr;
  }
  const CUevent event = pool_.back();
  pool_.pop_back();
  return event;
}

void PendingWork::finish(Entry& entry, CUresult result) {
  if (entry.ours) pool_.insert(pool_.end(), entry.events.begin(), entry.events.end());
  entry.done(result);
}

void PendingWork::after_stream(CUstream stream, Done done) {
  // An event in the legacy stream also follows what other blocking streams hold, as a wait for that stream
  // must; a query of it need not.
  if (stream != CU_STREAM_LEGACY) {
    const CUresult now = driver_->cuStreamQuery(stream);
    if (now != CUDA_ERROR_NOT_READY) return done(now);
  }
  const CUevent event = take_event();
  const CUresult recorded =
      event == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : driver_->cuEventRecord(event, stream);
  if (recorded != CUDA_SUCCESS) {
    if (event != nullptr) pool_.push_back(event);
    return done(recorded);
  }
  entries_.push_back({{event}, true, stream, std::move(done)});
}

void PendingWork::after_event(CUevent event, Done done) {
  const CUresult now = driver_->cuEventQuery(event);
  if (now != CUDA_ERROR_NOT_READY) return done(now);
  entries_.push_back({{event}, false, nullptr, std::move(done)});
}

void PendingWork::after_all(const std::vector<CUstream>& streams, Done done) {
  Entry entry{{}, true, nullptr, std::move(done)};
  for (const CUstream stream : streams) {
    CUresult result = driver_->cuStreamQuery(stream);
    if (result == CUDA_SUCCESS) continue;
    if (result == CUDA_ERROR_NOT_READY) {
      const CUevent event = take_event();
      result = event == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : driver_->cuEventRecord(event, stream);
      if (event != nullptr) entry.events.push_back(event);
    }
    if (result != CUDA_SUCCESS) return finish(entry, result);
  }
  if (entry.events.empty()) return entry.done(CUDA_SUCCESS);
  entries_.push_back(std::move(entry));
}

bool PendingWork::poll() {
  if (entries_.empty()) return false;
  bool any = false;
  std::vector<CUstream> waiting;  // streams whose oldest entry is not over
  std::vector<std::pair<Entry, CUresult>> over;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    const bool ordered = entry.ours && entry.events.size() == 1;
    CUresult result = CUDA_ERROR_NOT_READY;
    if (!ordered || std::find(waiting.begin(), waiting.end(), entry.stream) == waiting.end()) {
      result = CUDA_SUCCESS;
      for (const CUevent event : entry.events) {
        result = driver_->cuEventQuery(event);
        if (result != CUDA_SUCCESS) break;
      }
    }
    if (result == CUDA_ERROR_NOT_READY) {
      if (ordered) waiting.push_back(entry.stream);
      if (kept != i) entries_[kept] = std::move(entry);
      ++kept;
    } else {
      over.emplace_back(std::move(entry), result);
      any = true;
    }
  }
  entries_.resize(kept);
  // Only now: done() may add new entries.
  for (auto& [entry, result] : over) finish(entry, result);
  return any;
}

void PendingWork::forget_event(CUevent event) {
  std::vector<Entry> over;
  for (std::size_t i = 0; i < entries_.size();) {
    if (!entries_[i].ours && entries_[i].events.front() == event) {
      over.push_back(std::move(entries_[i]));
      entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  for (Entry& entry : over) entry.done(CUDA_ERROR_INVALID_HANDLE);
}

void PendingWork::abandon(CUresult result) {
  std::vector<Entry> given_up;
  given_up.swap(entries_);
  for (Entry& entry : given_up) {
    entry.ours = false;  // events of a context that ends are not used again
    entry.done(result);
  }
  pool_.clear();
}

}  // namespace tfusion::replay
