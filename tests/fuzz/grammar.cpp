#include "grammar.hpp"

#include <cuda.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "commands.hpp"
#include "grammar_command.hpp"
#include "grammar_model.hpp"
#include "protocol/handle.hpp"

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
