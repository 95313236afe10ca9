// Exchanges within a warp: shuffles, votes, matches, reductions.
//
// collect_* puts the lanes' values into Lanes::exchange; the handlers then read those of Lanes::peers, the
// lanes that take part, and write their results to the lanes of exec.

#include <algorithm>
#include <bit>

#include "handlers.hpp"
#include "lanes.hpp"

namespace tfusion::software::ptx {

namespace {

template <class Visit>
void for_exec(const Lanes& l, Visit visit) {
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    for (std::uint32_t rest = l.exec[w]; rest != 0; rest &= rest - 1) {
      visit(w, w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest)));
    }
  }
}

template <class T>
void collect(Lanes& l, const Instr& in) {
  const T* const from = l.row<T>(in.a);
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    const std::uint32_t first = w * kWarp;
    for (std::uint32_t i = 0; i < kWarp; ++i) {
      if (((l.exec[w] >> i) & 1) != 0) l.exchange[first + i] = from[first + i];
    }
  }
}

template <Shuffle Mode>
void shuffle(Lanes& l, const Instr& in) {
  const std::uint32_t* const b = l.row<std::uint32_t>(in.b);
  const std::uint32_t* const c = l.row<std::uint32_t>(in.c);
  std::uint32_t* const out = l.row<std::uint32_t>(in.dst);
  std::uint8_t* const valid = in.dst2 == kNoRow ? nullptr : l.row<std::uint8_t>(in.dst2);
  const auto one = [&](std::uint32_t w, std::uint32_t lane) {
    const std::uint32_t own = lane % kWarp;
    const std::uint32_t value = b[lane] & 31;
    const std::uint32_t clamp = c[lane] & 31;
    const std::uint32_t segment = (c[lane] >> 8) & 31;
    const std::uint32_t maximum = (own & segment) | (clamp & ~segment);
    const std::uint32_t minimum = own & segment;
    std::uint32_t from = 0;
    bool ok = false;
    if constexpr (Mode == Shuffle::up) {
      from = own - value;
      ok = static_cast<std::int32_t>(from) >= static_cast<std::int32_t>(maximum);
    } else if constexpr (Mode == Shuffle::down) {
      from = own + value;
      ok = from <= maximum;
    } else if constexpr (Mode == Shuffle::butterfly) {
      from = own ^ value;
      ok = from <= maximum;
    } else {
      from = minimum | (value & ~segment);
      ok = from <= maximum;
    }
    if (!ok) from = own;
    from &= 31;
    // A lane that takes no part has no value to give.
    const std::uint32_t source = ((l.peers[w] >> from) & 1) != 0 ? from : own;
    out[lane] = static_cast<std::uint32_t>(l.exchange[w * kWarp + source]);
    if (valid != nullptr) valid[lane] = ok ? 1 : 0;
  };
  for_exec(l, one);
}

// Lanes of a warp that take part and brought true.
std::uint32_t trues(const Lanes& l, std::uint32_t w) {
  std::uint32_t mask = 0;
  for (std::uint32_t i = 0; i < kWarp; ++i)
    mask |= static_cast<std::uint32_t>(l.exchange[w * kWarp + i] & 1) << i;
  return mask & l.peers[w];
}

// The lanes that a lane's own mask names and that take part: several groups of one warp may exchange at a
// time.
std::uint32_t group(const Lanes& l, const Instr& in, std::uint32_t w, std::uint32_t lane) {
  return (l.row<std::uint32_t>(in.d)[lane] | std::uint32_t{1} << (lane % kWarp)) & l.peers[w];
}

template <Vote Mode>
void vote(Lanes& l, const Instr& in) {
  std::uint32_t set[kMaxWarps] = {};
  for (std::uint32_t w = 0; w < l.warps; ++w) set[w] = l.exec[w] != 0 ? trues(l, w) : 0;
  for_exec(l, [&](std::uint32_t w, std::uint32_t lane) {
    const std::uint32_t members = group(l, in, w, lane);
    const std::uint32_t yes = set[w] & members;
    if constexpr (Mode == Vote::ballot) {
      l.row<std::uint32_t>(in.dst)[lane] = yes;
    } else {
      const bool result = Mode == Vote::all   ? yes == members
                          : Mode == Vote::any ? yes != 0
                                              : (yes == 0 || yes == members);
      l.row<std::uint8_t>(in.dst)[lane] = result ? 1 : 0;
    }
  });
}

template <bool All>
void match(Lanes& l, const Instr& in) {
  for_exec(l, [&](std::uint32_t w, std::uint32_t lane) {
    const std::uint32_t members = group(l, in, w, lane);
    const std::uint64_t own = l.exchange[lane];
    std::uint32_t same = 0;
    for (std::uint32_t rest = members; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<std::uint32_t>(std::countr_zero(rest));
      if (l.exchange[w * kWarp + i] == own) same |= std::uint32_t{1} << i;
    }
    if (All) {
      l.row<std::uint32_t>(in.dst)[lane] = same == members ? members : 0;
      if (in.dst2 != kNoRow) l.row<std::uint8_t>(in.dst2)[lane] = same == members ? 1 : 0;
    } else {
      l.row<std::uint32_t>(in.dst)[lane] = same;
    }
  });
}

template <Reduce Mode, class T>
void reduce(Lanes& l, const Instr& in) {
  for_exec(l, [&](std::uint32_t w, std::uint32_t lane) {
    const std::uint32_t members = group(l, in, w, lane);
    std::uint32_t result = static_cast<std::uint32_t>(
        l.exchange[w * kWarp + static_cast<std::uint32_t>(std::countr_zero(members))]);
    for (std::uint32_t rest = members & (members - 1); rest != 0; rest &= rest - 1) {
      const auto value = static_cast<std::uint32_t>(
          l.exchange[w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest))]);
      const auto a = static_cast<T>(result);
      const auto b = static_cast<T>(value);
      if constexpr (Mode == Reduce::add) result += value;
      if constexpr (Mode == Reduce::min) result = static_cast<std::uint32_t>(std::min(a, b));
      if constexpr (Mode == Reduce::max) result = static_cast<std::uint32_t>(std::max(a, b));
      if constexpr (Mode == Reduce::and_) result &= value;
      if constexpr (Mode == Reduce::or_) result |= value;
      if constexpr (Mode == Reduce::xor_) result ^= value;
    }
    l.row<std::uint32_t>(in.dst)[lane] = result;
  });
}

template <Reduce Mode>
Handler reduce_of(bool is_signed) {
  return is_signed ? &reduce<Mode, std::int32_t> : &reduce<Mode, std::uint32_t>;
}

}  // namespace

void collect_words(Lanes& l, const Instr& in) {
  collect<std::uint32_t>(l, in);
}
void collect_long_words(Lanes& l, const Instr& in) {
  collect<std::uint64_t>(l, in);
}
void collect_predicates(Lanes& l, const Instr& in) {
  collect<std::uint8_t>(l, in);
}
void collect_nothing(Lanes&, const Instr&) {}

Handler find_shuffle(Shuffle mode) {
  switch (mode) {
    case Shuffle::up:
      return &shuffle<Shuffle::up>;
    case Shuffle::down:
      return &shuffle<Shuffle::down>;
    case Shuffle::butterfly:
      return &shuffle<Shuffle::butterfly>;
    case Shuffle::index:
      return &shuffle<Shuffle::index>;
  }
  return nullptr;
}

Handler find_vote(Vote mode) {
  switch (mode) {
    case Vote::all:
      return &vote<Vote::all>;
    case Vote::any:
      return &vote<Vote::any>;
    case Vote::uniform:
      return &vote<Vote::uniform>;
    case Vote::ballot:
      return &vote<Vote::ballot>;
  }
  return nullptr;
}

Handler find_match(bool all, std::uint32_t) {
  return all ? &match<true> : &match<false>;
}

Handler find_reduce(Reduce mode, bool is_signed) {
  switch (mode) {
    case Reduce::add:
      return reduce_of<Reduce::add>(is_signed);
    case Reduce::min:
      return reduce_of<Reduce::min>(is_signed);
    case Reduce::max:
      return reduce_of<Reduce::max>(is_signed);
    case Reduce::and_:
      return reduce_of<Reduce::and_>(is_signed);
    case Reduce::or_:
      return reduce_of<Reduce::or_>(is_signed);
    case Reduce::xor_:
      return reduce_of<Reduce::xor_>(is_signed);
  }
  return nullptr;
}

void elect(Lanes& l, const Instr& in) {
  for_exec(l, [&](std::uint32_t w, std::uint32_t lane) {
    const auto leader = static_cast<std::uint32_t>(std::countr_zero(group(l, in, w, lane)));
    l.row<std::uint32_t>(in.dst)[lane] = leader;
    l.row<std::uint8_t>(in.dst2)[lane] = leader == lane % kWarp ? 1 : 0;
  });
}

}  // namespace tfusion::software::ptx
