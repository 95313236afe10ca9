#include "serve.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "protocol/handshake.hpp"

namespace tfusion::replay {

namespace {

// A client that is gone frees its memory within a second, even if the replay thread is inside a driver call
// that an endless kernel holds up: then the process ends without it.
constexpr int kGraceMs = 300;

bool send_welcome(int client, const Device& device) {
  protocol::Welcome welcome{};
  std::memcpy(welcome.magic, protocol::kHelloMagic, sizeof welcome.magic);
  welcome.protocol_version = protocol::kProtocolVersion;
  welcome.status = protocol::WelcomeStatus::accepted;
  welcome.shared_bytes = protocol::kSharedBytes;
  welcome.host_arena_bytes = protocol::kHostArenaBytes;
  const int descriptors[2] = {device.shared_descriptor(), device.host_arena_descriptor()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptors)] = {};
  iovec part{&welcome, sizeof welcome};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof descriptors);
  std::memcpy(CMSG_DATA(c), descriptors, sizeof descriptors);
  ssize_t n = 0;
  do {
    n = sendmsg(client, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof welcome);
}

// Waits for the client's end of the connection to close (or anything sent on it, which is none of the
// protocol), or for the session to be over.
void watch(int client, int over, Session& session) {
  pollfd watched[2] = {{client, POLLIN | POLLRDHUP, 0}, {over, POLLIN, 0}};
  for (;;) {
    if (poll(watched, 2, -1) < 0 && errno == EINTR) continue;
    break;
  }
  if (watched[1].revents != 0) return;
  session.stop("client_gone", "The client process ended.");
  pollfd ended{over, POLLIN, 0};
  for (;;) {
    const int n = poll(&ended, 1, kGraceMs);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) _exit(0);
    return;
  }
}

}  // namespace

Worker::Worker(const std::string& driver_path, int ordinal, std::string cache_folder)
    : device_(driver_path, ordinal), cache_folder_(std::move(cache_folder)) {}

Ending Worker::serve(int client, std::uint64_t vram_limit_bytes, int account, unsigned account_slot) {
  {
    std::lock_guard lock(mutex_);
    if (session_) throw std::runtime_error("A worker serves one client, once.");
    account_ = std::make_unique<SliceAccount>(account, account_slot, vram_limit_bytes);
    close(account);
    text_ = std::make_unique<DeviceText>(device_.shared());
    session_ = std::make_unique<Session>(device_, *account_, cache_folder_, text_.get());
    if (!stop_sentence_.empty()) session_->stop("stopped", stop_sentence_);
  }
  protocol::DeviceFacts& facts = device_.shared().control().facts;
  facts.total_bytes = vram_limit_bytes;
  facts.context_id = 1;
  fcntl(client, F_SETFL,
        fcntl(client, F_GETFL) & ~O_NONBLOCK);  // the daemon's event loop had it non-blocking
  Ending ending{"client_gone", "The client process ended before its session began."};
  const int over = eventfd(0, EFD_CLOEXEC);
  if (over < 0) throw std::runtime_error("No event descriptor could be made.");
  if (send_welcome(client, device_)) {
    std::thread watcher(watch, client, over, std::ref(*session_));
    ending = session_->run();
    eventfd_write(over, 1);
    watcher.join();
  }
  close(over);
  close(client);  // the client's own watcher sees it and tells why
  return ending;
}

void Worker::stop(const std::string& sentence) {
  std::lock_guard lock(mutex_);
  stop_sentence_ = sentence;
  if (session_) session_->stop("stopped", sentence);
}

}  // namespace tfusion::replay
