// The key by which the lowering asks for a handler: what the instruction does, on which types, with which
// modifiers.
//
// Each instruction set's table (lane_tables.hpp) answers the same keys.
#pragma once

#include <cstdint>

#include "instruction.hpp"
#include "types.hpp"

namespace tfusion::software::ptx {

enum class Op : std::uint8_t {
  // moves
  copy,
  zero_extend,
  sign_extend,
  pack,
  unpack,
  select,
  slct,
  // integers
  add,
  sub,
  mul_lo,
  mul_hi,
  mul_wide,
  mul24_lo,
  mul24_hi,
  mad_lo,
  mad_hi,
  mad_wide,
  mad24_lo,
  mad24_hi,
  sad,
  div,
  rem,
  abs,
  neg,
  min,
  max,
  popc,
  clz,
  brev,
  bfe,
  bfi,
  bfind,
  bfind_shift,
  fns,
  shf_left,
  shf_right,
  dp4a,
  dp2a_lo,
  dp2a_hi,
  bmsk,
  szext,
  add_carry,
  sub_borrow,
  mad_lo_carry,
  mad_hi_carry,
  vote_count,
  // logic
  and_,
  or_,
  xor_,
  not_,
  cnot,
  lop3,
  shl,
  shr,
  prmt,
  // floating point
  mul,
  fma,
  rcp,
  sqrt,
  rsqrt,
  sin,
  cos,
  ex2,
  lg2,
  tanh,
  copysign,
  testp,
  div_full,
  // comparisons
  setp,
  set,
  // conversions
  convert,
  // memory
  load,
  store,
  load_param,
};

enum class Rounding : std::uint8_t { none, rn, rz, rm, rp, rna, rni, rzi, rmi, rpi };

enum class Compare : std::uint8_t {
  eq,
  ne,
  lt,
  le,
  gt,
  ge,
  lo,
  ls,
  hi,
  hs,
  equ,
  neu,
  ltu,
  leu,
  gtu,
  geu,
  num,
  nan,
};

enum class Combine : std::uint8_t { none, and_, or_, xor_ };

// What testp asks.
enum class Test : std::uint8_t { finite, infinite, number, notanumber, normal, subnormal };

struct Operation {
  Op op;
  Type type = Type::none;    // of the result, if there are two
  Type source = Type::none;  // conversions, set, slct
  Rounding rounding = Rounding::none;
  Compare compare = Compare::eq;
  Combine combine = Combine::none;
  Test test = Test::finite;
  Space space = Space::global;
  bool flush = false;     // .ftz
  bool saturate = false;  // .sat; min and max: .NaN; shf: .wrap
  bool approx = false;
  bool nan = false;       // min, max: .NaN
  bool xor_sign = false;  // min, max: .xorsign.abs
  bool absolute = false;
  bool relu = false;
  bool carry_in = false;
  bool carry_out = false;
  std::uint8_t count = 1;  // elements of a vector load or store
};

// nullptr: there is no such instruction. Picks the code for this machine's instruction set.
Handler find_handler(const Operation& operation);

}  // namespace tfusion::software::ptx
