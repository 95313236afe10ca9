#include "device_text.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tfusion::replay {

using protocol::kTextBytes;

namespace {

// Text that a client does not take is kept up to here; what is older is lost.
constexpr std::uint64_t kMostKept = 64u << 20;
constexpr std::uint64_t kPieceBytes = 16 * 1024;
constexpr std::uint64_t kPageBytes = 4096;
constexpr off_t kFileBytes = off_t{1} << 42;  // never reached: a terabyte of text is years of printing
constexpr unsigned kLooksBetween = 64;

struct Record {
  std::uint32_t descriptor;
  std::uint32_t bytes;
};

// Pages of the file before `end` go back to the host.
void forget_before(int file, std::uint64_t end) {
  const std::uint64_t whole = end / 4096 * 4096;
  if (whole > 0) fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(whole));
}

}  // namespace

bool may_print(std::span<const std::byte> image) {
  const std::string_view whole(reinterpret_cast<const char*>(image.data()), image.size());
  if (!whole.starts_with("\177ELF") && whole.find('\0') != whole.size() - 1)
    return true;  // neither ELF nor text
  return whole.find("vprintf") != whole.npos || whole.find("__assertfail") != whole.npos;
}

DeviceText::DeviceText(protocol::SharedMemory shared) : shared_(shared) {
  for (Source& source : sources_) {
    std::fflush(nullptr);
    source.file = memfd_create("tfusion-device-text", MFD_CLOEXEC);
    // As large as it can ever grow, and without a page: what is written shows in the mapping below.
    if (source.file < 0 || ftruncate(source.file, kFileBytes) != 0 ||
        dup2(source.file, static_cast<int>(source.descriptor)) < 0) {
      throw std::runtime_error(std::string("The output of kernels cannot be redirected: ") +
                               std::strerror(errno));
    }
    source.look_at(0);
  }
}

// Maps the page in which the next text will begin.
void DeviceText::Source::look_at(std::uint64_t position) {
  if (window != nullptr) munmap(window, kPageBytes);
  window_start = position / kPageBytes * kPageBytes;
  void* page = mmap(nullptr, kPageBytes, PROT_READ, MAP_SHARED, file, static_cast<off_t>(window_start));
  window = page == MAP_FAILED ? nullptr : static_cast<char*>(page);
}

// Without a system call, as this is asked at every call that synchronises: whether a byte stands where the
// next text begins. A text that begins with NUL is found by the next look that is not so quick.
bool DeviceText::Source::may_have_more() {
  if (window != nullptr && ++quick_looks % kLooksBetween != 0)
    return __atomic_load_n(window + (taken - window_start), __ATOMIC_ACQUIRE) != 0;
  return true;
}

DeviceText::~DeviceText() {
  for (const Source& source : sources_) {
    if (source.file >= 0) close(source.file);
    if (source.window != nullptr) munmap(source.window, kPageBytes);
  }
}

void DeviceText::put(std::uint64_t* written, const void* data, std::uint64_t bytes) {
  const auto* from = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const std::uint64_t offset = *written % kTextBytes;
    const std::uint64_t piece = std::min(bytes, kTextBytes - offset);
    std::memcpy(shared_.text() + offset, from, piece);
    *written += piece;
    from += piece;
    bytes -= piece;
  }
}

// False if there is more than fits.
bool DeviceText::forward(Source& source, std::uint64_t* written, std::uint64_t read) {
  if (!source.may_have_more()) return true;
  const off_t written_to =
      lseek(source.file, 0, SEEK_CUR);  // shared with the descriptor that the driver writes to
  if (written_to < 0) return true;
  const auto end = static_cast<std::uint64_t>(written_to);
  if (end == source.taken) return true;
  if (end - source.taken > kMostKept) source.taken = end - kMostKept;
  bool all = true;
  char piece[kPieceBytes];
  while (source.taken < end) {
    const std::uint64_t used = *written - read;
    if (used > kTextBytes || kTextBytes - used < sizeof(Record) + 1) {
      all = false;
      break;
    }
    const std::uint64_t most = std::min<std::uint64_t>(kTextBytes - used - sizeof(Record), sizeof piece);
    const ssize_t n =
        pread(source.file, piece, std::min(most, end - source.taken), static_cast<off_t>(source.taken));
    if (n <= 0) break;
    const Record record{source.descriptor, static_cast<std::uint32_t>(n)};
    put(written, &record, sizeof record);
    put(written, piece, static_cast<std::uint64_t>(n));
    source.taken += static_cast<std::uint64_t>(n);
  }
  source.look_at(source.taken);
  forget_before(source.file, source.taken);  // also of what is not all taken: a client may never take it
  return all;
}

void DeviceText::forward() {
  std::fflush(stdout);
  protocol::DeviceText& text = shared_.control().text;
  const std::uint64_t read = text.read.load(std::memory_order_acquire);
  bool all = true;
  for (Source& source : sources_) all = forward(source, &written_, read) && all;
  text.more.store(all ? 0 : 1, std::memory_order_relaxed);
  text.written.store(written_, std::memory_order_release);
}

}  // namespace tfusion::replay
