// The decoder's fuzz target: the bytes of an input stand in the command ring, a Session replays them on
// driver.cpp.
//
// What must hold whatever the bytes are: no crash and no finding of a sanitizer; the driver's rules are kept
// (it aborts otherwise); the session ends with a reason that is known and a sentence; every reply slot is
// done, so that no client thread waits for ever; and the account holds no more than its limit.
//
// Built with libFuzzer, or with loop.cpp where there is none. Environment: TFUSION_FUZZ_DRIVER, the path of
// driver.cpp's library; TFUSION_FUZZ_SEEDS, a folder to write the seed corpus into instead of fuzzing.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "commands.hpp"
#include "grammar.hpp"
#include "replay/account.hpp"
#include "replay/device.hpp"
#include "replay/image_cache.hpp"
#include "replay/session.hpp"

using namespace tfusion;

namespace {

constexpr std::uint64_t kLimitBytes = 24ull << 20;
constexpr std::size_t kMaxInput = 256 * 1024;

[[noreturn]] void broken(const char* rule, const std::string& detail) {
  std::fprintf(stderr, "decoder: %s: %s\n", rule, detail.c_str());
  std::abort();
}

// What one process has of everything; sessions come and go.
struct World {
  std::string cache;
  std::unique_ptr<replay::Device> device;
  int account = -1;
  void (*begin)(std::uint64_t seed, std::uint64_t staging) = nullptr;
};

World& world() {
  static World& the = *new World([] {
    World made;
    const char* driver = std::getenv("TFUSION_FUZZ_DRIVER");
    if (driver == nullptr) broken("TFUSION_FUZZ_DRIVER is not set", "run tests/fuzz/run.py");
    std::string folder =
        (std::filesystem::temp_directory_path() / "images-XXXXXX").string();  // run.py removes it
    if (mkdtemp(folder.data()) == nullptr) broken("no folder for the image cache", folder);
    made.cache = folder;
    replay::ImageCache cache(folder);
    for (std::size_t i = 0; i < fuzz::kStored; ++i) {
      const fuzz::KnownImage& image = fuzz::images()[i];
      if (cache.store(image.digest, image.bytes.size(), 0, image.bytes) !=
          replay::ImageCache::Stored::complete) {
        broken("an image could not be stored in", folder);
      }
    }
    made.device = std::make_unique<replay::Device>(driver, 0);
    void* library = dlopen(driver, RTLD_NOW | RTLD_NOLOAD);
    made.begin = reinterpret_cast<decltype(made.begin)>(dlsym(library, "fuzz_driver_begin"));
    made.account = memfd_create("account", MFD_CLOEXEC);
    if (made.begin == nullptr || made.account < 0 || ftruncate(made.account, 4096) != 0)
      broken("no driver or account", driver);
    return made;
  }());
  return the;
}

// A ring with the input at its start, and behind it what ends every session: words that are no command, far
// enough that no command can reach past them.
void fill_ring(const protocol::SharedMemory& shared, const std::uint8_t* data, std::size_t size) {
  new (shared.base) protocol::Control{};
  for (std::uint32_t i = 0; i < protocol::kReplySlots; ++i)
    shared.slot(i).state.store(protocol::ReplySlot::kIdle);
  for (std::uint32_t i = 0; i < protocol::kUpChunks; ++i) {
    const fuzz::Bytes& content = fuzz::images()[i % fuzz::images().size()].bytes;
    std::memcpy(shared.chunk(i), content.data(), content.size());
  }
  size -= size % 8;
  if (size > 0) std::memcpy(shared.ring(), data, size);
  const std::uint64_t end_word = 8 | std::uint64_t{0xffff} << 32;
  const std::size_t published = size + wire::kMaxCommandBytes + 8;
  for (std::size_t at = size; at < published; at += 8)
    std::memcpy(shared.ring() + at, &end_word, sizeof end_word);
  shared.control().head.store(published);
}

void check(const replay::Ending& ending, const protocol::SharedMemory& shared,
           const replay::SliceAccount& account) {
  if (ending.reason != "protocol_error" && ending.reason != "device_error")
    broken("an unknown reason", ending.reason);
  if (ending.detail.size() < 20 || ending.detail.back() != '.') broken("not a sentence", ending.detail);
  const protocol::WorkerStatus& status = shared.control().status;
  if (status.state.load() != static_cast<std::uint32_t>(protocol::SessionState::ended))
    broken("not told as ended", ending.detail);
  if (ending.detail.compare(0, sizeof status.reason - 1, status.reason) != 0)
    broken("the client reads another reason", status.reason);
  for (std::uint32_t i = 0; i < protocol::kReplySlots; ++i) {
    if (shared.slot(i).state.load() != protocol::ReplySlot::kDone)
      broken("a reply that never comes", std::to_string(i));
    if (shared.slot(i).payload_bytes > protocol::kReplyPayloadBytes)
      broken("a reply larger than its slot", std::to_string(i));
  }
  if (account.mine() > kLimitBytes) broken("more memory than the limit", std::to_string(account.mine()));
}

void write_seeds(const std::string& folder) {
  fuzz::Random random(1);
  std::vector<fuzz::Bytes> seeds = fuzz::one_of_each(random);
  for (int i = 0; i < 16; ++i) seeds.push_back(fuzz::generate(random, 40));
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    std::ofstream(folder + "/seed-" + std::to_string(i), std::ios::binary)
        .write(reinterpret_cast<const char*>(seeds[i].data()), static_cast<std::streamsize>(seeds[i].size()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (const char* folder = std::getenv("TFUSION_FUZZ_SEEDS"); folder != nullptr) {
    write_seeds(folder);
    std::exit(0);
  }
  world();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > kMaxInput) return -1;
  World& w = world();
  const protocol::SharedMemory shared = w.device->shared();
  fill_ring(shared, data, size);
  w.begin(size > 0 ? size * 1000 + data[size / 2] : 1,
          reinterpret_cast<std::uint64_t>(shared.base + protocol::kSlotsOffset));
  if (ftruncate(w.account, 0) != 0 || ftruncate(w.account, 4096) != 0)
    broken("the account cannot be cleared", "");
  replay::SliceAccount account(w.account, 3, kLimitBytes);
  replay::Turn turn;
  replay::Session session(*w.device, account, turn, w.cache);
  check(session.run(), shared, account);
  return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most,
                                               unsigned seed) {
  fuzz::Random random(seed);
  if (random.one_in(12) && size > 0) return LLVMFuzzerMutate(data, size, most);
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  fuzz::Bytes changed(bytes, bytes + size);
  for (std::uint64_t steps = 1 + random.below(4); steps > 0; --steps) changed = fuzz::mutate(changed, random);
  const std::size_t kept = std::min(changed.size(), most);
  std::memcpy(data, changed.data(), kept);
  return kept;
}
