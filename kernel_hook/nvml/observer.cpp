#include "observer.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "protocol/futex.hpp"
#include "protocol/handshake.hpp"

namespace tfusion::nvml {

namespace {

using protocol::Observation;

// How old an answer may be that is given again.
constexpr std::uint64_t kFreshNs = 50'000'000;
// A daemon that is alive answers within milliseconds; NVML's callers (monitors, training loops) must not
// hang.
constexpr std::uint64_t kPatienceNs = 2'000'000'000;

struct Remembered {
  Observation observation;
  std::uint64_t at_ns;  // 0: nothing yet
  pid_t process;        // a forked child asks for itself
};
constinit Remembered remembered{};
// Never waited for: whoever finds it taken asks the daemon, and a child forked while it was taken always
// does.
constinit std::atomic_flag remembered_in_use{};

template <std::size_t N>
bool copy_text(char (&to)[N], const char* from) {
  const std::size_t n = from == nullptr ? N : std::strlen(from);
  if (n >= N) return false;
  std::memcpy(to, from, n);
  return true;
}

// Of a call on the socket: the time that is left, as its own limit. False: none is left.
bool limit(int socket, int option, std::uint64_t deadline_ns) {
  const std::uint64_t now = protocol::now_ns();
  if (now >= deadline_ns) return false;
  const std::uint64_t left_us = std::max<std::uint64_t>((deadline_ns - now) / 1000, 1000);
  const timeval time{static_cast<time_t>(left_us / 1'000'000), static_cast<suseconds_t>(left_us % 1'000'000)};
  return setsockopt(socket, SOL_SOCKET, option, &time, sizeof time) == 0;
}

Result failed() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINPROGRESS ? kTimeout : kGpuIsLost;
}

// `call` returns bytes moved, 0 at the end, -1 with errno.
template <typename Call>
Result move_all(int socket, int option, std::uint64_t deadline_ns, std::size_t bytes, Call call) {
  std::size_t done = 0;
  while (done < bytes) {
    if (!limit(socket, option, deadline_ns)) return kTimeout;
    const ssize_t n = call(done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed();
    if (n == 0) return kGpuIsLost;
    done += static_cast<std::size_t>(n);
  }
  return kSuccess;
}

Result receive(int socket, std::uint64_t deadline_ns, void* data, std::size_t bytes) {
  return move_all(socket, SO_RCVTIMEO, deadline_ns, bytes, [&](std::size_t at, std::size_t left) {
    return recv(socket, static_cast<char*>(data) + at, left, 0);
  });
}

Result exchange(int socket, const sockaddr_un& address, const protocol::Hello& hello, Observation* out) {
  const std::uint64_t deadline_ns = protocol::now_ns() + kPatienceNs;
  for (;;) {
    if (!limit(socket, SO_SNDTIMEO, deadline_ns)) return kTimeout;
    if (connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) break;
    if (errno != EINTR) return failed();
  }
  Result result =
      move_all(socket, SO_SNDTIMEO, deadline_ns, sizeof hello, [&](std::size_t at, std::size_t left) {
        return send(socket, reinterpret_cast<const char*>(&hello) + at, left, MSG_NOSIGNAL);
      });
  if (result != kSuccess) return result;
  protocol::Welcome welcome{};
  result = receive(socket, deadline_ns, &welcome, sizeof welcome);
  if (result != kSuccess) return result;
  if (std::memcmp(welcome.magic, protocol::kHelloMagic, sizeof welcome.magic) != 0 ||
      welcome.protocol_version != protocol::kProtocolVersion ||
      welcome.status != protocol::WelcomeStatus::accepted || welcome.shared_bytes != sizeof *out) {
    return kGpuIsLost;
  }
  return receive(socket, deadline_ns, out, sizeof *out);
}

Result ask(Observation* out) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  protocol::Hello hello{};
  std::memcpy(hello.magic, protocol::kObserverMagic, sizeof hello.magic);
  hello.protocol_version = protocol::kProtocolVersion;
  hello.pid = static_cast<std::uint32_t>(getpid());
  if (!copy_text(address.sun_path, std::getenv("TFUSION_SOCKET")) ||
      !copy_text(hello.slice_id, std::getenv("TFUSION_SLICE")) ||
      !copy_text(hello.token, std::getenv("TFUSION_TOKEN"))) {
    return kNotSupported;
  }
  const int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection < 0) return kGpuIsLost;
  const Result result = exchange(connection, address, hello, out);
  close(connection);
  if (result != kSuccess) return result;
  out->sessions = std::min(out->sessions, protocol::kMaxObservedSessions);
  out->used_bytes = std::min(out->used_bytes, out->facts.total_bytes);
  out->facts.name[sizeof out->facts.name - 1] = '\0';
  out->driver_version[sizeof out->driver_version - 1] = '\0';
  for (protocol::ObservedSession& row : out->rows) row.name[sizeof row.name - 1] = '\0';
  return kSuccess;
}

}  // namespace

Result observe(Observation* out) {
  const bool mine = !remembered_in_use.test_and_set(std::memory_order_acquire);
  Result result = kSuccess;
  if (mine && remembered.at_ns != 0 && remembered.process == getpid() &&
      protocol::now_ns() - remembered.at_ns < kFreshNs) {
    *out = remembered.observation;
  } else {
    result = ask(out);
    if (mine && result == kSuccess) remembered = {*out, protocol::now_ns(), getpid()};
  }
  if (mine) remembered_in_use.clear(std::memory_order_release);
  return result;
}

}  // namespace tfusion::nvml
