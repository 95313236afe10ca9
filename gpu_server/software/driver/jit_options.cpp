// JIT options: see jit_options.hpp.
#include "jit_options.hpp"

#include <string.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace tfusion::software::driver {

JitOptions::JitOptions(unsigned count, CUjit_option* options, void** values) {
  require(count == 0 || (options != nullptr && values != nullptr));
  require(count <= 1024);
  for (unsigned index = 0; index < count; ++index) {
    void** value = &values[index];
    switch (options[index]) {
      case CU_JIT_INFO_LOG_BUFFER:
        info_.buffer = static_cast<char*>(*value);
        break;
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        info_.size = value;
        break;
      case CU_JIT_ERROR_LOG_BUFFER:
        error_.buffer = static_cast<char*>(*value);
        break;
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        error_.size = value;
        break;
      case CU_JIT_WALL_TIME:
        *value = nullptr;  // a float of 0 ms
        break;
      default:
        require(options[index] >= 0 && options[index] < CU_JIT_NUM_OPTIONS);
    }
  }
  write(info_, {});
  if (error_.size == nullptr || error_.buffer == nullptr) error_ = {};
  if (error_.buffer != nullptr && reinterpret_cast<std::uintptr_t>(*error_.size) != 0)
    error_.buffer[0] = '\0';
}

void JitOptions::write(const Log& log, const std::string& text) {
  if (log.buffer == nullptr || log.size == nullptr) return;
  // The value is the number itself, in the low 32 bits as cuda.h says.
  const std::size_t room = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(*log.size));
  std::size_t written = 0;
  if (room != 0) {
    written = std::min(text.size(), room - 1);
    memcpy(log.buffer, text.data(), written);
    log.buffer[written] = '\0';
  }
  *log.size = reinterpret_cast<void*>(written);
}

void JitOptions::report(const std::string& sentence) {
  if (sentence.empty()) return;
  if (error_.buffer != nullptr) {
    write(error_, sentence);
  } else {
    std::fprintf(stderr, "software GPU: %s\n", sentence.c_str());
  }
}

}  // namespace tfusion::software::driver
