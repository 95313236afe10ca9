// tex, txq, suld, sust and suq: lane by lane, as their work is not a loop over neighbours.
//
// An instruction's `imm` is a TextureOperation. Row a: the object (8 bytes); b, c, d: coordinates, a layer
// first; the list: what is read, or written to a surface.

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "handlers.hpp"
#include "lanes.hpp"
#include "launch.hpp"
#include "texture_unit.hpp"

namespace tfusion::software::ptx {

namespace {

template <class Visit>
void for_exec(const Lanes& l, Visit visit) {
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    for (std::uint32_t rest = l.exec[w]; rest != 0; rest &= rest - 1) {
      visit(w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest)));
    }
  }
}

std::string hexadecimal(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

// The object that a lane names; a fault if it is none of that kind.
const TextureObject& object_of(const Lanes& l, const Instr& in, std::uint32_t lane, bool surface) {
  const std::uint64_t value = l.row<std::uint64_t>(in.a)[lane];
  const TextureTable* const table = l.launch->config().textures;
  const TextureObject* const object = table == nullptr ? nullptr : table->find(value);
  if (object == nullptr || object->surface != surface) {
    throw Fault{Outcome::illegal_address, lane,
                std::string(surface ? "use of surface object " : "use of texture object ") +
                    hexadecimal(value) + ", which does not exist,"};
  }
  return *object;
}

[[noreturn]] void untouchable(std::uint32_t lane, std::uint64_t address) {
  throw Fault{Outcome::illegal_address, lane,
              "access to a texel at " + hexadecimal(address) + ", whose memory is gone,"};
}

// A place on a surface: a byte of a row, a row, a plane or layer.
struct Spot {
  std::int64_t x = 0, y = 0, z = 0;
};

Spot spot_of(const Lanes& l, const Instr& in, const TextureOperation& o, std::uint32_t lane) {
  const std::uint32_t rows[3] = {in.b, in.c, in.d};
  std::int64_t given[3] = {0, 0, 0};
  const unsigned count = o.dimensions + (o.layered ? 1u : 0u);
  for (unsigned i = 0; i < count; ++i) given[i] = l.row<std::int32_t>(rows[i])[lane];
  if (!o.layered) return {given[0], given[1], given[2]};
  return {given[1], o.dimensions == 2 ? given[2] : 0, given[0]};
}

// Whether the access is to be made; `spot` is moved into the surface where the mode says so.
bool admit(const TextureObject& surface, const TextureOperation& o, Spot& spot, std::uint32_t lane) {
  const ImageLevel& level = surface.levels[0];
  const std::int64_t bytes = std::int64_t{o.element_bytes} * o.count;
  const std::int64_t last[3] = {std::int64_t{level.width} * surface.texel_bytes() - bytes,
                                std::int64_t{level.height} - 1, std::int64_t{level.depth} - 1};
  std::int64_t* const at[3] = {&spot.x, &spot.y, &spot.z};
  bool inside = true;
  for (int axis = 0; axis < 3; ++axis) inside = inside && *at[axis] >= 0 && *at[axis] <= last[axis];
  if (!inside) {
    switch (o.boundary) {
      case SurfaceBoundary::zero:
        return false;
      case SurfaceBoundary::clamp:
        for (int axis = 0; axis < 3; ++axis)
          *at[axis] = std::max<std::int64_t>(0, std::min(*at[axis], last[axis]));
        break;
      case SurfaceBoundary::trap:
        throw Fault{Outcome::trap, lane,
                    "surface access at byte " + std::to_string(spot.x) + ", row " + std::to_string(spot.y) +
                        ", plane or layer " + std::to_string(spot.z) + ", which is outside of the surface,"};
    }
  }
  if (last[0] < 0) {
    throw Fault{Outcome::trap, lane,
                "surface access of " + std::to_string(bytes) + " bytes to a narrower surface"};
  }
  if (spot.x % bytes != 0) {
    throw Fault{Outcome::misaligned_address, lane,
                "surface access at byte " + std::to_string(spot.x) + ", which is not a multiple of " +
                    std::to_string(bytes) + ","};
  }
  return true;
}

std::byte* host_address(const Lanes& l, const TextureObject& surface, const TextureOperation& o,
                        const Spot& spot, std::uint32_t lane) {
  const ImageLevel& level = surface.levels[0];
  const std::uint64_t address = level.base + static_cast<std::uint64_t>(spot.z) * level.slice +
                                static_cast<std::uint64_t>(spot.y) * level.pitch +
                                static_cast<std::uint64_t>(spot.x);
  if (!l.memory->contains(address, std::size_t{o.element_bytes} * o.count)) untouchable(lane, address);
  return reinterpret_cast<std::byte*>(address);
}

// Element k of a lane's list. A row's elements are as wide as the access's.
std::byte* element(const Lanes& l, const Instr& in, const TextureOperation& o, std::uint32_t k,
                   std::uint32_t lane) {
  return l.row<std::byte>(l.row_list[in.list + k]) + std::size_t{lane} * o.element_bytes;
}

}  // namespace

void texture_fetch(Lanes& l, const Instr& in) {
  const TextureOperation o = TextureOperation::decode(in.imm);
  const std::uint32_t rows[3] = {in.b, in.c, in.d};
  const bool packed = o.level && o.dimensions + (o.layered ? 1u : 0u) == 3;
  for_exec(l, [&](std::uint32_t lane) {
    const TextureObject& texture = object_of(l, in, lane, false);
    SamplePoint point;
    point.integers = o.integer_coordinates;
    const auto number = [&](std::uint32_t bits) {
      return o.integer_coordinates ? static_cast<double>(static_cast<std::int32_t>(bits))
                                   : double{std::bit_cast<float>(bits)};
    };
    unsigned next = 0;
    std::uint32_t level_bits = 0;
    const auto word = [&]() -> std::uint32_t {
      const std::uint32_t row = rows[next++];
      if (!packed || next < 3) return l.row<std::uint32_t>(row)[lane];
      const std::uint64_t both = l.row<std::uint64_t>(row)[lane];
      level_bits = static_cast<std::uint32_t>(both >> 32);
      return static_cast<std::uint32_t>(both);
    };
    if (o.layered) point.layer = word();
    for (unsigned axis = 0; axis < o.dimensions; ++axis) {
      point.at[axis] = number(word());
    }
    if (o.level && !packed) level_bits = l.row<std::uint32_t>(in.d)[lane];
    if (o.level) point.level = static_cast<float>(number(level_bits));
    Sample result;
    try {
      result = sample(texture, *l.memory, o.dimensions, point);
    } catch (const Untouchable& gone) {
      untouchable(lane, gone.address);
    }
    for (std::uint32_t c = 0; c < 4; ++c)
      l.row<std::uint32_t>(l.row_list[in.list + c])[lane] = result.bits[c];
  });
}

void texture_query(Lanes& l, const Instr& in) {
  const TextureOperation o = TextureOperation::decode(in.imm);
  for_exec(l, [&](std::uint32_t lane) {
    const TextureObject& object = object_of(l, in, lane, o.surface);
    const ImageLevel& level = object.levels[0];
    std::uint32_t answer = 0;
    switch (o.query) {
      case TextureQuery::width:
        answer = level.width;
        break;
      case TextureQuery::height:
        answer = level.height;
        break;
      case TextureQuery::depth:
        answer = object.layered ? 1 : level.depth;
        break;
      case TextureQuery::layers:
        answer = object.layered ? level.depth : 0;
        break;
      case TextureQuery::levels:
        answer = static_cast<std::uint32_t>(object.levels.size());
        break;
    }
    l.row<std::uint32_t>(in.dst)[lane] = answer;
  });
}

void surface_load(Lanes& l, const Instr& in) {
  const TextureOperation o = TextureOperation::decode(in.imm);
  for_exec(l, [&](std::uint32_t lane) {
    const TextureObject& surface = object_of(l, in, lane, true);
    Spot spot = spot_of(l, in, o, lane);
    const std::byte* const from =
        admit(surface, o, spot, lane) ? host_address(l, surface, o, spot, lane) : nullptr;
    for (std::uint32_t k = 0; k < o.count; ++k) {
      std::byte* const to = element(l, in, o, k, lane);
      if (from == nullptr) {
        std::memset(to, 0, o.element_bytes);
      } else {
        std::memcpy(to, from + k * o.element_bytes, o.element_bytes);
      }
    }
  });
}

void surface_store(Lanes& l, const Instr& in) {
  const TextureOperation o = TextureOperation::decode(in.imm);
  for_exec(l, [&](std::uint32_t lane) {
    const TextureObject& surface = object_of(l, in, lane, true);
    Spot spot = spot_of(l, in, o, lane);
    if (!admit(surface, o, spot, lane)) return;
    std::byte* const to = host_address(l, surface, o, spot, lane);
    for (std::uint32_t k = 0; k < o.count; ++k) {
      std::memcpy(to + k * o.element_bytes, element(l, in, o, k, lane), o.element_bytes);
    }
  });
}

}  // namespace tfusion::software::ptx
