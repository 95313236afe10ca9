// Inputs of the decoder's fuzz target, made by the grammar of the command table: mostly well-formed commands
// whose handles, addresses and sizes often meet, so that what follows a check is reached as well as the
// check.
//
// An input is what a client would write to the ring from its start: commands one after another. Here is what
// decoder.cpp asks for: whole inputs. grammar_command.hpp makes each command, grammar_model.hpp knows what
// stands before it, grammar_graphs.hpp the same of graphs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "protocol/sha256.hpp"

namespace tfusion::fuzz {

using Bytes = std::vector<std::byte>;

// Pseudo-random numbers; the whole of an input's making depends on the seed alone.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint64_t next();
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

// Images that commands name. The first kStored are in the cache before an input begins; the content of each
// is in the staging chunk of its number, so that a client may upload it.
struct KnownImage {
  Bytes bytes;
  protocol::Digest digest;
};
inline constexpr std::size_t kStored = 3;
const std::vector<KnownImage>& images();

// A sequence of commands that a well-behaved client could send, with a slip now and then.
Bytes generate(Random& random, std::size_t commands);
// One of every command of the table, in their order; for the seed corpus.
std::vector<Bytes> one_of_each(Random& random);
// Changes the input by a command or a field.
Bytes mutate(const Bytes& input, Random& random);

}  // namespace tfusion::fuzz
