// Texture and surface objects of the software GPU: what each one is, and the table in which kernels look them
// up.
//
// The driver (driver/texture.cpp) makes and ends objects; the executor (ptx/texture_unit.cpp) reads through
// them. A program's kernels may hand over any 64 bits for an object: find() says whether it is one. Objects
// are added at any time; they end between two kernels (the driver's queue thread), so a reader needs no lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace tfusion::software {

enum class Channel : std::uint8_t { u8, u16, u32, s8, s16, s32, f16, f32 };

constexpr std::uint32_t channel_bytes(Channel channel) {
  switch (channel) {
    case Channel::u8:
    case Channel::s8:
      return 1;
    case Channel::u16:
    case Channel::s16:
    case Channel::f16:
      return 2;
    default:
      return 4;
  }
}

// One level of an image in device memory, its texels in rows. An image of fewer dimensions has 1 in the
// others.
struct ImageLevel {
  std::uint64_t base = 0;
  std::uint32_t width = 1;   // texels
  std::uint32_t height = 1;  // rows
  std::uint32_t depth = 1;   // planes, or layers
  std::uint64_t pitch = 0;   // bytes from row to row
  std::uint64_t slice = 0;   // bytes from plane to plane
};

enum class Addressing : std::uint8_t { wrap, clamp, mirror, border };

struct TextureObject {
  bool surface = false;
  bool layered = false;        // depth counts layers: it is not filtered over
  bool linear_memory = false;  // a texel beyond its end reads as zero
  Channel channel = Channel::f32;
  std::uint8_t channels = 1;
  std::vector<ImageLevel> levels;  // at least one; a surface uses the first

  // How a texture is sampled.
  Addressing addressing[3] = {Addressing::clamp, Addressing::clamp, Addressing::clamp};
  bool linear_filter = false;
  bool linear_levels = false;  // the filter between mipmap levels
  bool normalised_coordinates = false;
  bool normalised_values = false;  // integers of 8 and 16 bits read as 0 .. 1 or -1 .. 1
  float level_bias = 0;
  float least_level = 0;
  float greatest_level = 0;
  float border[4] = {0, 0, 0, 0};

  std::uint64_t value = 0;  // what kernels name it by

  std::uint32_t texel_bytes() const { return channel_bytes(channel) * channels; }
};

class TextureTable {
 public:
  static constexpr std::uint32_t kMostObjects = 1u << 20;

  TextureTable() = default;
  TextureTable(const TextureTable&) = delete;
  TextureTable& operator=(const TextureTable&) = delete;
  ~TextureTable();

  // The object's value, never 0 and not soon used again; 0 if there are too many objects.
  std::uint64_t add(std::unique_ptr<TextureObject> object);

  // nullptr if the value names none. Safe for any value.
  const TextureObject* find(std::uint64_t value) const noexcept {
    const std::uint64_t index = value & (kMostObjects - 1);
    const Chunk* chunk = chunks_[index / kChunk].load(std::memory_order_acquire);
    if (chunk == nullptr) return nullptr;
    const TextureObject* object = (*chunk)[index % kChunk].load(std::memory_order_acquire);
    return object != nullptr && object->value == value ? object : nullptr;
  }

  // Ends the object. Precondition: find(value) is not nullptr, and no kernel runs that may use it.
  void remove(std::uint64_t value) noexcept;

 private:
  static constexpr std::uint32_t kChunk = 1024;
  using Chunk = std::array<std::atomic<TextureObject*>, kChunk>;

  mutable std::mutex mutex_;  // of what follows; readers take only the atomics
  std::array<std::atomic<Chunk*>, kMostObjects / kChunk> chunks_{};
  std::vector<std::uint32_t> free_;
  std::uint32_t used_ = 1;  // index 0 is never given out
  std::uint64_t next_generation_ = 0;
};

}  // namespace tfusion::software
