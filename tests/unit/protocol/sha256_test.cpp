// SHA-256 against the vectors of FIPS 180-4 and of NIST's CAVP. Built twice: with the SHA instructions where
// the processor has them, and without (TFUSION_SHA256_PORTABLE). digests.cpp compares many more lengths with
// Python's.
#include "protocol/sha256.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "check.hpp"

using tfusion::protocol::Digest;
using tfusion::protocol::Sha256;

namespace {

std::string hex(const Digest& digest) {
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

TEST(vectors) {
  const std::pair<std::string, const char*> vectors[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopq"
       "rstnopqrstu",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {std::string(1, '\xd3'), "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"},
      {std::string(1'000'000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const auto& [message, digest] : vectors)
    CHECK_EQ(hex(tfusion::protocol::sha256(bytes(message))), digest);
}

TEST(pieces_of_any_size_give_the_same) {
  std::string message;
  for (int i = 0; i < 1000; ++i) message += static_cast<char>(i * 7 + i / 64);
  const Digest whole = tfusion::protocol::sha256(bytes(message));
  for (std::size_t step = 1; step <= 200; ++step) {
    Sha256 hash;
    for (std::size_t at = 0; at < message.size(); at += step) {
      hash.update(bytes(std::string_view(message).substr(at, step)));
      hash.update({});
    }
    CHECK(hash.finish() == whole);
  }
}

TEST(unaligned_memory) {
  const std::string text(300, 'x');
  const Digest expected = tfusion::protocol::sha256(bytes(text));
  for (std::size_t shift = 0; shift < 16; ++shift) {
    std::vector<char> memory(shift + text.size());
    std::copy(text.begin(), text.end(), memory.begin() + static_cast<std::ptrdiff_t>(shift));
    CHECK(tfusion::protocol::sha256(bytes({memory.data() + shift, text.size()})) == expected);
  }
}
