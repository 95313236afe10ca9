// Handlers that are compiled once, whatever the machine: special registers, atomics, warp exchanges, built-in
// functions. The lowering asks for them here; the fast arithmetic ones are in lane_*.hpp.
#pragma once

#include <cstdint>
#include <string_view>

#include "instruction.hpp"
#include "texture_operation.hpp"
#include "types.hpp"

namespace tfusion::software::ptx {

// --- special_registers.cpp

struct SpecialRegister {
  Handler run;
  std::uint32_t bytes;
  std::int64_t imm;
};
// run == nullptr: no such special register. `component`: -1 if none was given.
SpecialRegister find_special_register(std::string_view name, int component);
void read_local_base(Lanes&, const Instr&);  // dst(8) = address of byte imm of the running frame
void is_in_window(Lanes&, const Instr&);     // isspacep: dst = a in window imm (a Space)
void read_active_mask(Lanes&, const Instr&);
void full_fence(Lanes&, const Instr&);
void do_nothing(Lanes&, const Instr&);

// --- atomics.cpp

enum class AtomicOp : std::uint8_t { add, exch, cas, min, max, inc, dec, and_, or_, xor_ };
// dst = old value (kNoRow: red), a = address, b, c = operands, imm = offset. nullptr: there is no such
// instruction.
Handler find_atomic(AtomicOp op, Type type, Space space);

// --- warp_handlers.cpp: kinds of exchange. `collect` puts row a (c: predicates) into the exchange.

void collect_words(Lanes&, const Instr&);       // of 4 bytes
void collect_long_words(Lanes&, const Instr&);  // of 8 bytes
void collect_predicates(Lanes&, const Instr&);
void collect_nothing(Lanes&, const Instr&);
enum class Shuffle : std::uint8_t { up, down, butterfly, index };
Handler find_shuffle(Shuffle mode);  // dst, dst2 = predicate or kNoRow, b = lane, c = clamp and segment mask
enum class Vote : std::uint8_t { all, any, uniform, ballot };
Handler find_vote(Vote mode);
Handler find_match(bool all, std::uint32_t bytes);
enum class Reduce : std::uint8_t { add, min, max, and_, or_, xor_ };
Handler find_reduce(Reduce mode, bool is_signed);
void elect(Lanes&, const Instr&);

// --- texture_handlers.cpp: imm is a TextureOperation

void texture_fetch(Lanes&, const Instr&);  // list of 4 results; a(8): object, b, c, d: coordinates
void texture_query(Lanes&, const Instr&);  // dst(4); a(8)
void surface_load(Lanes&, const Instr&);   // list of results; a(8), b, c, d
void surface_store(Lanes&, const Instr&);  // list of values; a(8), b, c, d

// --- builtins.cpp

void device_printf(Lanes&, const Instr&);  // dst(4) = a: format, b: arguments
void device_assert(Lanes&, const Instr&);  // a: message, b: file, c: line(4), d: function
void device_malloc(Lanes&, const Instr&);  // dst(8) = a(8)
void device_free(Lanes&, const Instr&);    // a(8)

}  // namespace tfusion::software::ptx
