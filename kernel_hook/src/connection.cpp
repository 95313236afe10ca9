#include "connection.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "protocol/handshake.hpp"

namespace tfusion::hook {

namespace {

using protocol::Hello;
using protocol::Welcome;
using protocol::WelcomeStatus;

// A worker that must be started first takes a few seconds on a busy host.
constexpr int kWelcomeTimeoutMs = 120'000;

template <std::size_t N>
bool copy_text(char (&to)[N], const char* from) {
  const std::size_t n = std::strlen(from);
  if (n >= N) return false;
  std::memcpy(to, from, n);
  return true;
}

bool send_all(int socket, const void* data, std::size_t bytes) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = send(socket, p, bytes, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

bool wait_readable(int socket) {
  pollfd p{socket, POLLIN, 0};
  for (;;) {
    const int n = poll(&p, 1, kWelcomeTimeoutMs);
    if (n < 0 && errno == EINTR) continue;
    return n > 0;
  }
}

// One message of sizeof(Welcome) bytes with up to two descriptors; -1 where none came.
bool receive_welcome(int socket, Welcome* welcome, int descriptors[2]) {
  descriptors[0] = descriptors[1] = -1;
  std::size_t have = 0;
  while (have < sizeof(Welcome)) {
    if (!wait_readable(socket)) return false;
    iovec part{reinterpret_cast<char*>(welcome) + have, sizeof(Welcome) - have};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        std::memcpy(descriptors, CMSG_DATA(c), (count < 2 ? count : 2) * sizeof(int));
      }
    }
    have += static_cast<std::size_t>(n);
  }
  return std::memcmp(welcome->magic, protocol::kHelloMagic, sizeof welcome->magic) == 0;
}

void* map_shared(int descriptor, std::uint64_t bytes, std::uint64_t address) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0 || static_cast<std::uint64_t>(status.st_size) < bytes) return nullptr;
  const int fixed = address != 0 ? MAP_FIXED_NOREPLACE : 0;
  void* memory = mmap(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE | fixed, descriptor, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (address != 0 &&
      memory != reinterpret_cast<void*>(address)) {  // a kernel without NOREPLACE took it as a hint
    munmap(memory, bytes);
    return nullptr;
  }
  // A forked child has no session; without this its copies of the pages would keep the ring alive.
  madvise(memory, bytes, MADV_DONTFORK);
  return memory;
}

}  // namespace

Connection connect_to_worker() {
  Connection connection;
  const char* path = std::getenv("TFUSION_SOCKET");
  const char* slice = std::getenv("TFUSION_SLICE");
  const char* token = std::getenv("TFUSION_TOKEN");
  if (path == nullptr || slice == nullptr || token == nullptr) return connection;
  connection.result = CUDA_ERROR_DEVICE_UNAVAILABLE;
  auto refuse = [&](const char* sentence) {
    std::snprintf(connection.refusal, sizeof connection.refusal, "%s", sentence);
  };

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  Hello hello{};
  std::memcpy(hello.magic, protocol::kHelloMagic, sizeof hello.magic);
  hello.protocol_version = protocol::kProtocolVersion;
  hello.pid = static_cast<std::uint32_t>(getpid());
  if (!copy_text(address.sun_path, path) || !copy_text(hello.slice_id, slice) ||
      !copy_text(hello.token, token)) {
    refuse(
        "TFUSION_SOCKET, TFUSION_SLICE or TFUSION_TOKEN is too long; start this program with `tfusion run`.");
    return connection;
  }
  if (FILE* comm = std::fopen("/proc/self/comm", "re")) {
    if (std::fgets(hello.process_name, sizeof hello.process_name, comm) != nullptr) {
      hello.process_name[std::strcspn(hello.process_name, "\n")] = '\0';
    }
    std::fclose(comm);
  }

  const int socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket_fd < 0) {
    refuse("No Unix socket could be made in this process.");
    return connection;
  }
  int connected = 0;
  do {
    connected = connect(socket_fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  } while (connected != 0 && errno == EINTR);
  if (connected != 0) {
    std::snprintf(connection.refusal, sizeof connection.refusal,
                  "The GPU server at %s cannot be reached (%s). Is `tfusion serve` running? Restart the "
                  "kernel once it is.",
                  path, std::strerror(errno));
    close(socket_fd);
    return connection;
  }
  Welcome welcome{};
  int descriptors[2];
  if (!send_all(socket_fd, &hello, sizeof hello) || !receive_welcome(socket_fd, &welcome, descriptors)) {
    refuse(
        "The GPU server ended the connection without an answer. Look at its log, then restart the kernel.");
    close(socket_fd);
    return connection;
  }
  if (welcome.status != WelcomeStatus::accepted) {
    welcome.message[sizeof welcome.message - 1] = '\0';
    refuse(welcome.message);
    close(socket_fd);
    return connection;
  }
  if (welcome.shared_bytes != protocol::kSharedBytes ||
      welcome.protocol_version != protocol::kProtocolVersion) {
    refuse(
        "This process and the GPU server are of different versions of jupyter-tfusion. Install the same one "
        "on both.");
  } else {
    void* memory = map_shared(descriptors[0], welcome.shared_bytes, 0);
    void* host_arena = map_shared(descriptors[1], welcome.host_arena_bytes, protocol::kHostArenaAddress);
    // Device addresses must not be taken by this process's own memory; touching one is a fault here, as
    // without us.
    void* arena = mmap(reinterpret_cast<void*>(protocol::kDeviceArenaAddress), protocol::kDeviceArenaBytes,
                       PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (memory == nullptr || host_arena == nullptr ||
        arena != reinterpret_cast<void*>(protocol::kDeviceArenaAddress)) {
      refuse(
          "The virtual GPU's address ranges are not free in this process (is the address space limited, "
          "ulimit -v?).");
      if (memory != nullptr) munmap(memory, welcome.shared_bytes);
      if (host_arena != nullptr) munmap(host_arena, welcome.host_arena_bytes);
      if (arena != MAP_FAILED) munmap(arena, protocol::kDeviceArenaBytes);
    } else {
      connection.shared.base = static_cast<std::byte*>(memory);
      connection.socket = socket_fd;
      connection.result = CUDA_SUCCESS;
    }
  }
  if (descriptors[0] >= 0) close(descriptors[0]);
  if (descriptors[1] >= 0) close(descriptors[1]);
  if (connection.result != CUDA_SUCCESS) close(socket_fd);
  return connection;
}

}  // namespace tfusion::hook
