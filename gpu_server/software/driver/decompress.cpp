// Decompression of fatbin entries: LZ4 here, zstd by the host's libzstd.
//
// libzstd is opened when the first such entry comes: nvcc 12.8 and later compress with it, and every Linux
// has the library, but few have its headers, so that a build which needed them would lack it on most
// machines.
#include "decompress.hpp"

#include <dlfcn.h>

#include "failure.hpp"

namespace tfusion::software::driver {

namespace {

Failure damaged(const char* what) {
  return Failure(CUDA_ERROR_INVALID_IMAGE,
                 std::string("A compressed fatbin entry is damaged: ") + what + ".");
}

class Lz4Input {
 public:
  explicit Lz4Input(std::span<const unsigned char> block) : rest_(block) {}

  bool empty() const { return rest_.empty(); }
  std::size_t byte() {
    if (rest_.empty()) throw damaged("it ends too early");
    const std::size_t value = rest_.front();
    rest_ = rest_.subspan(1);
    return value;
  }
  std::span<const unsigned char> take(std::size_t count) {
    if (count > rest_.size()) throw damaged("it ends too early");
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  // A length whose four bits in the token are all set goes on in bytes, the last of which is below 255.
  // `limit` is the most that the output still takes, so the sum cannot overflow.
  std::size_t length(std::size_t nibble, std::size_t limit) {
    std::size_t sum = nibble;
    if (nibble != 15) return sum;
    for (std::size_t more = 255; more == 255;) {
      more = byte();
      sum += more;
      if (sum > limit) throw damaged("a length goes past its end");
    }
    return sum;
  }

 private:
  std::span<const unsigned char> rest_;
};

// The part of libzstd's stable interface that is needed here (zstd.h, "Simple Core API").
struct Zstd {
  std::size_t (*decompress)(void* to, std::size_t capacity, const void* from, std::size_t bytes) = nullptr;
  unsigned (*is_error)(std::size_t result) = nullptr;
  const char* (*error_name)(std::size_t result) = nullptr;
};

template <typename Function>
bool find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

// Opened once, never closed. Throws where the host has no libzstd.
const Zstd& the_zstd() {
  static const Zstd found = [] {
    Zstd zstd;
    void* library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr || !find(library, "ZSTD_decompress", &zstd.decompress) ||
        !find(library, "ZSTD_isError", &zstd.is_error) ||
        !find(library, "ZSTD_getErrorName", &zstd.error_name)) {
      throw Failure(
          CUDA_ERROR_NO_BINARY_FOR_GPU,
          "The PTX of this fatbin is compressed with zstd, and this host has no libzstd.so.1. Install it "
          "(on Debian and Ubuntu: libzstd1), or compile with nvcc --no-compress.");
    }
    return zstd;
  }();
  return found;
}

}  // namespace

std::string decompress_lz4(std::span<const unsigned char> block, std::size_t bytes) {
  constexpr std::size_t kMinMatch = 4;
  std::string text;
  text.reserve(bytes);
  Lz4Input input(block);
  while (!input.empty()) {
    const std::size_t token = input.byte();
    const std::size_t literals = input.length(token >> 4, bytes);
    if (literals > bytes - text.size()) throw damaged("it is longer than it says");
    const auto literal = input.take(literals);
    text.append(reinterpret_cast<const char*>(literal.data()), literal.size());
    if (input.empty()) break;  // the last sequence has no match
    const std::size_t low = input.byte();
    const std::size_t distance = low | input.byte() << 8;
    if (distance == 0 || distance > text.size()) throw damaged("a match begins before its start");
    const std::size_t match = input.length(token & 15, bytes) + kMinMatch;
    if (match > bytes - text.size()) throw damaged("it is longer than it says");
    for (std::size_t copied = 0; copied < match; ++copied) text.push_back(text[text.size() - distance]);
  }
  if (text.size() != bytes) throw damaged("it is shorter than it says");
  return text;
}

std::string decompress_zstd(std::span<const unsigned char> frame, std::size_t bytes) {
  const Zstd& zstd = the_zstd();
  std::string text(bytes, '\0');
  const std::size_t result = zstd.decompress(text.data(), text.size(), frame.data(), frame.size());
  if (zstd.is_error(result) != 0) throw damaged(zstd.error_name(result));
  if (result != bytes) throw damaged("it is shorter than it says");
  return text;
}

}  // namespace tfusion::software::driver
