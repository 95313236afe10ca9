// What kernels print on its way to a client (gpu_server/replay/device_text.cpp). It redirects the output of
// its process for good, so each test does it in a child.
#include "replay/device_text.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include "check.hpp"

using namespace tfusion;

namespace {

protocol::SharedMemory shared_memory() {
  void* memory = mmap(nullptr, protocol::kSharedBytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  protocol::SharedMemory shared;
  shared.base = static_cast<std::byte*>(memory);
  new (memory) protocol::Control{};
  return shared;
}

// Whether act(shared memory, its device text) is true, in a child process.
template <typename Act>
bool in_child(Act&& act) {
  const pid_t child = fork();
  if (child == 0) {
    const protocol::SharedMemory shared = shared_memory();
    replay::DeviceText text(shared);
    _exit(act(shared, text) ? 0 : 1);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool print(const std::string& text) {
  return write(1, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace

TEST(text_that_a_client_never_takes_gives_its_pages_back) {
  CHECK(in_child([](const protocol::SharedMemory&, replay::DeviceText& text) {
    const std::string megabyte(1 << 20, 'x');
    for (int i = 0; i < 160; ++i) {
      if (!print(megabyte)) return false;
      text.forward();
    }
    struct stat status{};
    return fstat(1, &status) == 0 && status.st_blocks * 512 < (80 << 20);
  }));
}

TEST(a_client_that_writes_nonsense_where_it_reads_gets_no_text_and_breaks_nothing) {
  CHECK(in_child([](const protocol::SharedMemory& shared, replay::DeviceText& text) {
    for (const std::uint64_t nonsense : {std::uint64_t{1} << 63, std::uint64_t{protocol::kTextBytes} * 2}) {
      shared.control().text.read.store(nonsense);
      if (!print("text")) return false;
      text.forward();
      if (shared.control().text.written.load() != 0 || shared.control().text.more.load() != 1) return false;
    }
    shared.control().text.read.store(0);
    text.forward();
    return shared.control().text.written.load() > 0 && shared.control().text.more.load() == 0;
  }));
}
