// What a GPU's texture unit does: a fetch at coordinates, with addressing modes, filters and levels. Pure:
// called by the handlers of texture_handlers.cpp and tested through them.
#pragma once

#include <cstdint>

#include "../address_space.hpp"
#include "../texture_table.hpp"

namespace tfusion::software::ptx {

// Where to sample. Integer coordinates name texels: no filter, no normalisation.
struct SamplePoint {
  bool integers = false;
  double at[3] = {0, 0, 0};  // x, y, z; unused dimensions are 0
  std::uint32_t layer = 0;
  float level = 0;
};

// A texel as the destination registers get it: the bits of floats, or integers extended to 32 bits.
struct Sample {
  std::uint32_t bits[4] = {0, 0, 0, 0};
};

// Throws Untouchable if texels lie where no memory is (any more).
struct Untouchable {
  std::uint64_t address;
};
Sample sample(const TextureObject& texture, const AddressSpace& memory, unsigned dimensions,
              const SamplePoint& point);

}  // namespace tfusion::software::ptx
