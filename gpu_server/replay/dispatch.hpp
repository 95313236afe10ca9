// From a checked command to its replay; dispatch() itself is generated.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "commands.hpp"

namespace tfusion::replay {

class Session;

void dispatch(Session& session, wire::Opcode opcode, std::span<const std::byte> bytes,
              std::span<const std::byte> tail);

// Precondition: bytes.size() >= sizeof(Fields); check_command saw to it.
template <typename Fields>
Fields read(std::span<const std::byte> bytes) {
  Fields fields;
  std::memcpy(&fields, bytes.data(), sizeof fields);
  return fields;
}

}  // namespace tfusion::replay
