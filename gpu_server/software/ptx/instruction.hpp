// The executor's own instruction form, made by the lowering and run by Gang (gang.cpp).
//
// A register is a row of `width` lanes; an Instr names rows by their offset in bytes per lane, so that the
// row's address is frame + offset * width. Every operand is such a row: constants have rows of their own,
// filled when a frame is made. While the lowering is at work the same fields hold numbers of virtual
// registers instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "types.hpp"

namespace tfusion::software::ptx {

struct Lanes;
struct Instr;
using Handler = void (*)(Lanes&, const Instr&);

constexpr std::uint32_t kNoRow = ~std::uint32_t{0};

enum class Kind : std::uint8_t {
  plain,          // run() and go on
  fall,           // go on at `target`, the start of the next block
  branch,         // to `target`, or where the guard is false to the next instruction
  branch_index,   // to Function::tables[extra][row a]
  call,           // CallSite `extra`
  call_indirect,  // the same, function address in row a
  ret,
  exit,
  trap,
  barrier,   // bar/barrier of the whole block: Barrier `extra`
  exchange,  // waits for the lanes named by row d, then run() with all of them
};

struct Instr {
  Handler run = nullptr;
  Handler collect = nullptr;  // exchange: puts each lane's values into the exchange
  std::int64_t imm = 0;
  std::uint32_t dst = kNoRow;
  std::uint32_t dst2 = kNoRow;
  std::uint32_t a = kNoRow;
  std::uint32_t b = kNoRow;
  std::uint32_t c = kNoRow;
  std::uint32_t d = kNoRow;
  std::uint32_t guard = kNoRow;
  std::uint32_t target = 0;
  std::uint32_t extra = 0;  // index into a table of the function, by kind or handler
  std::uint32_t list = 0;   // rows of a vector operand: Function::rows[list .. list + list_count)
  std::uint32_t line = 0;
  std::uint8_t list_count = 0;
  Kind kind = Kind::plain;
  bool guard_negated = false;
  bool list_written = false;  // the list's rows are results
  bool waits = false;         // reads memory in a way that a spinning thread would: see Gang's fairness
};

// bar.sync, bar.red, bar.arrive
struct Barrier {
  enum class Reduction : std::uint8_t { none, popc, all, any } reduction = Reduction::none;
  bool arrive = false;  // does not wait
};

// Bytes that a call moves between the caller's and the callee's frames in local memory.
struct CallArgument {
  std::uint32_t offset;  // in the caller's frame
  std::uint32_t bytes;
};

struct CallSite {
  std::uint32_t function = 0;  // Code::functions; for a direct call
  std::vector<CallArgument> parameters;
  std::vector<CallArgument> returns;
};

// A row of one value in every lane, set when a frame is made.
struct ConstantRow {
  std::uint32_t row = 0;
  std::uint32_t bytes = 0;
  std::uint64_t value = 0;
  std::int32_t symbol = -1;  // its address is added: an index into the program's variables
};

struct FunctionCode {
  std::string name;
  std::vector<Instr> code;
  std::vector<std::uint32_t> rows;
  std::vector<std::vector<std::uint32_t>> tables;
  std::vector<CallSite> calls;
  std::vector<Barrier> barriers;
  std::vector<ConstantRow> constants;
  std::vector<CallArgument> parameters;  // where this function's own parameters lie in its frame
  std::vector<CallArgument> returns;
  std::uint32_t row_bytes = 0;    // bytes per lane of all rows
  std::uint32_t local_bytes = 0;  // its frame in local memory, per thread
  bool calls_others = false;
};

}  // namespace tfusion::software::ptx
