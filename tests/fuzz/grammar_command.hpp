// One command of the grammar, made for a place in an input: `model` says what stands before it. Handles,
// addresses and sizes mostly fit it; one in kSlip is anything.
#pragma once

#include <cstdint>
#include <string_view>

#include "commands.hpp"
#include "grammar.hpp"
#include "grammar_model.hpp"
#include "protocol/handle.hpp"

namespace tfusion::fuzz {

inline constexpr std::uint64_t kSlip = 300;  // one in so many is anything; most of these end the session

std::uint64_t any_number(Random& random);
std::uint16_t any_opcode(Random& random);
std::uint16_t opcode_named(std::string_view name);

Bytes command(std::uint16_t opcode, const Model& model, Random& random);
// A value for a field that holds a handle; `makes` where the command gives the object its number.
std::uint64_t handle(protocol::HandleKind kind, bool makes, const Model& model, Random& random);
// A value for any other field, put into the command.
void scalar(Bytes& command, const wire::CommandInfo& info, const wire::FieldInfo& field, const Model& model,
            Random& random);

// Puts a value into a field of a command that is made.
void put(Bytes& command, const wire::FieldInfo& field, std::uint64_t value);
void set(Bytes& command, const wire::CommandInfo& info, std::string_view name, std::uint64_t value);

}  // namespace tfusion::fuzz
