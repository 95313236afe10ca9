#include "image_format.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>

namespace tfusion::protocol {

namespace {

// The container formats, as measured: a wrapper that points to a header, which tells its own size and the
// payload's.
constexpr std::uint8_t kWrapperMagic[4] = {0xb1, 0x43, 0x62, 0x46};
constexpr std::uint8_t kFatbinMagic[4] = {0x50, 0xed, 0x55, 0xba};
constexpr std::size_t kWrapperPointerOffset = 8;

struct FatbinHeader {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t header_bytes;
  std::uint64_t payload_bytes;
};

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Byte by byte until it differs: a short text may end where a magic number would go on.
template <std::size_t N, typename Byte>
bool begins_with(const std::byte* image, std::uint64_t available, const Byte (&magic)[N]) {
  if (available < N) return false;
  for (std::size_t i = 0; i < N; ++i) {
    if (static_cast<std::uint8_t>(image[i]) != static_cast<std::uint8_t>(magic[i])) return false;
  }
  return true;
}

// start + bytes if it stays within `available`, else 0.
std::uint64_t end_of(std::uint64_t start, std::uint64_t bytes, std::uint64_t available) {
  return start <= available && bytes <= available - start ? start + bytes : 0;
}

std::uint64_t elf_bytes(const std::byte* image, std::uint64_t available) {
  if (available < sizeof(Elf64_Ehdr)) return 0;
  const auto header = load<Elf64_Ehdr>(image);
  const std::uint64_t section_bytes = std::uint64_t{header.e_shnum} * header.e_shentsize;
  const std::uint64_t program_bytes = std::uint64_t{header.e_phnum} * header.e_phentsize;
  const std::uint64_t sections_end = end_of(header.e_shoff, section_bytes, available);
  const std::uint64_t programs_end = end_of(header.e_phoff, program_bytes, available);
  if ((header.e_shnum > 0 && (sections_end == 0 || header.e_shentsize < sizeof(Elf64_Shdr))) ||
      (header.e_phnum > 0 && programs_end == 0)) {
    return 0;
  }
  std::uint64_t end = std::max<std::uint64_t>(
      {sizeof header, header.e_shnum > 0 ? sections_end : 0, header.e_phnum > 0 ? programs_end : 0});
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    const auto section = load<Elf64_Shdr>(image + header.e_shoff + std::uint64_t{i} * header.e_shentsize);
    if (section.sh_type == SHT_NOBITS || section.sh_size == 0) continue;
    const std::uint64_t section_end = end_of(section.sh_offset, section.sh_size, available);
    if (section_end == 0) return 0;
    end = std::max(end, section_end);
  }
  return end;
}

}  // namespace

const std::byte* unwrap_fatbin(const std::byte* image) {
  if (!begins_with(image, sizeof kWrapperMagic, kWrapperMagic)) return image;
  return reinterpret_cast<const std::byte*>(load<std::uintptr_t>(image + kWrapperPointerOffset));
}

std::uint64_t image_bytes(const std::byte* image, std::uint64_t available) {
  if (available == 0 || image[0] == std::byte{0}) return 0;
  if (begins_with(image, available, kFatbinMagic)) {
    if (available < sizeof(FatbinHeader)) return 0;
    const auto header = load<FatbinHeader>(image);
    if (header.header_bytes < sizeof header) return 0;
    return end_of(header.header_bytes, header.payload_bytes, available);
  }
  if (image[0] == std::byte{ELFMAG0}) {
    constexpr char kElfMagic[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3};
    return begins_with(image, available, kElfMagic) ? elf_bytes(image, available) : 0;
  }
  const std::uint64_t length = strnlen(reinterpret_cast<const char*>(image), available);
  return length < available ? length + 1 : 0;
}

}  // namespace tfusion::protocol
