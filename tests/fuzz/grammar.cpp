#include "grammar.hpp"

#include <cuda.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "commands.hpp"
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

constexpr HandleKind kKinds[] = {HandleKind::stream, HandleKind::event, HandleKind::module,
                                 HandleKind::kernel, HandleKind::link};

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

// Few places and generations, so that commands meet: what one makes another uses, or a third has ended.
std::uint64_t handle(HandleKind kind, bool makes, Random& random) {
  if (random.one_in(60)) return any_number(random);
  if (random.one_in(60)) kind = kKinds[random.below(std::size(kKinds))];
  if (kind == HandleKind::stream && !makes && random.one_in(3)) return 1;
  const std::uint32_t index = random.one_in(100)
                                  ? static_cast<std::uint32_t>(random.below(kMaxHandleIndex + 2))
                                  : static_cast<std::uint32_t>(random.below(makes ? 10 : 5));
  return pack({kind, static_cast<std::uint16_t>(random.one_in(20) ? random.below(4096) : 1), index});
}

std::uint64_t address(Random& random, bool whole_pages) {
  if (random.one_in(60)) return any_number(random);
  std::uint64_t start = kDeviceArenaAddress;
  if (!whole_pages && random.one_in(4)) start = kHostArenaAddress;
  if (!whole_pages && random.one_in(10))
    start = 0x700000000000 + random.below(64) * 0x10000;  // a module's variable
  if (random.one_in(40)) start += kDeviceArenaBytes - 4 * kArenaPageBytes;
  start += random.below(6) * kArenaPageBytes;
  return whole_pages || random.one_in(2) ? start : start + random.below(kArenaPageBytes);
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

void scalar(Bytes& command, const wire::CommandInfo& info, const FieldInfo& field, Random& random) {
  const bool memory =
      std::string_view(info.name).starts_with("Memory") || std::string_view(info.name).starts_with("Host");
  if (field.bytes > 8) {
    for (std::uint16_t i = 0; i < field.bytes; ++i) {
      command[field.offset + i] = static_cast<std::byte>(random.one_in(2) ? random.next() : i % 4 == 0);
    }
  } else if (is(field, "address") || is(field, "destination") || is(field, "source") ||
             is(field, "dstDevice")) {
    put(command, field, address(random, memory));
  } else if (is(field, "offset")) {
    put(command, field,
        random.one_in(8) ? any_number(random) : random.below(6) * (memory ? kArenaPageBytes : 0));
  } else if (is(field, "chunk")) {
    put(command, field, random.one_in(30) ? any_number(random) : random.below(kChunks + 1));
  } else if (is(field, "bytes")) {
    put(command, field, memory && !random.one_in(8) ? kArenaPageBytes * (1 + random.below(3)) : size(random));
  } else if (is(field, "element_bytes")) {
    put(command, field, random.one_in(30) ? any_number(random) : std::uint64_t{1} << random.below(3));
  } else if (is(field, "height") && random.one_in(2)) {
    put(command, field, 1);
  } else if (is(field, "width") || is(field, "height") || std::string_view(field.name).ends_with("pitch")) {
    put(command, field, random.one_in(10) ? any_number(random) : random.below(3000));
  } else {
    put(command, field, random.one_in(4) ? any_number(random) : random.below(4));
  }
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
      return random.one_in(2) ? "kernel" : "variable";
  }
}

// Brings the fields and the tail together as the command needs it.
Bytes tail_for(Bytes& command, const wire::CommandInfo& info, Random& random) {
  Bytes tail;
  const std::string_view what = info.name;
  for (std::uint16_t i = 0; i < info.field_count; ++i) {
    if (!is(info.fields[i], "digest")) continue;
    const std::size_t which = random.below(images().size());
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
    const std::uint64_t count = random.below(random.one_in(10) ? 40 : 4);
    for (std::uint64_t i = 0; i < count; ++i) {
      append(tail, static_cast<std::uint64_t>(kOptions[random.below(std::size(kOptions))]));
      append(tail, any_number(random));
    }
    set(command, info, "option_count", count);
  };
  auto attributes = [&] {
    const std::uint64_t count = random.below(random.one_in(10) ? 35 : 3);
    for (std::uint64_t i = 0; i < count; ++i) {
      CUlaunchAttribute attribute{};
      attribute.id =
          static_cast<CUlaunchAttributeID>(random.one_in(20) ? random.below(40) : 1 + random.below(10));
      for (char& byte : attribute.value.pad) byte = static_cast<char>(random.below(4));
      const std::uint64_t event = handle(HandleKind::event, false, random);
      std::memcpy(attribute.value.pad, &event, sizeof event);
      tail.resize(tail.size() + sizeof attribute);
      std::memcpy(tail.data() + tail.size() - sizeof attribute, &attribute, sizeof attribute);
    }
    set(command, info, "attribute_count", count);
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
  } else if (what == "CopyInline") {
    tail.resize(random.one_in(10) ? random.below(20'000) : 1 + random.below(100));
  } else {
    append(tail, name(random));
  }
  return tail;
}

Bytes command(std::uint16_t opcode, Random& random) {
  const wire::CommandInfo& info = wire::kCommands[opcode];
  Bytes made(info.fixed_bytes);
  for (std::uint16_t i = 0; i < info.field_count; ++i) {
    const FieldInfo& field = info.fields[i];
    if (field.kind == FieldKind::scalar) {
      scalar(made, info, field, random);
    } else {
      put(made, field, handle(kind_of(field.kind), makes_new(field.kind), random));
    }
  }
  Bytes tail = tail_for(made, info, random);
  if (random.one_in(30)) tail.resize(random.below(tail.size() + 20));
  if (!info.tail && !random.one_in(200)) tail.clear();
  const std::uint32_t bytes = wire::padded(made.size() + tail.size());
  wire::CommandHeader header{bytes, opcode, wire::kNoReply, static_cast<std::uint32_t>(tail.size()), 0};
  if (info.sync)
    header.reply_slot = static_cast<std::uint16_t>(random.below(random.one_in(100) ? 70 : kReplySlots));
  if (random.one_in(200)) header.tail_bytes = static_cast<std::uint32_t>(any_number(random));
  if (random.one_in(200)) header.bytes = static_cast<std::uint32_t>(any_number(random));
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

Bytes generate(Random& random, std::size_t commands) {
  // What others need comes first, more often than chance would have it.
  static const std::string_view kFirst[] = {"StreamCreate",    "EventCreate",     "MemoryCommit",
                                            "HostCommit",      "ModuleLoad",      "LinkCreate",
                                            "ModuleGetKernel", "ModuleGetGlobal", "LinkAdd"};
  Bytes all;
  for (std::size_t i = 0; i < commands; ++i) {
    const std::uint16_t opcode = random.one_in(i < commands / 2 ? 4 : 1)
                                     ? any_opcode(random)
                                     : opcode_named(kFirst[random.below(std::size(kFirst))]);
    const Bytes one = command(opcode, random);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

std::vector<Bytes> one_of_each(Random& random) {
  std::vector<Bytes> all;
  for (std::uint16_t opcode = 1; opcode < wire::kOpcodeCount; ++opcode) {
    Bytes input = generate(random, 12);
    const Bytes one = command(opcode, random);
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
      const Bytes more = generate(random, 1 + random.below(random.one_in(4) ? 40 : 3));
      changed.insert(at(random.one_in(2) ? begin : input.size() - input.size() % 8), more.begin(),
                     more.end());
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
        scalar(one, info, field, random);
      } else {
        put(one, field, handle(kind_of(field.kind), makes_new(field.kind), random));
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
