// Texture fetches: see texture_unit.hpp.
//
// The filter's weights are fixed-point numbers of eight fractional bits, as a GPU's are; each coordinate is
// rounded to the nearest 256th of a texel. Texels are converted to floats first and weighted in single
// precision.
#include "texture_unit.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lane_includes.hpp"

#define TFUSION_LANES lanes_textures
#include "lane_formats.hpp"

namespace tfusion::software::ptx {

namespace {

constexpr double kFarAway = 1 << 30;  // beyond any image; keeps coordinates within integers

struct Colour {
  float channel[4] = {0, 0, 0, 0};
};

// A texel's place on one axis.
struct Place {
  std::int64_t first = 0;
  std::uint32_t weight = 0;  // of the texel after `first`, in 256ths
};

bool reads_floats(const TextureObject& t) {
  return t.channel == Channel::f32 || t.channel == Channel::f16 || t.normalised_values;
}

double unnormalised(double x, std::uint32_t size, Addressing mode) {
  if (mode == Addressing::wrap) return (x - std::floor(x)) * size;
  if (mode == Addressing::mirror) {
    const double whole = std::floor(x);
    const double part = x - whole;
    return (std::fmod(whole, 2) == 0 ? part : 1 - part) * size;
  }
  return x * size;
}

Place place(double x, bool filter) {
  if (std::isnan(x)) x = 0;
  x = std::clamp(x, -kFarAway, kFarAway);
  if (!filter) return {static_cast<std::int64_t>(std::floor(x)), 0};
  const auto fixed = static_cast<std::int64_t>(std::floor(x * 256 - 128 + 0.5));
  return {fixed >> 8, static_cast<std::uint32_t>(fixed & 255)};
}

// The texel that an index outside of the image stands for; false: the border.
bool inside(std::int64_t& index, std::uint32_t size, Addressing mode) {
  const auto n = static_cast<std::int64_t>(size);
  if (index >= 0 && index < n) return true;
  switch (mode) {
    case Addressing::border:
      return false;
    case Addressing::clamp:
      index = index < 0 ? 0 : n - 1;
      return true;
    case Addressing::wrap:
      index = ((index % n) + n) % n;
      return true;
    case Addressing::mirror:
      index = ((index % (2 * n)) + 2 * n) % (2 * n);
      if (index >= n) index = 2 * n - 1 - index;
      return true;
  }
  return false;
}

class Fetch {
 public:
  Fetch(const TextureObject& texture, const AddressSpace& memory, const ImageLevel& level)
      : texture_(texture), memory_(memory), level_(level) {}

  // The raw channels of a texel. Precondition: inside the image.
  void raw(std::int64_t x, std::int64_t y, std::int64_t z, std::byte (&texel)[16]) const {
    const std::uint32_t bytes = texture_.texel_bytes();
    const std::uint64_t address = level_.base + static_cast<std::uint64_t>(z) * level_.slice +
                                  static_cast<std::uint64_t>(y) * level_.pitch +
                                  static_cast<std::uint64_t>(x) * bytes;
    if (!memory_.contains(address, bytes)) throw Untouchable{address};
    std::memcpy(texel, reinterpret_cast<const void*>(address), bytes);
  }

  Sample integers(std::int64_t x, std::int64_t y, std::int64_t z) const {
    std::byte texel[16];
    raw(x, y, z, texel);
    Sample result;
    for (unsigned c = 0; c < texture_.channels; ++c) result.bits[c] = integer(texel, c);
    return result;
  }

  Colour colour(std::int64_t x, std::int64_t y, std::int64_t z) const {
    std::byte texel[16];
    raw(x, y, z, texel);
    Colour result;
    for (unsigned c = 0; c < texture_.channels; ++c) result.channel[c] = real(texel, c);
    return result;
  }

 private:
  template <class T>
  static T at(const std::byte (&texel)[16], unsigned channel) {
    T value;
    std::memcpy(&value, texel + channel * sizeof(T), sizeof(T));
    return value;
  }

  std::uint32_t integer(const std::byte (&texel)[16], unsigned c) const {
    switch (texture_.channel) {
      case Channel::u8:
        return at<std::uint8_t>(texel, c);
      case Channel::u16:
        return at<std::uint16_t>(texel, c);
      case Channel::s8:
        return static_cast<std::uint32_t>(std::int32_t{at<std::int8_t>(texel, c)});
      case Channel::s16:
        return static_cast<std::uint32_t>(std::int32_t{at<std::int16_t>(texel, c)});
      default:
        return at<std::uint32_t>(texel, c);
    }
  }

  float real(const std::byte (&texel)[16], unsigned c) const {
    switch (texture_.channel) {
      case Channel::u8:
        return static_cast<float>(at<std::uint8_t>(texel, c)) / 255.0f;
      case Channel::u16:
        return static_cast<float>(at<std::uint16_t>(texel, c)) / 65535.0f;
      case Channel::s8:  // the least integer is -1 as well, so that 0 is exact
        return std::max(static_cast<float>(at<std::int8_t>(texel, c)) / 127.0f, -1.0f);
      case Channel::s16:
        return std::max(static_cast<float>(at<std::int16_t>(texel, c)) / 32767.0f, -1.0f);
      case Channel::f16:
        return lanes_textures::F16::load<false>(at<std::uint16_t>(texel, c));
      default:
        return at<float>(texel, c);
    }
  }

  const TextureObject& texture_;
  const AddressSpace& memory_;
  const ImageLevel& level_;
};

class Sampler {
 public:
  Sampler(const TextureObject& texture, const AddressSpace& memory, unsigned dimensions,
          const SamplePoint& point)
      : texture_(texture), memory_(memory), dimensions_(dimensions), point_(point) {}

  Sample integers(const ImageLevel& level) const {
    std::int64_t index[3];
    if (!nearest(level, index)) return border_integers();
    return Fetch(texture_, memory_, level).integers(index[0], index[1], index[2]);
  }

  Colour colour(const ImageLevel& level) const {
    const Fetch fetch(texture_, memory_, level);
    if (point_.integers || !texture_.linear_filter) {
      std::int64_t index[3];
      return nearest(level, index) ? fetch.colour(index[0], index[1], index[2]) : border();
    }
    const std::uint32_t size[3] = {level.width, level.height, level.depth};
    Place places[3];
    for (unsigned axis = 0; axis < dimensions_; ++axis) {
      places[axis] = place(coordinate(axis, size[axis]), true);
    }
    Colour sum;
    for (unsigned corner = 0; corner < 1u << dimensions_; ++corner) {
      std::int64_t index[3] = {0, 0, 0};
      float weight = 1;
      bool in = true;
      for (unsigned axis = 0; axis < dimensions_; ++axis) {
        const bool second = ((corner >> axis) & 1) != 0;
        const std::uint32_t part = second ? places[axis].weight : 256 - places[axis].weight;
        weight *= static_cast<float>(part) / 256.0f;
        index[axis] = places[axis].first + (second ? 1 : 0);
        in = inside(index[axis], size[axis], mode(axis)) && in;
      }
      if (weight == 0) continue;  // a texel that does not count is not read: it may be no number
      if (texture_.layered) index[2] = layer(level);
      const Colour one = in ? fetch.colour(index[0], index[1], index[2]) : border();
      for (unsigned c = 0; c < 4; ++c) sum.channel[c] += weight * one.channel[c];
    }
    // An array of one dimension is a plane of one row to real GPUs (seen on an H100), sampled at the row's
    // edge: half of what is beyond the row counts.
    if (dimensions_ == 1 && !texture_.layered && !texture_.linear_memory && mode(1) == Addressing::border) {
      const Colour beyond = border();
      for (unsigned c = 0; c < 4; ++c) sum.channel[c] = 0.5f * sum.channel[c] + 0.5f * beyond.channel[c];
    }
    return sum;
  }

 private:
  Addressing mode(unsigned axis) const {
    const Addressing wanted = texture_.addressing[axis];
    const bool repeats = wanted == Addressing::wrap || wanted == Addressing::mirror;
    return repeats && (point_.integers || !texture_.normalised_coordinates) ? Addressing::clamp : wanted;
  }

  double coordinate(unsigned axis, std::uint32_t size) const {
    const double x = point_.at[axis];
    return texture_.normalised_coordinates && !point_.integers ? unnormalised(x, size, mode(axis)) : x;
  }

  std::int64_t layer(const ImageLevel& level) const { return std::min(point_.layer, level.depth - 1); }

  // False: the point lies beyond the border.
  bool nearest(const ImageLevel& level, std::int64_t (&index)[3]) const {
    const std::uint32_t size[3] = {level.width, level.height, level.depth};
    bool in = true;
    for (unsigned axis = 0; axis < 3; ++axis) {
      index[axis] = 0;
      if (axis >= dimensions_) continue;
      index[axis] = place(coordinate(axis, size[axis]), false).first;
      const Addressing how = texture_.linear_memory ? Addressing::border : mode(axis);
      in = inside(index[axis], size[axis], how) && in;
    }
    if (texture_.layered) index[2] = layer(level);
    return in;
  }

  Colour border() const {
    Colour colour;
    for (unsigned c = 0; c < texture_.channels && !texture_.linear_memory; ++c) {
      colour.channel[c] = texture_.border[c];
    }
    return colour;
  }
  // The colour is kept as floating point numbers, and their bits are what real GPUs give (seen on an H100).
  Sample border_integers() const {
    Sample result;
    for (unsigned c = 0; c < texture_.channels && !texture_.linear_memory; ++c)
      result.bits[c] = std::bit_cast<std::uint32_t>(texture_.border[c]);
    return result;
  }

  const TextureObject& texture_;
  const AddressSpace& memory_;
  unsigned dimensions_;
  const SamplePoint& point_;
};

}  // namespace

Sample sample(const TextureObject& texture, const AddressSpace& memory, unsigned dimensions,
              const SamplePoint& point) {
  const Sampler sampler(texture, memory, dimensions, point);
  const auto last = static_cast<float>(texture.levels.size() - 1);
  float level = 0;
  if (last > 0) {
    level = point.level + texture.level_bias;
    if (std::isnan(level)) level = 0;
    level = std::min(std::max(level, texture.least_level), texture.greatest_level);
    level = std::clamp(level, 0.0f, last);
  }
  const bool between = texture.linear_levels && reads_floats(texture);
  const auto nearest = static_cast<std::size_t>(between ? std::floor(level) : std::floor(level + 0.5f));
  const ImageLevel& image = texture.levels[std::min(nearest, texture.levels.size() - 1)];
  if (!reads_floats(texture)) return sampler.integers(image);
  Colour colour = sampler.colour(image);
  if (between && nearest + 1 < texture.levels.size()) {
    const float weight = std::floor((level - std::floor(level)) * 256 + 0.5f) / 256.0f;
    if (weight > 0) {
      const Colour next = sampler.colour(texture.levels[nearest + 1]);
      for (unsigned c = 0; c < 4; ++c) {
        colour.channel[c] = (1 - weight) * colour.channel[c] + weight * next.channel[c];
      }
    }
  }
  Sample result;
  for (unsigned c = 0; c < 4; ++c) result.bits[c] = std::bit_cast<std::uint32_t>(colour.channel[c]);
  return result;
}

}  // namespace tfusion::software::ptx
