// What kernels print, written to this process's own output before the call that synchronised returns.
#pragma once

#include "process.hpp"

namespace tfusion::hook {

void print_device_text();

// How much of it was printed here.
extern std::atomic<std::uint64_t> device_text_printed;

// After the reply of a call that synchronises; costs a load when nothing was printed.
inline void print_new_device_text() {
  if (shared.control().text.written.load(std::memory_order_acquire) !=
      device_text_printed.load(std::memory_order_relaxed)) {
    print_device_text();
  }
}

}  // namespace tfusion::hook
