// Text from device-side printf: to the function that was set, else to standard output.
#include "print.hpp"

#include <cstdio>
#include <mutex>

#include "cuda_api.hpp"

namespace tfusion::software::driver {

namespace {

struct Sink {
  std::mutex mutex;  // a leaf; held while the function runs, so none is called after it was replaced
  void (*print)(const char*, std::size_t, void*) = nullptr;
  void* user = nullptr;
};

Sink& sink() {
  static Sink* only = new Sink;  // lives to the end of the process
  return *only;
}

}  // namespace

void print_from_device(std::string_view text) noexcept {
  const std::lock_guard lock(sink().mutex);
  if (sink().print != nullptr) {
    sink().print(text.data(), text.size(), sink().user);
    return;
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace tfusion::software::driver

void tfusionSoftwareSetPrint(void (*print)(const char*, size_t, void*), void* user) {
  auto& sink = tfusion::software::driver::sink();
  const std::lock_guard lock(sink.mutex);
  sink.print = print;
  sink.user = user;
}
