// Module images: see image.hpp.
#include "image.hpp"

#include <string.h>

#include <cctype>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "device.hpp"
#include "fatbin.hpp"

namespace tfusion::software::driver {

namespace {

// Our linked image is a fatbin whose payload is: this magic, u32 version, u32 count of texts, u64 bytes of
// the payload; then each text as u64 bytes, text. A fatbin, because whoever passes images on finds their end
// by its header.
constexpr char kLinkedMagic[8] = {'T', 'F', 'S', 'W', 'L', 'I', 'N', 'K'};
constexpr std::uint32_t kLinkedVersion = 1;
constexpr std::size_t kLinkedHeaderBytes = 24;
constexpr std::uint16_t kFatbinVersion = 1;
constexpr std::uint16_t kFatbinHeaderBytes = 16;
constexpr std::uint32_t kElfMagic = 0x464c457f;

template <class Value>
Value read(const unsigned char* bytes) {
  Value value;
  memcpy(&value, bytes, sizeof value);
  return value;
}

Failure not_an_image() {
  return Failure(CUDA_ERROR_INVALID_IMAGE,
                 "The image is neither PTX text, nor a fatbin, nor a linked image.");
}

// Cuts a text at its first NUL: fatbins pad theirs.
std::string until_nul(std::string text) {
  if (const std::size_t end = text.find('\0'); end != std::string::npos) text.resize(end);
  return text;
}

std::vector<std::string> ptx_of_linked_image(std::span<const unsigned char> image) {
  const Failure damaged(CUDA_ERROR_INVALID_IMAGE, "The linked image is damaged.");
  if (image.size() < kLinkedHeaderBytes || read<std::uint32_t>(image.data() + 8) != kLinkedVersion)
    throw damaged;
  const auto count = read<std::uint32_t>(image.data() + 12);
  const auto bytes = read<std::uint64_t>(image.data() + 16);
  if (bytes < kLinkedHeaderBytes || bytes > image.size()) throw damaged;
  std::span<const unsigned char> rest =
      image.first(static_cast<std::size_t>(bytes)).subspan(kLinkedHeaderBytes);
  std::vector<std::string> texts;
  for (std::uint32_t index = 0; index < count; ++index) {
    if (rest.size() < 8) throw damaged;
    const auto length = read<std::uint64_t>(rest.data());
    rest = rest.subspan(8);
    if (length > rest.size()) throw damaged;
    texts.emplace_back(reinterpret_cast<const char*>(rest.data()), static_cast<std::size_t>(length));
    rest = rest.subspan(static_cast<std::size_t>(length));
  }
  if (texts.empty() || !rest.empty()) throw damaged;
  return texts;
}

// The bytes of an image by its own word.
std::size_t claimed_bytes(const unsigned char* image) {
  if (read<std::uint32_t>(image) == kFatbinMagic) return fatbin_bytes(image);
  return strlen(reinterpret_cast<const char*>(image));
}

// What begins like text of the PTX language: white space, a comment or a directive.
bool looks_like_ptx(std::string_view text) {
  for (const char each : text) {
    if (std::isspace(static_cast<unsigned char>(each))) continue;
    return each == '/' || each == '.';
  }
  return false;
}

// The next word of PTX after white space and comments; empty at the end.
std::string_view next_word(std::string_view& rest) {
  for (;;) {
    while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.front()))) rest.remove_prefix(1);
    std::size_t skip = 0;
    if (rest.starts_with("//")) {
      skip = rest.find('\n');
    } else if (rest.starts_with("/*")) {
      skip = rest.find("*/");
    } else {
      break;
    }
    if (skip == std::string_view::npos) return rest = {};
    rest.remove_prefix(skip + (rest.starts_with("/*") ? 2 : 1));
  }
  std::size_t length = 0;
  while (length < rest.size() && !std::isspace(static_cast<unsigned char>(rest[length])) &&
         rest[length] != ',' && rest[length] != '/') {
    ++length;
  }
  const std::string_view word = rest.substr(0, length);
  rest.remove_prefix(length);
  return word;
}

// The decimal number that `text` begins with, taken off it; -1 if there is none.
int take_number(std::string_view& text) {
  int value = -1;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9' && value < 100'000) {
    value = (value < 0 ? 0 : value) * 10 + (text.front() - '0');
    text.remove_prefix(1);
  }
  return value;
}

}  // namespace

std::vector<std::string> ptx_of_image(const void* image, std::size_t size) {
  const std::span<const unsigned char> bytes(static_cast<const unsigned char*>(image), size);
  std::vector<std::string> texts;
  if (bytes.size() >= kFatbinHeaderBytes + kLinkedHeaderBytes &&
      read<std::uint32_t>(bytes.data()) == kFatbinMagic &&
      memcmp(bytes.data() + kFatbinHeaderBytes, kLinkedMagic, sizeof kLinkedMagic) == 0) {
    texts = ptx_of_linked_image(bytes.subspan(kFatbinHeaderBytes));
  } else if (bytes.size() >= 4 && read<std::uint32_t>(bytes.data()) == kFatbinMagic) {
    texts.push_back(until_nul(ptx_of_fatbin(bytes)));
  } else if (bytes.size() >= 4 && read<std::uint32_t>(bytes.data()) == kElfMagic) {
    throw Failure(CUDA_ERROR_NO_BINARY_FOR_GPU,
                  "The image is machine code of an NVIDIA GPU; the software GPU runs PTX. Compile with "
                  "-gencode arch=compute_75,code=compute_75, or nvcc --ptx.");
  } else {
    texts.push_back(until_nul({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
    if (!looks_like_ptx(texts.back())) throw not_an_image();
  }
  for (const std::string& text : texts) require_suitable(text);
  return texts;
}

std::vector<std::string> ptx_of_image(const void* image) {
  if (image == nullptr) throw Failure(CUDA_ERROR_INVALID_VALUE);
  const auto* bytes = static_cast<const unsigned char*>(image);
  // Read byte by byte until it differs: a short text may end before a magic number would.
  const auto begins_with = [&](std::uint32_t magic) {
    for (unsigned index = 0; index < 4; ++index) {
      if (bytes[index] != static_cast<unsigned char>(magic >> (8 * index))) return false;
    }
    return true;
  };
  if (begins_with(kElfMagic)) return ptx_of_image(image, 4);
  if (begins_with(kFatbinWrapperMagic)) {
    const auto* container = reinterpret_cast<const unsigned char*>(read<std::uint64_t>(bytes + 8));
    if (container == nullptr) throw not_an_image();
    return ptx_of_image(container, fatbin_bytes(container));
  }
  return ptx_of_image(image, claimed_bytes(bytes));
}

std::vector<unsigned char> make_linked_image(const std::vector<std::string>& texts) {
  std::vector<unsigned char> image;
  const auto put = [&](const void* bytes, std::size_t count) {
    const auto* first = static_cast<const unsigned char*>(bytes);
    image.insert(image.end(), first, first + count);
  };
  std::uint64_t total = kLinkedHeaderBytes;
  for (const std::string& text : texts) total += 8 + text.size();
  const auto count = static_cast<std::uint32_t>(texts.size());
  put(&kFatbinMagic, sizeof kFatbinMagic);
  put(&kFatbinVersion, sizeof kFatbinVersion);
  put(&kFatbinHeaderBytes, sizeof kFatbinHeaderBytes);
  put(&total, sizeof total);
  put(kLinkedMagic, sizeof kLinkedMagic);
  put(&kLinkedVersion, sizeof kLinkedVersion);
  put(&count, sizeof count);
  put(&total, sizeof total);
  for (const std::string& text : texts) {
    const std::uint64_t length = text.size();
    put(&length, sizeof length);
    put(text.data(), text.size());
  }
  return image;
}

void require_suitable(const std::string& ptx) {
  std::string_view rest = ptx;
  if (next_word(rest) != ".version") return;
  std::string_view version = next_word(rest);
  const std::string asked(version);
  const int major = take_number(version);
  if (version.starts_with('.')) version.remove_prefix(1);
  const int minor = take_number(version);
  if (major > kMaxPtxMajor || (major == kMaxPtxMajor && minor > kMaxPtxMinor)) {
    throw Failure(CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
                  "The PTX is of version " + asked + "; the software GPU knows versions up to " +
                      std::to_string(kMaxPtxMajor) + "." + std::to_string(kMaxPtxMinor) +
                      ". Compile with an older CUDA toolkit.");
  }
  if (next_word(rest) != ".target") return;
  std::string_view target = next_word(rest);
  const std::string target_name(target);
  if (!target.starts_with("sm_")) return;
  target.remove_prefix(3);
  if (take_number(target) > static_cast<int>(kComputeCapability)) {
    throw Failure(CUDA_ERROR_INVALID_PTX, "The PTX was made for " + target_name +
                                              "; the software GPU has compute capability 7.5. Compile " +
                                              "with -arch=compute_75 or lower.");
  }
}

}  // namespace tfusion::software::driver
