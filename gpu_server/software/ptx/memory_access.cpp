// The slow way to memory: one lane's access that the fast paths of lane_memory.hpp could not vouch for.

#include <cstdio>

#include "lanes.hpp"

namespace tfusion::software::ptx {

namespace {

std::string describe(std::uint64_t address, std::uint32_t bytes, Space space, bool write) {
  char text[96];
  std::snprintf(text, sizeof(text), "%s of %u byte%s at 0x%llx", write ? "write" : "read", bytes,
                bytes == 1 ? "" : "s", static_cast<unsigned long long>(address));
  std::string result = text;
  if (space == Space::shared || space == Space::local)
    result += std::string(" of ") + space_name(space) + " memory";
  return result;
}

[[noreturn]] void illegal(std::uint32_t lane, std::uint64_t address, std::uint32_t bytes, Space space,
                          bool write, const std::string& why) {
  throw Fault{Outcome::illegal_address, lane, describe(address, bytes, space, write) + ", " + why + ","};
}

std::byte* bounded(std::byte* base, std::uint64_t limit, std::uint32_t lane, std::uint64_t address,
                   std::uint32_t bytes, Space space, bool write) {
  if (address > limit || bytes > limit - address) {
    illegal(lane, address, bytes, space, write,
            "which is outside the " + std::to_string(limit) + " bytes there are");
  }
  return base + address;
}

}  // namespace

void misaligned(std::uint32_t lane, std::uint64_t address, std::uint32_t bytes, Space space, bool write) {
  throw Fault{
      Outcome::misaligned_address, lane,
      describe(address, bytes, space, write) + ", which is not a multiple of " + std::to_string(bytes) + ","};
}

std::byte* resolve(const Lanes& l, Space space, std::uint32_t lane, std::uint64_t address,
                   std::uint32_t bytes, bool write) {
  if (address % bytes != 0) misaligned(lane, address, bytes, space, write);
  std::byte* const own = l.local + lane * l.local_stride;
  switch (space) {
    case Space::shared:
      return bounded(l.shared, l.shared_bytes, lane, address, bytes, space, write);
    case Space::local:
      return bounded(own, l.local_bytes, lane, address, bytes, space, write);
    default:
      break;
  }
  if (l.memory->contains(address, bytes)) return reinterpret_cast<std::byte*>(address);
  if (space == Space::generic && address >= kSharedWindow) {
    if (address < kLocalWindow)
      return bounded(l.shared, l.shared_bytes, lane, address - kSharedWindow, bytes, Space::shared, write);
    if (address < kParamWindow)
      return bounded(own, l.local_bytes, lane, address - kLocalWindow, bytes, Space::local, write);
    if (address < kFunctionWindow && !write) {
      // Parameters are only read: the caller takes no other use of this pointer.
      return bounded(const_cast<std::byte*>(l.params), l.param_bytes, lane, address - kParamWindow, bytes,
                     Space::param, false);
    }
  }
  illegal(lane, address, bytes, space, write,
          address < 4096 ? "a null pointer," : "which no allocation holds");
}

}  // namespace tfusion::software::ptx
