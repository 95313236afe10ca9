// HostStore: room for what is swapped out, in pinned blocks and then on disk, within a budget.
#include "replay/host_store.hpp"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"

using tfusion::replay::HostRun;
using tfusion::replay::HostStore;

namespace {

constexpr std::uint64_t kPage = HostStore::kPageBytes;
constexpr std::uint64_t kBlock = HostStore::kMostBlockPages * kPage;

// A driver that counts what is pinned, and pins no more than `most` bytes.
struct Pinned {
  std::atomic<std::uint64_t> bytes{0};
  std::uint64_t most = ~std::uint64_t{0};
  std::uint64_t block = kBlock;

  HostStore::Pins pins() {
    return {.enter = [] {},
            .pin =
                [this](void*, std::uint64_t n) {
                  if (bytes + n > most) return false;
                  bytes += n;
                  return true;
                },
            .unpin = [this](void*) { bytes -= block; }};
  }
  void wait_for(std::uint64_t n) const {
    while (bytes != n) std::this_thread::yield();
  }
};

struct Folder {
  Folder() {
    char name[] = "/tmp/host-store-XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    path = name;
  }
  ~Folder() { rmdir(path.c_str()); }
  std::string path;
};

std::uint64_t sum(const std::vector<HostRun>& runs) {
  std::uint64_t bytes = 0;
  for (const HostRun& run : runs) bytes += run.bytes;
  return bytes;
}

}  // namespace

TEST(blocks_are_pinned_ahead_of_need_and_let_go_when_the_budget_shrinks) {
  Pinned pinned;
  HostStore store(pinned.pins(), "");
  CHECK(pinned.bytes == 0);
  store.set_budget(3 * kBlock, 0);
  pinned.wait_for(3 * kBlock);
  store.set_budget(kBlock, 0);
  CHECK(pinned.bytes == kBlock);
}

TEST(room_is_given_within_the_budget_and_comes_back) {
  Pinned pinned;
  HostStore store(pinned.pins(), "");
  CHECK(!store.take(kPage));
  store.set_budget(2 * kBlock, 0);
  auto one = store.take(kBlock + kPage);
  CHECK(one && sum(*one) == kBlock + kPage);
  CHECK(store.stored_bytes() == kBlock + kPage);
  CHECK(!store.take(kBlock));
  auto two = store.take(kBlock - kPage);
  CHECK(two && store.stored_bytes() == 2 * kBlock);
  store.give_back(*one);
  CHECK(store.stored_bytes() == kBlock - kPage);
  CHECK(store.take(kBlock).has_value());
}

TEST(runs_do_not_overlap_nor_cross_blocks_and_hold_what_is_written) {
  Pinned pinned;
  HostStore store(pinned.pins(), "");
  store.set_budget(8 * kBlock, 0);
  std::mt19937 random(7);
  std::vector<std::pair<std::vector<HostRun>, char>> held;
  for (int step = 0; step < 400; ++step) {
    if (!held.empty() && random() % 3 == 0) {
      const std::size_t which = random() % held.size();
      for (const HostRun& run : held[which].first) {
        for (std::uint64_t at = 0; at < run.bytes; at += kPage)
          CHECK(std::to_integer<char>(run.memory[at]) == held[which].second);
      }
      store.give_back(held[which].first);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
      continue;
    }
    const std::uint64_t bytes = (1 + random() % 20) * kPage;
    auto runs = store.take(bytes);
    if (!runs) continue;
    CHECK(sum(*runs) == bytes);
    const char mark = static_cast<char>(step % 127);
    for (const HostRun& run : *runs) {
      CHECK(run.bytes <= kBlock && !run.on_disk);
      for (std::uint64_t at = 0; at < run.bytes; at += kPage) run.memory[at] = static_cast<std::byte>(mark);
    }
    held.emplace_back(std::move(*runs), mark);
  }
  std::uint64_t all = 0;
  for (const auto& [runs, mark] : held) all += sum(runs);
  CHECK(store.stored_bytes() == all);
}

TEST(what_the_memory_does_not_hold_goes_to_an_unnamed_file) {
  Pinned pinned;
  Folder folder;
  HostStore store(pinned.pins(), folder.path);
  store.set_budget(kBlock, 2 * kBlock);
  auto runs = store.take(2 * kBlock);
  CHECK(runs && store.stored_bytes() == kBlock && store.spilled_bytes() == kBlock);
  for (const HostRun& run : *runs) std::memset(run.memory, 1, run.bytes);
  CHECK(!store.take(2 * kBlock));
  CHECK(store.take(kBlock).has_value());
  int entries = 0;
  DIR* listing = opendir(folder.path.c_str());
  while (readdir(listing) != nullptr) ++entries;
  closedir(listing);
  CHECK(entries == 2);  // . and ..
  store.give_back(*runs);
  CHECK(store.stored_bytes() == 0 && store.spilled_bytes() == kBlock);
}

TEST(a_folder_that_cannot_be_used_is_no_room) {
  Pinned pinned;
  HostStore store(pinned.pins(), "/nowhere/at/all");
  store.set_budget(0, 4 * kBlock);
  CHECK(!store.take(kPage));
}

TEST(a_driver_that_pins_no_more_leaves_memory_to_use) {
  Pinned pinned;
  pinned.most = kBlock;
  HostStore store(pinned.pins(), "");
  store.set_budget(3 * kBlock, 0);
  auto runs = store.take(3 * kBlock);
  CHECK(runs && sum(*runs) == 3 * kBlock);
  CHECK(pinned.bytes == kBlock);
  store.give_back(*runs);
  store.set_budget(0, 0);
  CHECK(pinned.bytes == 0);
}

TEST(what_is_in_use_above_a_smaller_budget_stays_until_it_is_given_back) {
  Pinned pinned;
  HostStore store(pinned.pins(), "");
  store.set_budget(2 * kBlock, 0);
  auto runs = store.take(2 * kBlock);
  CHECK(runs.has_value());
  std::memset(runs->back().memory, 3, kPage);
  store.set_budget(kBlock, 0);
  CHECK(std::to_integer<int>(*runs->back().memory) == 3);
  CHECK(!store.take(kPage));
  store.give_back(*runs);
  CHECK(pinned.bytes == kBlock);
}

TEST(what_is_in_use_above_a_smaller_budget_counts) {
  Pinned pinned;
  HostStore store(pinned.pins(), "");
  store.set_budget(2 * kBlock, 0);
  auto low = store.take(kBlock), high = store.take(kBlock);
  CHECK(low && high);
  store.give_back(*low);
  store.set_budget(kBlock, 0);
  CHECK(!store.take(kPage));
  store.give_back(*high);
  CHECK(store.take(kBlock).has_value());
}

TEST(a_pause_lets_everything_go_and_it_is_pinned_again_afterwards) {
  Pinned pinned;
  HostStore store(pinned.pins(), "");
  store.set_budget(2 * kBlock, 0);
  pinned.wait_for(2 * kBlock);
  store.pause();
  CHECK(pinned.bytes == 0);
  store.resume();
  pinned.wait_for(2 * kBlock);
}

TEST(blocks_may_be_as_small_as_a_page) {
  Pinned pinned;
  pinned.block = kPage;
  HostStore store(pinned.pins(), "", 1);
  store.set_budget(3 * kPage, 0);
  pinned.wait_for(3 * kPage);
  auto runs = store.take(3 * kPage);
  CHECK(runs && runs->size() == 3);
  CHECK(!store.take(kPage));
  store.give_back(*runs);
}
