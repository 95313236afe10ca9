// The grammar of graphs, whose numbers the worker gives: what a client would know of them, which is a guess
// at how the worker numbers (densely, from generation 1, ended places first), and what nodes carry.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "commands.hpp"
#include "grammar.hpp"
#include "protocol/handle.hpp"

namespace tfusion::fuzz {

// The numbers of one kind of object, if all went well.
class GuessedNumbers {
 public:
  explicit GuessedNumbers(protocol::HandleKind kind) : kind_(kind) {}
  void made();
  void ended(std::uint64_t number);
  std::uint64_t any(Random& random) const;

 private:
  protocol::HandleKind kind_;
  std::vector<std::uint16_t> generations_;  // by place
  std::vector<std::uint32_t> free_;
  std::vector<std::uint64_t> alive_, gone_;
};

class GuessedGraphs {
 public:
  // A command that stands in the input; `field` gives the value of one of its fields by name.
  void see(std::string_view command, const std::function<std::uint64_t(std::string_view)>& field);

  // A value for a field of a command that names such objects; false for another field.
  bool value(const wire::CommandInfo& info, const wire::FieldInfo& field, Random& random,
             std::uint64_t* value) const;
  std::uint64_t node(Random& random) const { return nodes_.any(random); }
  std::uint64_t graph(Random& random) const { return graphs_.any(random); }

 private:
  GuessedNumbers graphs_{protocol::HandleKind::graph};
  GuessedNumbers nodes_{protocol::HandleKind::graph_node};
  GuessedNumbers execs_{protocol::HandleKind::graph_exec};
};

// Where the rest of a session comes from.
struct Session {
  std::function<std::uint64_t(protocol::HandleKind)> handle;
  std::function<std::uint64_t()> address;  // in memory, or just beside it
  std::function<std::uint64_t()> number;   // any at all
};

// What a node of that type (CUgraphNodeType) carries.
Bytes node_parameters(std::uint64_t type, const GuessedGraphs& graphs, const Session& session,
                      Random& random);

}  // namespace tfusion::fuzz
