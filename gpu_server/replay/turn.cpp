#include "turn.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <stdexcept>

namespace tfusion::replay {

Turn::Turn(int page, int bell) : bell_(bell) {
  struct stat status{};
  if (fstat(page, &status) != 0 || static_cast<std::size_t>(status.st_size) < sizeof(Page)) {
    throw std::runtime_error("The page of the worker's orders is smaller than its layout.");
  }
  void* memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("The page of the worker's orders cannot be mapped.");
  page_ = static_cast<Page*>(memory);
  order_ = {.run = false, .allowance_bytes = 0};  // until the first order
}

Turn::~Turn() {
  if (page_ != nullptr) munmap(page_, sizeof(Page));
}

const TurnOrder& Turn::take() {
  if (page_ == nullptr) return order_;
  // The words may be a later order's than the epoch; then changed() says so once more.
  seen_epoch_ = page_->epoch.load(std::memory_order_acquire);
  const std::uint64_t flags = page_->order_flags.load(std::memory_order_relaxed);
  order_.run = (flags & kRun) != 0;
  order_.contended = (flags & kContended) != 0;
  order_.watch = (flags & kWatch) != 0;
  order_.allowance_bytes = page_->allowance_bytes.load(std::memory_order_relaxed);
  order_.store_bytes = page_->store_bytes.load(std::memory_order_relaxed);
  order_.spill_bytes = page_->spill_bytes.load(std::memory_order_relaxed);
  order_.denied_want = page_->denied_want.load(std::memory_order_relaxed);
  order_.kernel_limit_ns = page_->kernel_limit_ns.load(std::memory_order_relaxed);
  return order_;
}

void Turn::tell(const Report& report) {
  if (page_ == nullptr) return;
  // The number first, while the bytes are 0 since the end of the last want: none is ever taken for another.
  if (report.want_number != 0) page_->want_number.store(report.want_number, std::memory_order_release);
  page_->wanted_bytes.store(report.wanted_bytes, std::memory_order_relaxed);
  page_->report_flags.store((report.waiting ? kWaiting : 0) | (report.stopped ? kStopped : 0) |
                                (report.swap_failed ? kSwapFailed : 0),
                            std::memory_order_release);
}

void Turn::tell_allowance(std::uint64_t bytes) {
  if (page_ != nullptr) page_->accepted_bytes.store(bytes, std::memory_order_release);
}

void Turn::tell_memory(std::uint64_t resident, std::uint64_t fixed, std::uint64_t swapped,
                       std::uint64_t stored, std::uint64_t spilled) {
  if (page_ == nullptr) return;
  // Who reads in between counts a piece that moves twice, never not at all.
  if (swapped > page_->swapped_bytes.load(std::memory_order_relaxed))
    page_->swapped_bytes.store(swapped, std::memory_order_release);
  page_->resident_bytes.store(resident, std::memory_order_relaxed);
  page_->fixed_bytes.store(fixed, std::memory_order_relaxed);
  page_->stored_bytes.store(stored, std::memory_order_relaxed);
  page_->spilled_bytes.store(spilled, std::memory_order_relaxed);
  page_->swapped_bytes.store(swapped, std::memory_order_release);
}

void Turn::tell_swap(bool out, std::uint64_t bytes, std::uint64_t ns) {
  if (page_ == nullptr) return;
  (out ? page_->swapped_out_bytes : page_->swapped_in_bytes).fetch_add(bytes);
  (out ? page_->swap_out_ns : page_->swap_in_ns).fetch_add(ns);
}

void Turn::tell_waited(std::uint64_t ns) {
  if (page_ != nullptr) page_->waited_ns.fetch_add(ns);
}

void Turn::ring() {
  if (page_ != nullptr) eventfd_write(bell_, 1);
}

}  // namespace tfusion::replay
