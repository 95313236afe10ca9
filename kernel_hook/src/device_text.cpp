#include "device_text.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "call.hpp"

namespace tfusion::hook {

using protocol::kTextBytes;

constinit std::atomic<std::uint64_t> device_text_printed{0};

namespace {

constinit std::mutex mutex;

struct Record {
  std::uint32_t descriptor;
  std::uint32_t bytes;
};

void copy_out(void* to, std::uint64_t position, std::uint64_t bytes) {
  const std::uint64_t offset = position % kTextBytes;
  const std::uint64_t first = std::min(bytes, kTextBytes - offset);
  std::memcpy(to, shared.text() + offset, first);
  std::memcpy(static_cast<std::byte*>(to) + first, shared.text(), bytes - first);
}

// Through the program's own streams, so that it stands in order with what the program itself prints.
void print(std::uint64_t position, const Record& record) {
  std::FILE* stream = record.descriptor == 2 ? stderr : stdout;
  char piece[4096];
  for (std::uint64_t done = 0; done < record.bytes;) {
    const std::uint64_t n = std::min<std::uint64_t>(record.bytes - done, sizeof piece);
    copy_out(piece, position + done, n);
    std::fwrite(piece, 1, n, stream);
    done += n;
  }
  std::fflush(stream);
}

}  // namespace

void print_device_text() {
  static constinit thread_local bool printing =
      false;  // asking for more text is a call that ends here as well
  if (printing) return;
  printing = true;
  std::lock_guard lock(mutex);
  protocol::DeviceText& text = shared.control().text;
  for (;;) {
    const std::uint64_t written = text.written.load(std::memory_order_acquire);
    std::uint64_t read = device_text_printed.load(std::memory_order_relaxed);
    while (written - read >= sizeof(Record)) {
      Record record;
      copy_out(&record, read, sizeof record);
      read += sizeof record;
      record.bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(record.bytes, written - read));
      print(read, record);
      read += record.bytes;
    }
    device_text_printed.store(read, std::memory_order_relaxed);
    text.read.store(read, std::memory_order_release);
    if (text.more.load(std::memory_order_relaxed) == 0) break;
    wire::TextNext command{};
    // The caller may hold a reply slot already, and so may others that wait for the mutex: with all slots taken
    // by them, waiting for one would never end. The next of them goes on.
    Reply reply(std::try_to_lock);
    if (!reply.valid() || call_with(reply, command) != CUDA_SUCCESS) break;
  }
  printing = false;
}

}  // namespace tfusion::hook
