#include "log.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace tfusion::hook {

void log(const char* format, ...) {
  if (std::getenv("TFUSION_QUIET") != nullptr) return;
  const int saved = errno;
  char line[1200];
  const int head = std::snprintf(line, sizeof line, "tfusion: ");
  va_list arguments;
  va_start(arguments, format);
  const int body =
      std::vsnprintf(line + head, sizeof line - static_cast<unsigned>(head) - 1, format, arguments);
  va_end(arguments);
  if (body >= 0) {
    unsigned n = static_cast<unsigned>(head + body);
    if (n > sizeof line - 2) n = sizeof line - 2;
    line[n++] = '\n';
    // stderr's own buffer may belong to a thread that is gone (fork, exit): write past it.
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line, n);
  }
  errno = saved;
}

}  // namespace tfusion::hook
