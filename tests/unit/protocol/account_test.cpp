// SliceAccount: the sessions of a slice share one limit, and never have more than it together.
#include "replay/account.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"

using tfusion::replay::SliceAccount;

namespace {

// The account's memory as the daemon makes it.
class Memory {
 public:
  explicit Memory(off_t bytes = 4096) : descriptor(memfd_create("account", MFD_CLOEXEC)) {
    if (descriptor < 0 || ftruncate(descriptor, bytes) != 0) std::abort();
  }
  ~Memory() { close(descriptor); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  int descriptor;
};

std::string refusal(int descriptor, unsigned slot) {
  try {
    SliceAccount(descriptor, slot, 100);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST(a_limit_is_reached_and_not_passed) {
  Memory memory;
  SliceAccount account(memory.descriptor, 0, 100);
  CHECK_EQ(account.limit(), 100u);
  CHECK(account.reserve(60));
  CHECK(!account.reserve(41));
  CHECK_EQ(account.used(), 60u);
  CHECK(account.reserve(40));
  CHECK(!account.reserve(1));
  account.give_back(60);
  CHECK_EQ(account.mine(), 40u);
  CHECK(account.reserve(60));
}

TEST(huge_wishes_change_nothing) {
  Memory memory;
  SliceAccount account(memory.descriptor, 0, 100);
  account.reserve(50);
  for (const std::uint64_t bytes :
       {std::uint64_t{101}, ~std::uint64_t{0}, ~std::uint64_t{0} - 49, std::uint64_t{1} << 63}) {
    CHECK(!account.reserve(bytes));
    CHECK_EQ(account.used(), 50u);
  }
}

TEST(sessions_share_the_limit) {
  Memory memory;
  SliceAccount one(memory.descriptor, 0, 100), two(memory.descriptor, SliceAccount::kSlots - 1, 100);
  CHECK(one.reserve(70));
  CHECK(!two.reserve(31));
  CHECK(two.reserve(30));
  CHECK_EQ(one.mine(), 70u);
  CHECK_EQ(two.mine(), 30u);
  CHECK_EQ(one.used(), 100u);
  CHECK_EQ(two.used(), 100u);
  one.give_back(70);
  CHECK(two.reserve(70));
}

TEST(never_more_than_the_limit_together) {
  constexpr std::uint64_t kLimit = 1000;
  Memory memory;
  std::atomic<std::uint64_t> granted{0};
  std::atomic<std::uint64_t> worst{0};
  std::atomic<std::uint32_t> successes{0};
  std::vector<std::thread> sessions;
  for (unsigned slot = 0; slot < 4; ++slot) {
    sessions.emplace_back([&, slot] {
      SliceAccount account(memory.descriptor, slot, kLimit);
      std::mt19937 random(slot);
      std::vector<std::uint64_t> held;
      for (int i = 0; i < 30'000; ++i) {
        const std::uint64_t bytes = 1 + random() % 400;
        if (account.reserve(bytes)) {
          const std::uint64_t all = granted.fetch_add(bytes) + bytes;
          std::uint64_t seen = worst.load();
          while (all > seen && !worst.compare_exchange_weak(seen, all)) {
          }
          held.push_back(bytes);
          ++successes;
        } else if (!held.empty()) {
          granted.fetch_sub(held.back());  // before it is given back: never counted low
          account.give_back(held.back());
          held.pop_back();
        }
      }
      for (const std::uint64_t bytes : held) granted.fetch_sub(bytes), account.give_back(bytes);
      CHECK_EQ(account.mine(), 0u);
    });
  }
  for (std::thread& session : sessions) session.join();
  CHECK(worst.load() <= kLimit);
  CHECK(successes.load() > 1000);
  CHECK_EQ(SliceAccount(memory.descriptor, 0, kLimit).used(), 0u);
}

TEST(busy_time_is_counted_in_the_slot_of_its_own) {
  Memory memory;
  SliceAccount account(memory.descriptor, 2, 100);
  const auto word = [&](unsigned kind, unsigned slot) {
    std::uint64_t value = 0;
    const auto at = static_cast<off_t>(8 * (1 + kind * SliceAccount::kSlots + slot));
    if (pread(memory.descriptor, &value, sizeof value, at) != sizeof value) std::abort();
    return value;
  };
  CHECK(!account.busy());
  account.begin_busy(1000);
  CHECK(account.busy());
  CHECK_EQ(word(2, 2), 1000u);
  account.end_busy(1600);
  CHECK(!account.busy());
  CHECK_EQ(word(1, 2), 600u);
  CHECK_EQ(word(2, 2), 0u);
  account.begin_busy(2000);
  account.end_busy(1900);  // over before it began, as far as one could tell
  CHECK_EQ(word(1, 2), 600u);
  CHECK_EQ(word(1, 1) + word(1, 3) + account.used(), 0u);
}

TEST(a_peak_is_what_all_sessions_had_when_one_took_memory) {
  Memory memory;
  SliceAccount one(memory.descriptor, 0, 100), two(memory.descriptor, 1, 100);
  const auto peak = [&](unsigned slot) {
    std::uint64_t value = 0;
    const auto at = static_cast<off_t>(8 * (1 + 4 * SliceAccount::kSlots + slot));
    if (pread(memory.descriptor, &value, sizeof value, at) != sizeof value) std::abort();
    return value;
  };
  CHECK(one.reserve(30));
  CHECK_EQ(peak(0), 0u);  // not before it is there
  one.note_peak();
  CHECK(two.reserve(50));
  two.note_peak();
  CHECK_EQ(peak(0), 30u);
  CHECK_EQ(peak(1), 80u);
  two.give_back(50);
  CHECK(two.reserve(10));
  two.note_peak();
  CHECK_EQ(peak(1), 80u);
}

TEST(accounts_that_cannot_be) {
  Memory good, small(64);
  CHECK_EQ(refusal(good.descriptor, SliceAccount::kSlots - 1), "");
  CHECK_EQ(refusal(good.descriptor, SliceAccount::kSlots), "A slice's account has no slot 64.");
  CHECK_EQ(refusal(small.descriptor, 0), "The slice's account is smaller than its layout.");
  CHECK_EQ(refusal(-1, 0), "The slice's account is smaller than its layout.");
}
