#include "grammar_command.hpp"

#include <cuda.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "grammar_graphs.hpp"
#include "protocol/shared_memory.hpp"

namespace tfusion::fuzz {

using namespace protocol;
using wire::FieldInfo;
using wire::FieldKind;

std::uint64_t any_number(Random& random) {
  switch (random.below(6)) {
    case 0:
      return random.below(4);
    case 1:
      return std::uint64_t{1} << random.below(64);
    case 2:
      return (std::uint64_t{1} << random.below(64)) - 1;
    case 3:
      return ~random.below(300);
    case 4:
      return random.below(70'000);
    default:
      return random.next();
  }
}

std::uint16_t any_opcode(Random& random) {
  return static_cast<std::uint16_t>(1 + random.below(wire::kOpcodeCount - 1));
}

std::uint16_t opcode_named(std::string_view name) {
  for (std::uint16_t i = 1; i < wire::kOpcodeCount; ++i) {
    if (wire::kCommands[i].name == name) return i;
  }
  return 1;
}

void put(Bytes& command, const FieldInfo& field, std::uint64_t value) {
  std::memcpy(command.data() + field.offset, &value, std::min<std::size_t>(field.bytes, sizeof value));
}

void set(Bytes& command, const wire::CommandInfo& info, std::string_view name, std::uint64_t value) {
  for (std::uint16_t i = 0; i < info.field_count; ++i) {
    if (is(info.fields[i], name)) put(command, info.fields[i], value);
  }
}

std::uint64_t handle(HandleKind kind, bool makes, const Model& model, Random& random) {
  if (random.one_in(kSlip)) return any_number(random);
  if (random.one_in(kSlip)) kind = kKinds[random.below(std::size(kKinds))];
  if (kind == HandleKind::stream && !makes && random.one_in(3)) return 1;
  if (random.one_in(kSlip))
    return pack({kind, static_cast<std::uint16_t>(random.below(4096)),
                 static_cast<std::uint32_t>(random.below(kMaxHandleIndex + 2))});
  return makes ? model.fresh(kind, random) : model.known(kind, random);
}

namespace {

// Somewhere in the session's memory, or just beside it.
std::uint64_t address(const Model& model, Random& random) {
  if (random.one_in(60)) return any_number(random);
  if (random.one_in(10)) return 0x700000000000 + random.below(64) * 0x10000;  // a module's variable
  const bool host = random.one_in(4);
  const Model::Range* range = host ? model.range(kHostArenaAddress, kHostArenaBytes, random)
                                   : model.range(kDeviceArenaAddress, kDeviceArenaBytes, random);
  if (range == nullptr) return kDeviceArenaAddress + random.below(6) * kArenaPageBytes;
  if (range->bytes == 0 || random.one_in(3)) return range->start;
  return random.one_in(5) ? range->start + range->bytes - random.below(random.one_in(2) ? 64 : 8192)
                          : range->start + random.below(range->bytes);
}

std::uint64_t size(Random& random) {
  switch (random.below(8)) {
    case 0:
      return any_number(random);
    case 1:
    case 2:
      return 1 + random.below(4096);
    case 3:
      return kChunkBytes - random.below(2);
    default:
      return kArenaPageBytes * random.below(5);
  }
}

// The memory of MemoryCommit and its like; mostly what the model says can be.
void memory(Bytes& command, const wire::CommandInfo& info, const Model& model, Random& random) {
  const std::string_view what = info.name;
  const bool host = what.starts_with("Host");
  const std::uint64_t base = host ? kHostArenaAddress : kDeviceArenaAddress;
  std::uint64_t start = model.vacant_page(base, random), bytes = kArenaPageBytes * (1 + random.below(4));
  std::uint64_t within = random.one_in(30) ? any_number(random) : 0;  // of an allocation
  if (what.ends_with("Decommit")) {
    if (const Model::Range* range = model.range(base, host ? kHostArenaBytes : kDeviceArenaBytes, random);
        range != nullptr) {
      start = range->start, bytes = range->bytes;
    }
  } else if (what == "PhysicalUnmap" || what == "PhysicalSetAccess") {
    if (const Model::Range* range = model.mapping(random); range != nullptr)
      start = range->start, bytes = range->bytes;
  } else if (what == "PhysicalMap") {
    for (std::uint16_t i = 0; i < info.field_count; ++i) {
      if (is(info.fields[i], "allocation")) bytes = model.physical_bytes(get(command, 0, info.fields[i]));
    }
    if (bytes > kArenaPageBytes && random.one_in(3)) bytes -= kArenaPageBytes, within = kArenaPageBytes;
  } else if (what == "PhysicalCreate") {
    bytes = kArenaPageBytes * (1 + random.below(2));
  }
  if (random.one_in(kSlip)) start = any_number(random);
  if (random.one_in(kSlip)) bytes = any_number(random);
  for (std::uint16_t i = 0; i < info.field_count; ++i) {
    const FieldInfo& field = info.fields[i];
    if (is(field, "address")) put(command, field, start);
    if (is(field, "offset")) put(command, field, host ? start - base : within);
    if (is(field, "bytes")) put(command, field, bytes);
    if (is(field, "flags"))
      put(command, field, random.one_in(kSlip) ? 2 : random.one_in(4) ? random.below(2) : 3);
  }
}

// A number of a staging chunk that goes the command's way.
std::uint64_t chunk(const wire::CommandInfo& info, Random& random) {
  if (random.one_in(kSlip)) return any_number(random);
  const std::string_view what = info.name;
  return what == "CopyToStaging" || what == "Copy3DToStaging" || what == "LinkRead"
             ? kUpChunks + random.below(kDownChunks)
             : random.below(kUpChunks);
}

}  // namespace

void scalar(Bytes& command, const wire::CommandInfo& info, const FieldInfo& field, const Model& model,
            Random& random) {
  if (field.bytes > 8) {
    for (std::uint16_t i = 0; i < field.bytes; ++i) {
      command[field.offset + i] = static_cast<std::byte>(random.one_in(2) ? random.next() : i % 4 == 0);
    }
  } else if (is(field, "address") || is(field, "destination") || is(field, "source")) {
    put(command, field, address(model, random));
  } else if (is(field, "offset")) {
    put(command, field, random.one_in(8) ? any_number(random) : random.below(6));
  } else if (is(field, "chunk")) {
    put(command, field, chunk(info, random));
  } else if (is(field, "bytes")) {
    put(command, field, random.one_in(40) ? size(random) : 1 + random.below(4000));
  } else if (is(field, "element_bytes")) {
    put(command, field, random.one_in(kSlip) ? any_number(random) : std::uint64_t{1} << random.below(3));
  } else if (is(field, "height") && random.one_in(2)) {
    put(command, field, 1);
  } else if (is(field, "width") || is(field, "height") || std::string_view(field.name).ends_with("pitch")) {
    put(command, field, random.one_in(10) ? any_number(random) : random.below(3000));
  } else {
    put(command, field, random.one_in(4) ? any_number(random) : random.below(4));
  }
}

namespace {

// Shapes of arrays, boxes in them and resources of textures, so that they often fit each other.
bool image_field(Bytes& command, const wire::CommandInfo& info, const FieldInfo& field, const Model& model,
                 Random& random) {
  const std::string_view what = info.name;
  const bool creates = what == "ArrayCreate" || what == "MipmappedArrayCreate";
  const bool copies = what.starts_with("Copy3D");
  const bool texture = what == "TextureCreate" || what == "TextureLinearWidth";
  if (what == "TextureDestroy" || what == "SurfaceDestroy") {
    put(command, field, 0x10000 + 16 * random.below(100));  // as the driver numbers its objects
    return true;
  }
  if (!creates && !copies && !texture) return false;
  if (random.one_in(kSlip)) return false;
  if (is(field, "format")) {
    static constexpr std::uint64_t kFormats[] = {1, 2, 3, 8, 9, 10, 16, 32, 32, 4};
    put(command, field, kFormats[random.below(std::size(kFormats))]);
  } else if (is(field, "channels")) {
    put(command, field, std::uint64_t{1} << random.below(3));
  } else if (is(field, "levels")) {
    put(command, field, 1 + random.below(5));
  } else if (is(field, "flags") && creates) {
    put(command, field, random.below(16));
  } else if (is(field, "to_array") || is(field, "from_array")) {
    put(command, field, random.one_in(3) ? 0 : handle(HandleKind::array, false, model, random));
  } else if (is(field, "array")) {
    const HandleKind kind = random.one_in(3) ? HandleKind::mipmapped_array : HandleKind::array;
    put(command, field, handle(kind, false, model, random));
  } else if (is(field, "resource")) {
    put(command, field, random.below(4));
  } else if (is(field, "to_at") || is(field, "from_at")) {
    for (std::uint16_t i = 0; i < 3; ++i) {
      const std::uint64_t at = i == 0 ? random.below(3) * 16 : random.below(3);
      std::memcpy(command.data() + field.offset + i * 8, &at, sizeof at);
    }
  } else if (is(field, "width")) {
    put(command, field, random.one_in(20) ? any_number(random) : (1 + random.below(8)) * (copies ? 16 : 32));
  } else if (is(field, "height") || is(field, "depth") || is(field, "to_height") ||
             is(field, "from_height")) {
    put(command, field, random.one_in(20) ? any_number(random) : random.below(creates ? 20 : 6));
  } else if (is(field, "pitch") || is(field, "to_pitch") || is(field, "from_pitch")) {
    put(command, field, random.one_in(20) ? any_number(random) : 128 + random.below(1000));
  } else {
    return false;
  }
  return true;
}

void append(Bytes& tail, std::uint64_t value) {
  const auto* from = reinterpret_cast<const std::byte*>(&value);
  tail.insert(tail.end(), from, from + sizeof value);
}

void append(Bytes& tail, std::string_view text) {
  const auto* from = reinterpret_cast<const std::byte*>(text.data());
  tail.insert(tail.end(), from, from + text.size());
}

std::string name(Random& random) {
  switch (random.below(12)) {
    case 0:
      return "";
    case 1:
      return std::string("k\0v", 3);
    case 2:
      return std::string(33'000, 'k');
    case 3:
      return std::string(random.below(3000), 'x');
    default:
      return random.one_in(3) ? "variable" : "kernel";
  }
}

// Brings the fields and the tail together as the command needs it.
Bytes tail_for(Bytes& command, const wire::CommandInfo& info, const Model& model, Random& random) {
  Bytes tail;
  const std::string_view what = info.name;
  for (std::uint16_t i = 0; i < info.field_count; ++i) {
    if (!is(info.fields[i], "digest")) continue;
    const std::size_t which = random.one_in(2) ? 0 : random.below(images().size());
    std::memcpy(command.data() + info.fields[i].offset, images()[which].digest.data(), sizeof(Digest));
    set(command, info, "image_bytes", images()[which].bytes.size());
    if (what == "ImagePart") {
      const std::size_t total = images()[which].bytes.size(), offset = random.one_in(3) ? total / 2 : 0;
      set(command, info, "chunk", which);
      set(command, info, "offset", offset);
      set(command, info, "bytes", offset == 0 && random.one_in(3) ? total / 2 : total - offset);
    }
  }
  auto options = [&] {
    static constexpr int kOptions[] = {CU_JIT_MAX_REGISTERS,
                                       CU_JIT_INFO_LOG_BUFFER,
                                       CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
                                       CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                                       CU_JIT_TARGET,
                                       77};
    const std::uint64_t count = random.below(random.one_in(kSlip) ? 40 : 4);
    for (std::uint64_t i = 0; i < count; ++i) {
      append(tail, static_cast<std::uint64_t>(kOptions[random.below(std::size(kOptions))]));
      append(tail, any_number(random));
    }
    set(command, info, "option_count", count);
  };
  auto attributes = [&] {
    const std::uint64_t count = random.below(random.one_in(kSlip) ? 35 : 3);
    for (std::uint64_t i = 0; i < count; ++i) {
      CUlaunchAttribute attribute{};
      attribute.id =
          static_cast<CUlaunchAttributeID>(random.one_in(kSlip) ? random.below(40) : 1 + random.below(4));
      for (char& byte : attribute.value.pad) byte = static_cast<char>(random.below(4));
      const std::uint64_t event = handle(HandleKind::event, false, model, random);
      std::memcpy(attribute.value.pad, &event, sizeof event);
      tail.resize(tail.size() + sizeof attribute);
      std::memcpy(tail.data() + tail.size() - sizeof attribute, &attribute, sizeof attribute);
    }
    set(command, info, "attribute_count", count);
  };
  auto graph_tail = [&] {
    const std::uint64_t count = random.one_in(kSlip) ? any_number(random) % 70 : random.below(3);
    const bool data = count > 0 && random.one_in(6);
    const bool twice = what == "GraphChangeEdges";
    if (what != "GraphNodeSet") {
      for (std::uint64_t i = 0; i < (twice ? 2 : 1) * count; ++i) append(tail, model.graphs().node(random));
      if (data) tail.resize(tail.size() + count * sizeof(CUgraphEdgeData));
      set(command, info, "dependencies", random.one_in(kSlip) ? any_number(random) : count);
      set(command, info, "edges", data ? count : 0);
    }
    for (std::uint16_t i = 0; i < info.field_count; ++i) {
      if (!is(info.fields[i], "type")) continue;
      const Session session{[&](HandleKind kind) { return handle(kind, false, model, random); },
                            [&] { return address(model, random); }, [&] { return any_number(random); }};
      const Bytes does = node_parameters(get(command, 0, info.fields[i]), model.graphs(), session, random);
      tail.insert(tail.end(), does.begin(), does.end());
    }
  };
  if (what == "LaunchKernel") {
    attributes();
    const std::size_t bytes = random.below(random.one_in(10) ? 40'000 : 200);
    tail.resize(tail.size() + bytes);
    set(command, info, "parameter_bytes", bytes);
  } else if (what == "OccupancyClusters") {
    attributes();
  } else if (what == "ModuleLoad" || what == "LinkCreate") {
    options();
  } else if (what == "LinkAdd") {
    options();
    const std::string text = name(random);
    append(tail, text);
    set(command, info, "name_bytes", text.size());
  } else if (what == "TensorMapEncode") {
    const std::uint64_t kind = random.below(2), rank = (kind == 0 ? 1 : 3) + random.below(kind == 0 ? 5 : 3);
    set(command, info, "kind", kind);
    set(command, info, "rank", rank);
    const std::uint64_t words = kind == 0 ? 4 * rank - 1 : 3 * rank - 1 + 2 * (rank - 2);
    for (std::uint64_t i = 0; i < words; ++i) append(tail, any_number(random));
  } else if (what == "GraphAddNode" || what == "GraphNodeSet" || what == "GraphChangeEdges" ||
             what == "CaptureBegin" || what == "CaptureUpdate") {
    graph_tail();
  } else if (what == "CopyInline") {
    tail.resize(random.one_in(10) ? random.below(20'000) : 1 + random.below(100));
  } else {
    append(tail, name(random));
  }
  return tail;
}

}  // namespace

Bytes command(std::uint16_t opcode, const Model& model, Random& random) {
  const wire::CommandInfo& info = wire::kCommands[opcode];
  Bytes made(info.fixed_bytes);
  for (std::uint16_t i = 0; i < info.field_count; ++i) {
    const FieldInfo& field = info.fields[i];
    if (field.kind == FieldKind::scalar) {
      std::uint64_t guessed = 0;
      if (!random.one_in(kSlip) && model.graphs().value(info, field, random, &guessed)) {
        put(made, field, guessed);
      } else if (!image_field(made, info, field, model, random)) {
        scalar(made, info, field, model, random);
      }
    } else {
      put(made, field, handle(kind_of(field.kind), makes_new(field.kind), model, random));
    }
  }
  const std::string_view what = info.name;
  if (what.ends_with("ommit") || what.starts_with("Physical")) memory(made, info, model, random);
  Bytes tail = tail_for(made, info, model, random);
  if (random.one_in(kSlip)) tail.resize(random.below(tail.size() + 20));
  if (!info.tail && !random.one_in(kSlip)) tail.clear();
  const std::uint32_t bytes = wire::padded(made.size() + tail.size());
  wire::CommandHeader header{bytes, opcode, wire::kNoReply, static_cast<std::uint32_t>(tail.size()), 0};
  if (info.sync)
    header.reply_slot = static_cast<std::uint16_t>(random.below(random.one_in(kSlip) ? 70 : kReplySlots));
  if (random.one_in(kSlip)) header.tail_bytes = static_cast<std::uint32_t>(any_number(random));
  if (random.one_in(kSlip)) header.bytes = static_cast<std::uint32_t>(any_number(random));
  std::memcpy(made.data(), &header, sizeof header);
  made.insert(made.end(), tail.begin(), tail.end());
  made.resize(bytes);
  return made;
}

}  // namespace tfusion::fuzz
