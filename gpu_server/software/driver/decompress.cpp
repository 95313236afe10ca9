// Decompression of fatbin entries: LZ4 here, zstd by libzstd if the build found it.
#include "decompress.hpp"

#include "failure.hpp"

#ifdef TFUSION_WITH_ZSTD
#include <zstd.h>
#endif

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

#ifdef TFUSION_WITH_ZSTD
std::string decompress_zstd(std::span<const unsigned char> frame, std::size_t bytes) {
  std::string text(bytes, '\0');
  const std::size_t result = ZSTD_decompress(text.data(), text.size(), frame.data(), frame.size());
  if (ZSTD_isError(result)) throw damaged(ZSTD_getErrorName(result));
  if (result != bytes) throw damaged("it is shorter than it says");
  return text;
}
#else
std::string decompress_zstd(std::span<const unsigned char>, std::size_t) {
  throw Failure(
      CUDA_ERROR_NO_BINARY_FOR_GPU,
      "The PTX of this fatbin is compressed with zstd, and this software GPU was built without libzstd. "
      "Compile with nvcc --no-compress or -Xfatbin --compress-mode=speed, or build the software GPU with "
      "libzstd's headers installed (libzstd-dev).");
}
#endif

}  // namespace tfusion::software::driver
