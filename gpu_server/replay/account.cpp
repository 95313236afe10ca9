#include "account.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <stdexcept>

namespace tfusion::replay {

SliceAccount::SliceAccount(int descriptor, unsigned slot, std::uint64_t limit_bytes)
    : slot_(slot), limit_bytes_(limit_bytes) {
  struct stat status{};
  if (slot >= kSlots) throw std::runtime_error("A slice's account has no slot " + std::to_string(slot) + ".");
  if (fstat(descriptor, &status) != 0 || static_cast<std::size_t>(status.st_size) < sizeof(Page)) {
    throw std::runtime_error("The slice's account is smaller than its layout.");
  }
  void* memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("The slice's account cannot be mapped.");
  page_ = static_cast<Page*>(memory);
}

SliceAccount::~SliceAccount() {
  munmap(page_, sizeof(Page));
}

bool SliceAccount::reserve(std::uint64_t bytes) {
  if (bytes > limit_bytes_) return false;
  // Claim first, then look: two sessions that claim the last piece at once may both fail, never both succeed.
  page_->used_bytes[slot_].fetch_add(bytes);
  if (used() <= limit_bytes_) return true;
  page_->used_bytes[slot_].fetch_sub(bytes);
  return false;
}

void SliceAccount::give_back(std::uint64_t bytes) {
  page_->used_bytes[slot_].fetch_sub(bytes);
}

// The sum rises only where a session takes memory, and each notes it then: so the highest of all slots' words
// is the slice's peak. Only this session raises the word; a zero of the daemon's in between asks for the peak
// from that moment on, and what is stored here is of no earlier one.
void SliceAccount::note_peak() {
  std::atomic<std::uint64_t>& peak = page_->peak_bytes[slot_];
  if (const std::uint64_t sum = used(); sum > peak.load()) peak.store(sum);
}

std::uint64_t SliceAccount::used() const {
  std::uint64_t sum = 0;
  for (const auto& used : page_->used_bytes) sum += used.load();
  return sum;
}

std::uint64_t SliceAccount::mine() const {
  return page_->used_bytes[slot_].load();
}

void SliceAccount::begin_busy(std::uint64_t now_ns) {
  busy_since_ns_ = now_ns;
  page_->busy_since_ns[slot_].store(now_ns, std::memory_order_release);
}

void SliceAccount::end_busy(std::uint64_t at_ns) {
  // In this order a reader in between misses the time for a moment, and never counts it twice.
  page_->busy_since_ns[slot_].store(0);
  page_->busy_ns[slot_].fetch_add(at_ns > busy_since_ns_ ? at_ns - busy_since_ns_ : 0);
  busy_since_ns_ = 0;
}

}  // namespace tfusion::replay
