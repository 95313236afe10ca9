// The shared account of GPU memory: see accounting.hpp.
#include "accounting.hpp"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "failure.hpp"

namespace tfusion::software::driver {

namespace {

constexpr std::uint64_t kMagic = 0x3150474e4f495355;  // changes when the layout does
constexpr std::size_t kSlots = 1024;

struct Slot {
  std::int64_t pid;          // 0 when free
  std::uint64_t start_time;  // clock ticks since boot; with the pid it names one process for ever
  std::uint64_t used_bytes;
};

struct ProcessState {
  bool alive;
  std::uint64_t start_time;
};

// Reads /proc/<pid>/stat. A zombie holds no memory any more and counts as gone.
ProcessState look_at(std::int64_t pid) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%lld/stat", static_cast<long long>(pid));
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {errno != ENOENT && errno != ESRCH, 0};
  char text[1024];
  const ssize_t length = read(descriptor, text, sizeof text - 1);
  close(descriptor);
  if (length <= 0) return {false, 0};
  text[length] = '\0';
  // The second field is the program's name in parentheses and may hold anything; count fields from its end.
  const char* field = strrchr(text, ')');
  if (field == nullptr) return {false, 0};
  char state = 0;
  long threads = 0;
  unsigned long long start_time = 0;
  if (std::sscanf(field + 1,
                  " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %*s %llu", &state,
                  &threads, &start_time) != 3) {
    return {false, 0};
  }
  // A leader that ended before its threads is a zombie with threads left.
  const bool gone = (state == 'Z' || state == 'X') && threads <= 1;
  return {!gone, start_time};
}

Failure unusable(const std::string& path, const std::string& what) {
  return Failure(CUDA_ERROR_SYSTEM_NOT_READY,
                 "The state file " + path + " of the software GPU cannot be used: " + what +
                     ". Set TFUSION_SOFTWARE_STATE to a path that this user may write.");
}

// Without a file every process has a GPU of its own; the number is the same in all, as for one model of a
// machine.
constexpr std::array<unsigned char, 16> kPrivateUuid = {'t',  'f', 'u', 's', 'i', 'o', 0x4e, 0x2d,
                                                        0x80, 's', 'o', 'f', 't', 'g', 'p',  'u'};

}  // namespace

struct Accounting::File {
  std::uint64_t magic;
  std::uint64_t bytes;
  unsigned char uuid[16];
  pthread_mutex_t mutex;
  Slot slots[kSlots];
};

class Accounting::Lock {
 public:
  explicit Lock(File& file) noexcept : file_(file) {
    // A holder that died left each word either old or new, and any mixture of them is a valid table.
    if (pthread_mutex_lock(&file_.mutex) == EOWNERDEAD) pthread_mutex_consistent(&file_.mutex);
  }
  ~Lock() { pthread_mutex_unlock(&file_.mutex); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  File& file_;
};

Accounting::Accounting(std::size_t total_bytes, const std::string& path)
    : total_bytes_(total_bytes), uuid_(kPrivateUuid) {
  void* memory = MAP_FAILED;
  bool fresh = path.empty();
  int descriptor = -1;
  struct Closer {
    int& descriptor;
    ~Closer() {
      if (descriptor < 0) return;
      flock(descriptor, LOCK_UN);  // the mapping keeps the file open, and with it the lock
      close(descriptor);
    }
  } closer{descriptor};
  if (path.empty()) {
    memory = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
  } else {
    descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) throw unusable(path, strerror(errno));
    while (flock(descriptor, LOCK_EX) != 0) {
      if (errno != EINTR) throw unusable(path, strerror(errno));
    }
    struct stat status{};
    if (fstat(descriptor, &status) != 0) throw unusable(path, strerror(errno));
    fresh = status.st_size == 0;
    if (fresh && ftruncate(descriptor, sizeof(File)) != 0) throw unusable(path, strerror(errno));
    if (!fresh && status.st_size != static_cast<off_t>(sizeof(File)))
      throw unusable(path, "it is of another kind");
    memory = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) throw unusable(path, strerror(errno));
  }
  file_ = static_cast<File*>(memory);
  // The magic is written last: a creator that died half way leaves a file that the next one completes.
  if (fresh || file_->magic == 0) {
    if (path.empty()) {
      memcpy(file_->uuid, kPrivateUuid.data(), kPrivateUuid.size());
    } else if (getrandom(file_->uuid, sizeof file_->uuid, 0) != sizeof file_->uuid) {
      munmap(memory, sizeof(File));
      throw unusable(path, "no random bytes could be had");
    } else {
      file_->uuid[6] = static_cast<unsigned char>((file_->uuid[6] & 0x0f) | 0x40);  // RFC 9562, version 4
      file_->uuid[8] = static_cast<unsigned char>((file_->uuid[8] & 0x3f) | 0x80);
    }
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&file_->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    file_->bytes = sizeof(File);
    file_->magic = kMagic;
  }
  if (file_->magic != kMagic || file_->bytes != sizeof(File)) {
    munmap(memory, sizeof(File));
    throw unusable(path, "it is of another kind");
  }
  memcpy(uuid_.data(), file_->uuid, uuid_.size());

  const Lock lock(*file_);
  reclaim(lock);
  std::size_t index = 0;
  while (index < kSlots && file_->slots[index].pid != 0) ++index;
  if (index == kSlots) throw unusable(path, "1024 processes share this GPU already");
  slot_ = index;
  Slot& slot = file_->slots[slot_];
  slot.used_bytes = 0;
  slot.start_time = look_at(getpid()).start_time;
  slot.pid = getpid();
}

bool Accounting::charge(std::size_t bytes) noexcept {
  if (bytes == 0) return true;
  const Lock lock(*file_);
  const auto fits = [&] {
    const std::size_t used = used_bytes(lock);
    return used <= total_bytes_ && bytes <= total_bytes_ - used;
  };
  if (!fits()) {
    reclaim(lock);
    if (!fits()) return false;
  }
  file_->slots[slot_].used_bytes += bytes;
  return true;
}

void Accounting::refund(std::size_t bytes) noexcept {
  const Lock lock(*file_);
  file_->slots[slot_].used_bytes -= bytes;
}

std::size_t Accounting::free_bytes() noexcept {
  const Lock lock(*file_);
  reclaim(lock);
  const std::size_t used = used_bytes(lock);
  return used < total_bytes_ ? total_bytes_ - used : 0;
}

std::size_t Accounting::used_bytes(const Lock&) const noexcept {
  std::size_t sum = 0;
  for (const Slot& slot : file_->slots) {
    if (slot.pid != 0 && __builtin_add_overflow(sum, slot.used_bytes, &sum)) return ~std::size_t{0};
  }
  return sum;
}

void Accounting::reclaim(const Lock&) noexcept {
  for (std::size_t index = 0; index < kSlots; ++index) {
    Slot& slot = file_->slots[index];
    if (slot.pid == 0 || index == slot_) continue;
    const ProcessState state = look_at(slot.pid);
    if (!state.alive || (state.start_time != 0 && state.start_time != slot.start_time)) {
      slot.pid = 0;
      slot.used_bytes = 0;
    }
  }
}

}  // namespace tfusion::software::driver
