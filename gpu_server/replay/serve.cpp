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
// protocol), or for the session to be over. Meanwhile it passes on that there are new orders.
void watch(int client, int over, int orders, Session& session) {
  pollfd watched[3] = {{client, POLLIN | POLLRDHUP, 0}, {over, POLLIN, 0}, {orders, POLLIN, 0}};
  for (;;) {
    if (poll(watched, 3, -1) < 0 && errno == EINTR) continue;
    if (watched[0].revents != 0 || watched[1].revents != 0) break;
    eventfd_t count = 0;
    eventfd_read(orders, &count);
    session.nudge();
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

Ending Worker::serve(const SessionOrder& order) {
  {
    std::lock_guard lock(mutex_);
    if (session_) throw std::runtime_error("A worker serves one client, once.");
    account_ = std::make_unique<SliceAccount>(order.account, order.account_slot, order.vram_limit_bytes);
    close(order.account);
    turn_ = std::make_unique<Turn>(order.turn_page, order.bell);
    close(order.turn_page);
    text_ = std::make_unique<DeviceText>(device_.shared());
    session_ = std::make_unique<Session>(device_, *account_, *turn_, cache_folder_, order.swap, text_.get());
    if (!stop_sentence_.empty()) session_->stop("stopped", stop_sentence_);
  }
  protocol::DeviceFacts& facts = device_.shared().control().facts;
  facts.total_bytes = order.vram_limit_bytes;
  facts.context_id = 1;
  fcntl(order.client, F_SETFL,
        fcntl(order.client, F_GETFL) & ~O_NONBLOCK);  // the daemon's event loop had it non-blocking
  Ending ending{"client_gone", "The client process ended before its session began."};
  const int over = eventfd(0, EFD_CLOEXEC);
  if (over < 0) throw std::runtime_error("No event descriptor could be made.");
  if (send_welcome(order.client, device_)) {
    std::thread watcher(watch, order.client, over, order.orders, std::ref(*session_));
    ending = session_->run();
    eventfd_write(over, 1);
    watcher.join();
  }
  close(over);
  close(order.client);  // the client's own watcher sees it and tells why
  return ending;
}

void Worker::stop(const std::string& sentence) {
  std::lock_guard lock(mutex_);
  stop_sentence_ = sentence;
  if (session_) session_->stop("stopped", sentence);
}

}  // namespace tfusion::replay
