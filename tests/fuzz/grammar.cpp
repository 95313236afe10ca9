#include "grammar.hpp"

#include <cuda.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "commands.hpp"
#include "grammar_graphs.hpp"
#include "protocol/handle.hpp"
#include "protocol/shared_memory.hpp"

namespace tfusion::fuzz {

using namespace protocol;
using wire::FieldInfo;
using wire::FieldKind;

std::uint64_t Random::next() {
  state_ ^= state_ << 13;
  state_ ^= state_ >> 7;
  state_ ^= state_ << 17;
  return state_ * 0x2545f4914f6cdd1d;
}

const std::vector<KnownImage>& images() {
  static const auto& all = *new std::vector<KnownImage>([] {
    std::vector<KnownImage> made;
    auto add = [&](std::string_view text) {
      const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
      made.push_back({{bytes.begin(), bytes.end()}, sha256(bytes)});
    };
    using namespace std::string_view_literals;
    add(".version 7.0 .target sm_70 .entry k() { ret; }\0"sv);
    add(std::string(4096, 't'));  // a text without its end, as long as a page
    add("\x7f"
        "ELF, it says"sv);
    add("// uploaded whole\0"sv);
    add(std::string(9000, 'u') + '\0');
    return made;
  }());
  return all;
}

namespace {

constexpr HandleKind kKinds[] = {HandleKind::stream, HandleKind::event,          HandleKind::module,
                                 HandleKind::kernel, HandleKind::link,           HandleKind::allocation,
                                 HandleKind::array,  HandleKind::mipmapped_array};

bool is(const FieldInfo& field, std::string_view name) {
  return field.name == name;
}

// The kind of handle a field holds, none for a scalar.
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

constexpr std::uint64_t kSlip = 300;  // one in so many is anything; most of these end the session

// What a well-behaved client would know of its session after the commands so far: which of its objects live,
// and where it has memory. Read off the commands themselves, so that a command can be put anywhere.
class Model {
 public:
  void see(const Bytes& input, std::size_t begin, std::size_t end);

  std::uint64_t fresh(HandleKind kind, Random& random) const {
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t made = pack({kind, 1, static_cast<std::uint32_t>(random.below(20))});
      if (!lives(kind, made)) return made;
    }
    return pack({kind, 1, static_cast<std::uint32_t>(20 + random.below(200))});
  }
  std::uint64_t known(HandleKind kind, Random& random) const {
    const auto& gone = gone_[static_cast<unsigned>(kind)];
    const auto& alive = alive_[static_cast<unsigned>(kind)];
    if (!gone.empty() && random.one_in(6)) return gone[random.below(gone.size())];
    if (!alive.empty()) return alive[random.below(alive.size())];
    return pack({kind, 1, static_cast<std::uint32_t>(random.below(3))});
  }
  const GuessedGraphs& graphs() const { return graphs_; }
  std::uint64_t physical_bytes(std::uint64_t allocation) const {
    const auto found = physical_.find(allocation);
    return found == physical_.end() ? kArenaPageBytes : found->second;
  }
  // A page that has no memory, or the start of a range that has.
  std::uint64_t vacant_page(std::uint64_t base, Random& random) const {
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t start = base + random.below(12) * 4 * kArenaPageBytes;
      if (std::none_of(ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.start == start; }))
        return start;
    }
    return base + (12 + random.below(1000)) * 4 * kArenaPageBytes;
  }
  struct Range {
    std::uint64_t start, bytes;
    bool physical = false;  // mapped by the client itself
  };
  const Range* range(std::uint64_t base, std::uint64_t arena_bytes, Random& random) const {
    if (ranges_.empty()) return nullptr;
    const Range& one = ranges_[random.below(ranges_.size())];
    return one.start - base < arena_bytes ? &one : nullptr;
  }
  const Range* mapping(Random& random) const {
    const Range* found = nullptr;
    for (const Range& range : ranges_) {
      if (range.physical && (found == nullptr || random.one_in(3))) found = &range;
    }
    return found;
  }

 private:
  bool lives(HandleKind kind, std::uint64_t handle) const {
    const auto& alive = alive_[static_cast<unsigned>(kind)];
    return std::find(alive.begin(), alive.end(), handle) != alive.end();
  }
  std::vector<std::uint64_t> alive_[kHandleKinds], gone_[kHandleKinds];
  std::vector<Range> ranges_;
  std::map<std::uint64_t, std::uint64_t> physical_;  // allocation -> bytes
  GuessedGraphs graphs_;
};

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

std::uint64_t handle(HandleKind kind, bool makes, const Model& model, Random& random) {
  if (random.one_in(kSlip)) return any_number(random);
  if (random.one_in(kSlip)) kind = kKinds[random.below(std::size(kKinds))];
  if (kind == HandleKind::stream && !makes && random.one_in(3)) return 1;
  if (random.one_in(kSlip))
    return pack({kind, static_cast<std::uint16_t>(random.below(4096)),
                 static_cast<std::uint32_t>(random.below(kMaxHandleIndex + 2))});
  return makes ? model.fresh(kind, random) : model.known(kind, random);
}

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

void put(Bytes& command, const FieldInfo& field, std::uint64_t value) {
  std::memcpy(command.data() + field.offset, &value, std::min<std::size_t>(field.bytes, sizeof value));
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

// The value of a field that is already in the command.
template <typename T>
void set(Bytes& command, const wire::CommandInfo& info, std::string_view name, T value) {
  for (std::uint16_t i = 0; i < info.field_count; ++i) {
    if (is(info.fields[i], name)) put(command, info.fields[i], value);
  }
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

std::uint16_t any_opcode(Random& random) {
  return static_cast<std::uint16_t>(1 + random.below(wire::kOpcodeCount - 1));
}

std::uint16_t opcode_named(std::string_view name) {
  for (std::uint16_t i = 1; i < wire::kOpcodeCount; ++i) {
    if (wire::kCommands[i].name == name) return i;
  }
  return 1;
}

// Where each command of an input begins; the rest that is none is the last piece.
std::vector<std::size_t> starts(const Bytes& input) {
  std::vector<std::size_t> all;
  for (std::size_t at = 0; at < input.size();) {
    all.push_back(at);
    std::uint32_t bytes = 0;
    if (input.size() - at < 8) break;
    std::memcpy(&bytes, input.data() + at, sizeof bytes);
    if (bytes < 8 || bytes % 8 != 0 || bytes > input.size() - at) break;
    at += bytes;
  }
  return all;
}

}  // namespace

namespace {

// A command with some of its fields as given.
Bytes with(std::string_view name, const std::vector<std::pair<std::string_view, std::uint64_t>>& fields,
           const Model& model, Random& random) {
  const std::uint16_t opcode = opcode_named(name);
  Bytes made = command(opcode, model, random);
  for (const auto& [field, value] : fields) set(made, wire::kCommands[opcode], field, value);
  return made;
}

// A capture as programs make them: begun, forked to another stream by an event, worked in, joined, ended;
// each part may be missing.
std::vector<Bytes> capture(const Model& model, Random& random) {
  static const std::string_view kWork[] = {
      "LaunchKernel",  "Memset",        "CopyBetween",      "HostFunction", "GraphLaunch",
      "CopyToReply",   "CopyInline",    "CopyFromStaging",  "CaptureInfo",  "GraphAddNode",
      "CaptureUpdate", "CopyToStaging", "GraphDestroyNode", "GraphDestroy", "Copy3DBetween"};
  std::vector<Bytes> all;
  const std::uint64_t first = handle(HandleKind::stream, false, model, random);
  const std::uint64_t second = handle(HandleKind::stream, false, model, random);
  const std::uint64_t event = handle(HandleKind::event, false, model, random);
  auto say = [&](std::string_view name, std::vector<std::pair<std::string_view, std::uint64_t>> fields) {
    if (!random.one_in(12)) all.push_back(with(name, fields, model, random));
  };
  auto work = [&](std::uint64_t stream) {
    for (std::uint64_t n = random.below(5); n > 0; --n)
      say(kWork[random.below(std::size(kWork))], {{"stream", stream}});
  };
  say("CaptureBegin", {{"stream", first}});
  work(first);
  if (random.one_in(2)) {
    say("EventRecord", {{"hEvent", event}, {"hStream", first}});
    say("StreamWaitEvent", {{"hStream", second}, {"hEvent", event}, {"Flags", 0}});
    work(second), work(first);
    if (random.one_in(6)) say("StreamDestroy", {{"stream", random.one_in(2) ? first : second}});
    say("EventRecord", {{"hEvent", event}, {"hStream", second}});
    say("StreamWaitEvent", {{"hStream", first}, {"hEvent", event}, {"Flags", 0}});
  }
  work(first);
  if (random.one_in(20)) say("ContextReset", {});
  if (!random.one_in(4)) say("CaptureEnd", {{"stream", first}});
  if (random.one_in(2)) say("GraphInstantiate", {{"flags", 0}});
  return all;
}

// A graph that outlives what it uses: made, what its node names ended, then run and asked about.
std::vector<Bytes> outlive(Model model, Random& random) {
  static const std::pair<std::string_view, std::uint64_t> kEnds[] = {
      {"ModuleUnload", CU_GRAPH_NODE_TYPE_KERNEL},       {"EventDestroy", CU_GRAPH_NODE_TYPE_WAIT_EVENT},
      {"EventDestroy", CU_GRAPH_NODE_TYPE_EVENT_RECORD}, {"GraphDestroyNode", CU_GRAPH_NODE_TYPE_GRAPH},
      {"GraphDestroy", CU_GRAPH_NODE_TYPE_GRAPH},        {"GraphNodeGet", CU_GRAPH_NODE_TYPE_HOST},
      {"MemoryDecommit", CU_GRAPH_NODE_TYPE_MEMCPY}};
  const auto one = kEnds[random.below(std::size(kEnds))];
  const std::string_view end = one.first;
  const std::uint64_t type = one.second;
  std::vector<Bytes> all;
  auto say = [&](std::string_view name) {
    if (random.one_in(12)) return;
    const std::uint16_t opcode = opcode_named(name);
    // What a node carries goes by its type, so the command is made until it has the one that is wanted.
    for (int i = 0; i < 40; ++i) {
      Bytes made = command(opcode, model, random);
      if (name == "GraphAddNode") {
        const wire::CommandInfo& info = wire::kCommands[opcode];
        std::uint64_t made_type = 0;
        for (std::uint16_t f = 0; f < info.field_count; ++f) {
          if (is(info.fields[f], "type")) made_type = get(made, 0, info.fields[f]);
        }
        if (made_type != type) continue;
      }
      model.see(made, 0, made.size());
      all.push_back(std::move(made));
      return;
    }
  };
  for (const std::string_view name :
       {std::string_view("GraphCreate"), std::string_view("GraphAddNode"), std::string_view("GraphNodeGet"),
        std::string_view("GraphInstantiate"), end, std::string_view("GraphLaunch"),
        std::string_view("GraphNodeGet"), std::string_view("GraphList")}) {
    say(name);
  }
  return all;
}

Bytes generate_on(Model model, Random& random, std::size_t commands) {
  // What others need comes first, more often than chance would have it.
  static const std::string_view kFirst[] = {
      "StreamCreate", "EventCreate",       "MemoryCommit",         "HostCommit",
      "ModuleLoad",   "LinkCreate",        "ModuleGetKernel",      "ModuleGetGlobal",
      "LinkAdd",      "ArrayCreate",       "MipmappedArrayCreate", "MipmappedArrayGetLevel",
      "GraphCreate",  "GraphAddNode",      "GraphInstantiate",     "PhysicalCreate",
      "PhysicalMap",  "PhysicalSetAccess", "StreamCreate",         "EventCreate"};
  Bytes all;
  auto say = [&](const Bytes& one) {
    model.see(one, 0, one.size());
    all.insert(all.end(), one.begin(), one.end());
  };
  for (std::size_t i = 0; i < commands; ++i) {
    if (random.one_in(8)) {
      for (const Bytes& one : random.one_in(3) ? outlive(model, random) : capture(model, random)) say(one);
      continue;
    }
    say(command(random.one_in(i < commands / 2 ? 4 : 1)
                    ? any_opcode(random)
                    : opcode_named(kFirst[random.below(std::size(kFirst))]),
                model, random));
  }
  return all;
}

// What stands before `end`.
Model model_of(const Bytes& input, const std::vector<std::size_t>& begins, std::size_t end) {
  Model model;
  for (std::size_t i = 0; i + 1 < begins.size() && begins[i] < end; ++i)
    model.see(input, begins[i], begins[i + 1]);
  return model;
}

}  // namespace

Bytes generate(Random& random, std::size_t commands) {
  return generate_on({}, random, commands);
}

std::vector<Bytes> one_of_each(Random& random) {
  std::vector<Bytes> all;
  for (std::uint16_t opcode = 1; opcode < wire::kOpcodeCount; ++opcode) {
    Bytes input = generate(random, 12);
    const auto begins = starts(input);
    const Bytes one = command(opcode, model_of(input, begins, input.size()), random);
    input.insert(input.end(), one.begin(), one.end());
    all.push_back(std::move(input));
  }
  return all;
}

Bytes mutate(const Bytes& input, Random& random) {
  if (input.empty()) return generate(random, 1 + random.below(60));
  Bytes changed = input;
  const auto begins = starts(input);
  const std::size_t which = random.below(begins.size());
  const std::size_t begin = begins[which], end = which + 1 < begins.size() ? begins[which + 1] : input.size();
  const auto at = [&](std::size_t place) { return changed.begin() + static_cast<std::ptrdiff_t>(place); };
  switch (random.below(7)) {
    case 0:
    case 1: {
      const std::size_t place = random.one_in(2) ? begin : input.size() - input.size() % 8;
      const Bytes more =
          generate_on(model_of(input, begins, place), random, 1 + random.below(random.one_in(4) ? 40 : 5));
      changed.insert(at(place), more.begin(), more.end());
      break;
    }
    case 2:
      changed.erase(at(begin), at(end));
      break;
    case 3:  // once more, later
      changed.insert(changed.end(), input.begin() + static_cast<std::ptrdiff_t>(begin),
                     input.begin() + static_cast<std::ptrdiff_t>(end));
      break;
    case 4: {  // one field anew
      std::uint16_t opcode = 0;
      if (end - begin >= sizeof(wire::CommandHeader))
        std::memcpy(&opcode, input.data() + begin + 4, sizeof opcode);
      if (opcode == 0 || opcode >= wire::kOpcodeCount) break;
      const wire::CommandInfo& info = wire::kCommands[opcode];
      if (info.field_count == 0 || end - begin < info.fixed_bytes) break;
      const FieldInfo& field = info.fields[random.below(info.field_count)];
      Bytes one(at(begin), at(end));
      if (field.kind == FieldKind::scalar) {
        scalar(one, info, field, model_of(input, begins, begin), random);
      } else {
        put(one, field,
            handle(kind_of(field.kind), makes_new(field.kind), model_of(input, begins, begin), random));
      }
      std::copy(one.begin(), one.end(), at(begin));
      break;
    }
    case 5:  // a word of the command, header included
      if (end - begin >= 8) {
        const std::uint64_t word = any_number(random);
        std::memcpy(changed.data() + begin + random.below((end - begin) / 8) * 8, &word, sizeof word);
      }
      break;
    default:
      changed[random.below(changed.size())] ^= static_cast<std::byte>(1u << random.below(8));
      break;
  }
  return changed;
}

}  // namespace tfusion::fuzz
