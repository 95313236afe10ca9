#include "host_store.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>

namespace tfusion::replay {

namespace {

constexpr std::uint64_t kMostBytes = 1ull << 40;  // of addresses for one area

// Its blocks go with its descriptor, however this process ends.
int unnamed_file(const std::string& folder) {
  int descriptor = open(folder.c_str(), O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return descriptor;
  std::string name = folder + "/swap-XXXXXX";  // not every file system has files without a name
  descriptor = mkostemp(name.data(), O_CLOEXEC);
  if (descriptor >= 0) unlink(name.c_str());
  return descriptor;
}

}  // namespace

HostStore::HostStore(Pins pins, std::string folder, std::uint64_t block_pages)
    : pins_(std::move(pins)),
      folder_(std::move(folder)),
      block_pages_(std::clamp<std::uint64_t>(block_pages, 1, kMostBlockPages)),
      block_bytes_(block_pages_ * kPageBytes) {}

HostStore::~HostStore() {
  {
    std::lock_guard lock(mutex_);
    over_ = true;
    stirred_.notify_all();
  }
  if (filler_.joinable()) filler_.join();
  for (Area* area : {&memory_, &disk_}) {
    for (std::uint32_t i = 0; i < area->blocks.size(); ++i) let_go(*area, i);
    if (area->memory != nullptr) munmap(area->memory, kMostBytes);
    if (area->descriptor >= 0) close(area->descriptor);
  }
}

bool HostStore::open(Area& area) {
  if (area.memory != nullptr) return true;
  if (area.descriptor < 0) {
    area.descriptor = area.on_disk ? unnamed_file(folder_) : memfd_create("tfusion-swap", MFD_CLOEXEC);
    if (area.descriptor < 0) return false;
  }
  void* memory =
      mmap(nullptr, kMostBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, area.descriptor, 0);
  if (memory == MAP_FAILED) return false;
  madvise(memory, kMostBytes, MADV_DONTDUMP);
  area.memory = static_cast<std::byte*>(memory);
  return true;
}

void HostStore::set_budget(std::uint64_t pinned_bytes, std::uint64_t disk_bytes) {
  std::lock_guard lock(mutex_);
  set_limit(memory_, pinned_bytes / block_bytes_);
  set_limit(disk_, folder_.empty() ? 0 : disk_bytes / block_bytes_);
  if (memory_.limit > 0 && !filler_.joinable()) filler_ = std::thread([this] { fill_ahead(); });
  stirred_.notify_all();
}

void HostStore::set_limit(Area& area, std::uint64_t blocks) {
  blocks = std::min(blocks, kMostBytes / block_bytes_);
  if (blocks > 0 && !open(area)) blocks = 0;
  area.limit = blocks;
  if (area.blocks.size() < blocks) area.blocks.resize(blocks);
  for (std::uint32_t i = 0; i < area.blocks.size(); ++i) {
    Block& block = area.blocks[i];
    if (block.state == Block::failed) block.state = Block::empty;  // perhaps there is room now
    if (i >= blocks) let_go(area, i);
  }
}

// The pages go back to the host at once.
void HostStore::let_go(Area& area, std::uint32_t index) {
  Block& block = area.blocks[index];
  if (block.state != Block::ready || block.used != 0) return;
  if (block.pinned) pins_.unpin(area.memory + offset_of(index));
  fallocate(area.descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(index),
            static_cast<off_t>(block_bytes_));
  block = Block{};
}

// Gets the block's pages, and pins them if they are memory; without the lock meanwhile, as it takes long.
bool HostStore::prepare(std::unique_lock<std::mutex>& lock, Area& area, std::uint32_t index) {
  stirred_.wait(lock, [&] { return area.blocks[index].state != Block::preparing; });
  if (area.blocks[index].state == Block::ready) return true;
  if (area.blocks[index].state == Block::failed) return false;
  area.blocks[index].state = Block::preparing;
  std::byte* const memory = area.memory + offset_of(index);
  lock.unlock();
  // So that a host or a disk without room says so here. A write into a hole would be a SIGBUS.
  const bool there = fallocate(area.descriptor, 0, offset_of(index), static_cast<off_t>(block_bytes_)) == 0;
  const bool pinned = there && !area.on_disk && pins_.pin(memory, block_bytes_);
  lock.lock();
  Block& block = area.blocks[index];  // the list may have grown
  block.state = there ? Block::ready : Block::failed;
  block.pinned = pinned;
  if (index >= area.limit) let_go(area, index);
  stirred_.notify_all();
  return there;
}

void HostStore::fill_ahead() {
  std::unique_lock lock(mutex_);
  pins_.enter();
  while (!over_) {
    std::uint32_t next = 0;
    while (next < memory_.limit && memory_.blocks[next].state != Block::empty) ++next;
    if (paused_ || next >= memory_.limit) {
      stirred_.wait(lock);
      pins_.enter();
    } else {
      prepare(lock, memory_, next);
    }
  }
}

std::uint64_t HostStore::free_bytes(const Area& area) const {
  std::uint64_t pages = 0;
  for (std::uint32_t i = 0; i < area.limit; ++i) {
    if (area.blocks[i].state != Block::failed)
      pages += block_pages_ - static_cast<unsigned>(std::popcount(area.blocks[i].used));
  }
  // What is in use above the limit counts: a budget that was lowered is still a budget for all.
  const std::uint64_t most = area.limit * block_bytes_, used = used_bytes(area);
  return std::min(pages * kPageBytes, most > used ? most - used : 0);
}

// Takes up to `bytes`; says how many it got. Blocks that are ready come first.
std::uint64_t HostStore::take_from(std::unique_lock<std::mutex>& lock, Area& area, std::uint64_t bytes,
                                   std::vector<HostRun>* runs) {
  std::uint64_t got = 0;
  bytes = std::min(bytes, free_bytes(area));
  for (const bool ready : {true, false}) {
    for (std::uint32_t i = 0; i < area.limit && got < bytes; ++i) {
      if (std::popcount(area.blocks[i].used) == static_cast<int>(block_pages_) ||
          (area.blocks[i].state == Block::ready) != ready)
        continue;
      if (!ready && !prepare(lock, area, i)) continue;
      Block& block = area.blocks[i];
      for (unsigned page = 0; page < block_pages_ && got < bytes; ++page) {
        if ((block.used >> page & 1) != 0) continue;
        block.used = static_cast<std::uint16_t>(block.used | 1u << page);
        std::byte* const memory = area.memory + offset_of(i) + page * kPageBytes;
        HostRun* last = runs->empty() ? nullptr : &runs->back();
        if (last != nullptr && last->on_disk == area.on_disk && last->block == i &&
            last->memory + last->bytes == memory) {
          last->bytes += kPageBytes;
        } else {
          runs->push_back({memory, kPageBytes, i, area.on_disk});
        }
        got += kPageBytes;
      }
    }
  }
  (area.on_disk ? spilled_bytes_ : stored_bytes_) += got;
  return got;
}

std::optional<std::vector<HostRun>> HostStore::take(std::uint64_t bytes) {
  std::vector<HostRun> runs;
  std::unique_lock lock(mutex_);
  if (free_bytes(memory_) + free_bytes(disk_) < bytes) return std::nullopt;
  std::uint64_t got = take_from(lock, memory_, bytes, &runs);
  if (got < bytes) got += take_from(lock, disk_, bytes - got, &runs);
  lock.unlock();
  if (got == bytes) return runs;
  give_back(runs);
  return std::nullopt;
}

void HostStore::give_back(const std::vector<HostRun>& runs) {
  std::lock_guard lock(mutex_);
  for (const HostRun& run : runs) {
    Area& area = run.on_disk ? disk_ : memory_;
    const std::uint64_t first =
        static_cast<std::uint64_t>(run.memory - area.memory - offset_of(run.block)) / kPageBytes;
    const std::uint32_t pages = ((1u << run.bytes / kPageBytes) - 1) << first;
    area.blocks[run.block].used = static_cast<std::uint16_t>(area.blocks[run.block].used & ~pages);
    (run.on_disk ? spilled_bytes_ : stored_bytes_) -= run.bytes;
    // Room on disk is not kept ahead.
    if (run.on_disk || run.block >= area.limit) let_go(area, run.block);
  }
}

void HostStore::pause() {
  std::unique_lock lock(mutex_);
  paused_ = true;
  stirred_.wait(lock, [&] {
    return std::none_of(memory_.blocks.begin(), memory_.blocks.end(),
                        [](const Block& block) { return block.state == Block::preparing; });
  });
  for (std::uint32_t i = 0; i < memory_.blocks.size(); ++i) let_go(memory_, i);
}

void HostStore::resume() {
  std::lock_guard lock(mutex_);
  paused_ = false;
  stirred_.notify_all();
}

}  // namespace tfusion::replay
