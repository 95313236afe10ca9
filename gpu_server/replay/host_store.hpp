// Where a session's memory lies while it is swapped out: a memfd of this process, pinned in blocks, and
// beyond its budget an unlinked file on disk. Nobody else maps either of them, so a kernel that reads what is
// pinned here reads what its own session wrote.
//
// A thread fills and pins blocks ahead of need: both take far longer than the copy that will use them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace tfusion::replay {

// A stretch of a store, never over the end of a block.
struct HostRun {
  std::byte* memory = nullptr;
  std::uint64_t bytes = 0;
  std::uint32_t block = 0;
  bool on_disk = false;
};

class HostStore {
 public:
  static constexpr std::uint64_t kPageBytes = 2ull << 20;
  static constexpr std::uint64_t kMostBlockPages = 16;

  // What the driver does for it. `enter` is called in a thread before it pins, `unpin` only for what was
  // pinned.
  struct Pins {
    std::function<void()> enter;
    std::function<bool(void*, std::uint64_t)> pin;
    std::function<void(void*)> unpin;
  };

  // `folder`: where the file on disk goes; empty: nowhere. `block_pages`: how much is pinned at once.
  HostStore(Pins pins, std::string folder, std::uint64_t block_pages = kMostBlockPages);
  ~HostStore();
  HostStore(const HostStore&) = delete;
  HostStore& operator=(const HostStore&) = delete;

  // What may be used from now on, in whole blocks; what is in use above it stays until it is given back.
  // Begins to fill ahead.
  void set_budget(std::uint64_t pinned_bytes, std::uint64_t disk_bytes);

  // Room for `bytes` (whole pages), pinned before disk; nothing if there is none, or the disk is full.
  std::optional<std::vector<HostRun>> take(std::uint64_t bytes);
  void give_back(const std::vector<HostRun>& runs);

  std::uint64_t stored_bytes() const { return stored_bytes_; }
  std::uint64_t spilled_bytes() const { return spilled_bytes_; }

  // Around a reset of the context, which ends what is pinned. Precondition: nothing is swapped out.
  void pause();
  void resume();

 private:
  struct Block {
    enum State : std::uint8_t { empty, preparing, ready, failed } state = empty;
    bool pinned = false;  // a driver that pins no more leaves memory that is copied to and from all the same
    std::uint16_t used = 0;  // a bit per page
  };
  // Blocks of one descriptor. Those from `limit` on are not given out, and go when they are free.
  struct Area {
    bool on_disk = false;
    int descriptor = -1;
    std::byte* memory = nullptr;
    std::uint64_t limit = 0;
    std::vector<Block> blocks{};
  };

  off_t offset_of(std::uint32_t block) const { return static_cast<off_t>(block * block_bytes_); }
  bool open(Area& area);
  void set_limit(Area& area, std::uint64_t blocks);
  std::uint64_t used_bytes(const Area& area) const { return area.on_disk ? spilled_bytes_ : stored_bytes_; }
  std::uint64_t free_bytes(const Area& area) const;
  std::uint64_t take_from(std::unique_lock<std::mutex>& lock, Area& area, std::uint64_t bytes,
                          std::vector<HostRun>* runs);
  bool prepare(std::unique_lock<std::mutex>& lock, Area& area, std::uint32_t index);
  void let_go(Area& area, std::uint32_t index);
  void fill_ahead();

  const Pins pins_;
  const std::string folder_;
  const std::uint64_t block_pages_, block_bytes_;
  std::mutex mutex_;  // of everything below
  std::condition_variable stirred_;
  Area memory_{}, disk_{.on_disk = true};
  std::uint64_t stored_bytes_ = 0, spilled_bytes_ = 0;
  bool over_ = false, paused_ = false;
  std::thread filler_;  // begins with the first budget
};

}  // namespace tfusion::replay
