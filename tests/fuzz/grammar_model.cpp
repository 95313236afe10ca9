#include "grammar_model.hpp"

#include <algorithm>
#include <cstring>

namespace tfusion::fuzz {

using namespace protocol;
using wire::FieldInfo;
using wire::FieldKind;

bool is(const FieldInfo& field, std::string_view name) {
  return field.name == name;
}

HandleKind kind_of(FieldKind kind) {
  if (kind == FieldKind::scalar) return HandleKind::none;
  return kKinds[(static_cast<unsigned>(kind) - 1) / 3];
}
bool makes_new(FieldKind kind) {
  return kind != FieldKind::scalar && (static_cast<unsigned>(kind) - 1) % 3 == 1;
}
bool drops(FieldKind kind) {
  return kind != FieldKind::scalar && (static_cast<unsigned>(kind) - 1) % 3 == 2;
}

std::uint64_t get(const Bytes& input, std::size_t begin, const FieldInfo& field) {
  std::uint64_t value = 0;
  std::memcpy(&value, input.data() + begin + field.offset, std::min<std::size_t>(field.bytes, sizeof value));
  return value;
}

void Model::see(const Bytes& input, std::size_t begin, std::size_t end) {
  std::uint16_t opcode = 0;
  if (end - begin >= sizeof(wire::CommandHeader))
    std::memcpy(&opcode, input.data() + begin + 4, sizeof opcode);
  if (opcode == 0 || opcode >= wire::kOpcodeCount || end - begin < wire::kCommands[opcode].fixed_bytes)
    return;
  const wire::CommandInfo& info = wire::kCommands[opcode];
  Range range{0, 0};
  for (std::uint16_t i = 0; i < info.field_count; ++i) {
    const FieldInfo& field = info.fields[i];
    const std::uint64_t value = get(input, begin, field);
    auto& alive = alive_[static_cast<unsigned>(kind_of(field.kind))];
    if (is(field, "address")) range.start = value;
    if (is(field, "offset")) range.start = kHostArenaAddress + value;
    if (is(field, "bytes")) range.bytes = value;
    if (makes_new(field.kind)) {
      alive.push_back(value);
    } else if (drops(field.kind)) {
      std::erase(alive, value);
      gone_[static_cast<unsigned>(kind_of(field.kind))].push_back(value);
    }
  }
  const std::string_view what = info.name;
  const auto field = [&](std::string_view name) {
    std::uint64_t value = 0;
    for (std::uint16_t i = 0; i < info.field_count; ++i) {
      if (is(info.fields[i], name)) value = get(input, begin, info.fields[i]);
    }
    return value;
  };
  graphs_.see(what, field);
  range.physical = what == "PhysicalMap";
  if (what == "PhysicalCreate") physical_[field("allocation")] = range.bytes;
  if (what == "MemoryCommit" || what == "HostCommit" || what == "PhysicalMap") ranges_.push_back(range);
  if (what == "MemoryDecommit" || what == "HostDecommit" || what == "PhysicalUnmap") {
    std::erase_if(ranges_, [&](const Range& r) { return r.start == range.start; });
  }
  if (what == "ContextReset") *this = Model{};
}

}  // namespace tfusion::fuzz
