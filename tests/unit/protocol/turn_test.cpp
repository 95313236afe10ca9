// Turn: orders come over, reports go back, and a worker without a daemon's page goes by nobody's orders.
#include "replay/turn.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "check.hpp"

using tfusion::replay::Turn;

namespace {

struct Daemon {
  Daemon() : descriptor(memfd_create("turn", MFD_CLOEXEC)), bell(eventfd(0, EFD_NONBLOCK)) {
    if (descriptor < 0 || bell < 0 || ftruncate(descriptor, 4096) != 0) std::abort();
    void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) std::abort();
    page = static_cast<Turn::Page*>(memory);
  }
  ~Daemon() {
    munmap(page, 4096);
    close(descriptor);
    close(bell);
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  std::uint64_t rung() {
    eventfd_t count = 0;
    return eventfd_read(bell, &count) == 0 ? count : 0;
  }
  int descriptor, bell;
  Turn::Page* page;
};

}  // namespace

TEST(nothing_may_be_done_before_the_first_order) {
  Daemon daemon;
  Turn turn(daemon.descriptor, daemon.bell);
  CHECK(!turn.changed());
  CHECK(!turn.order().run && turn.order().allowance_bytes == 0);
}

TEST(an_order_is_seen_once) {
  Daemon daemon;
  Turn turn(daemon.descriptor, daemon.bell);
  daemon.page->order_flags = Turn::kRun | Turn::kWatch;
  daemon.page->allowance_bytes = 1 << 20;
  daemon.page->store_bytes = 2;
  daemon.page->spill_bytes = 3;
  daemon.page->kernel_limit_ns = 4;
  daemon.page->denied_want = 5;
  daemon.page->epoch = 1;
  CHECK(turn.changed());
  const auto& order = turn.take();
  CHECK(order.run && order.watch && !order.contended && order.denied_want == 5);
  CHECK(order.allowance_bytes == 1 << 20 && order.store_bytes == 2 && order.spill_bytes == 3 &&
        order.kernel_limit_ns == 4);
  CHECK(!turn.changed());
}

TEST(a_report_says_all_of_how_things_are) {
  Daemon daemon;
  Turn turn(daemon.descriptor, daemon.bell);
  turn.tell({.waiting = true, .stopped = false, .swap_failed = true, .wanted_bytes = 9, .want_number = 3});
  CHECK(daemon.page->want_number == 3);
  CHECK(daemon.page->report_flags == (Turn::kWaiting | Turn::kSwapFailed) && daemon.page->wanted_bytes == 9);
  turn.tell({.stopped = true});
  CHECK(daemon.page->report_flags == Turn::kStopped && daemon.page->wanted_bytes == 0);
  turn.tell_memory(10, 4, 6, 8, 2);
  CHECK(daemon.page->resident_bytes == 10 && daemon.page->fixed_bytes == 4 &&
        daemon.page->swapped_bytes == 6 && daemon.page->stored_bytes == 8 && daemon.page->spilled_bytes == 2);
  turn.tell_swap(true, 100, 7);
  turn.tell_swap(true, 100, 7);
  turn.tell_swap(false, 50, 3);
  CHECK(daemon.page->swapped_out_bytes == 200 && daemon.page->swap_out_ns == 14 &&
        daemon.page->swapped_in_bytes == 50 && daemon.page->swap_in_ns == 3);
  CHECK(daemon.rung() == 0);
  turn.ring();
  CHECK(daemon.rung() == 1);
}

TEST(without_a_page_everything_is_allowed) {
  Turn turn;
  turn.tell({.waiting = true});
  turn.tell_memory(1, 2, 3, 4, 5);
  turn.ring();
  CHECK(!turn.changed());
  CHECK(turn.take().run && turn.order().allowance_bytes == ~std::uint64_t{0});
}

TEST(a_page_that_is_too_small_is_refused) {
  const int descriptor = memfd_create("small", MFD_CLOEXEC);
  CHECK(ftruncate(descriptor, 16) == 0);
  bool refused = false;
  try {
    const Turn turn(descriptor, -1);
  } catch (const std::runtime_error&) {
    refused = true;
  }
  CHECK(refused);
  close(descriptor);
}
