// Where lanes of a gang wait for others: barriers of the block, and exchanges within a warp.

#include <bit>
#include <cstring>

#include "launch.hpp"

namespace tfusion::software::ptx {

// True: goes on (bar.arrive, or the barrier was complete).
bool Gang::barrier(const Instr& in) {
  const Barrier& what = current_.frame->code->barriers[in.extra];
  const std::uint32_t* const ids = lanes_.row<std::uint32_t>(in.a);
  std::uint32_t first = ~std::uint32_t{0};
  LaneMask others = {};
  bool some_other = false;
  std::uint32_t trues = 0;
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    for (std::uint32_t rest = current_.lanes[w]; rest != 0; rest &= rest - 1) {
      const std::uint32_t lane = w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest));
      if (first == ~std::uint32_t{0}) first = lane;
      if (ids[lane] != ids[first]) {
        others[w] |= std::uint32_t{1} << (lane % kWarp);
        some_other = true;
      } else if (in.c != kNoRow && lanes_.row<std::uint8_t>(in.c)[lane] != 0) {
        ++trues;
      }
    }
  }
  const std::uint32_t id = ids[first];
  if (id >= Block::kBarriers)
    throw Fault{Outcome::illegal_instruction, first,
                "barrier number " + std::to_string(id) + " (there are 0 to 15)"};
  const std::uint32_t expected = in.b == kNoRow ? 0 : lanes_.row<std::uint32_t>(in.b)[first];
  if (some_other) split(others, current_.pc);
  std::uint32_t arrived = 0;
  for (const std::uint32_t word : current_.lanes) arrived += static_cast<std::uint32_t>(std::popcount(word));
  if (what.arrive) {
    ++current_.pc;
    block_->arrive(id, arrived, expected, what, trues);
    find_limit();
    return true;
  }
  current_.state = Fragment::State::barrier;
  current_.barrier = id;
  suspend();
  block_->arrive(id, arrived, expected, what, trues);
  return false;
}

void Gang::release_barrier(std::uint32_t id, std::uint32_t value) {
  for (std::size_t i = 0; i < fragments_.size();) {
    if (fragments_[i].state != Fragment::State::barrier || fragments_[i].barrier != id) {
      ++i;
      continue;
    }
    Fragment fragment = fragments_[i];
    fragments_[i] = fragments_.back();
    fragments_.pop_back();
    const Instr& in = fragment.frame->code->code[fragment.pc];
    const Barrier& what = fragment.frame->code->barriers[in.extra];
    if (what.reduction != Barrier::Reduction::none) {
      std::byte* const row = fragment.frame->rows.get() + std::size_t{in.dst} * lanes_.width;
      for (std::uint32_t lane = 0; lane < lanes_.width; ++lane) {
        if (((fragment.lanes[lane / kWarp] >> (lane % kWarp)) & 1) == 0) continue;
        if (what.reduction == Barrier::Reduction::popc) {
          std::memcpy(row + std::size_t{4} * lane, &value, 4);
        } else {
          row[lane] = static_cast<std::byte>(value);
        }
      }
    }
    ++fragment.pc;
    fragment.state = Fragment::State::runnable;
    add(fragment);
    i = 0;  // add() may have moved fragments
  }
}

// True: all lanes it waits for were here, and it is done.
bool Gang::exchange(const Instr& in) {
  const std::uint32_t* const masks = lanes_.row<std::uint32_t>(in.d);
  bool complete = true;
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    std::uint32_t wanted = current_.lanes[w];
    for (std::uint32_t rest = wanted; rest != 0; rest &= rest - 1) {
      wanted |= masks[w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest))];
    }
    current_.needed[w] = wanted & lanes_.live[w];
    if ((current_.needed[w] & ~current_.lanes[w]) != 0) complete = false;
  }
  if (complete) {
    in.collect(lanes_, in);
    std::memcpy(lanes_.peers, current_.lanes, sizeof(LaneMask));
    in.run(lanes_, in);
    return true;
  }
  current_.state = Fragment::State::exchange;
  suspend();
  waiters_ = true;
  return false;
}

void Gang::release_exchanges() {
  bool again = true;
  while (again) {
    again = false;
    waiters_ = false;
    for (std::size_t i = 0; i < fragments_.size() && !again; ++i) {
      if (fragments_[i].state != Fragment::State::exchange) continue;
      waiters_ = true;
      for (std::uint32_t w = 0; w < lanes_.warps && !again; ++w) {
        if (fragments_[i].lanes[w] != 0) again = release_warp(i, w);
      }
    }
  }
}

// Completes the exchange that this fragment's lanes of a warp wait for, if all of them wait. True: it did.
bool Gang::release_warp(std::size_t index, std::uint32_t warp) {
  std::uint32_t wanted = fragments_[index].needed[warp];
  std::uint32_t present = 0;
  for (bool grown = true; grown;) {
    grown = false;
    for (const Fragment& f : fragments_) {
      if (f.state != Fragment::State::exchange || (f.lanes[warp] & wanted) == 0) continue;
      if ((f.lanes[warp] & ~present) != 0 || (f.needed[warp] & ~wanted) != 0) {
        present |= f.lanes[warp];
        wanted |= f.needed[warp] | f.lanes[warp];
        grown = true;
      }
    }
  }
  if ((wanted & lanes_.live[warp] & ~present) != 0) return false;

  // Lanes may stand at different instructions: all bring their values before any takes one.
  std::vector<Fragment> pieces;
  for (std::size_t i = 0; i < fragments_.size();) {
    Fragment& f = fragments_[i];
    if (f.state != Fragment::State::exchange || (f.lanes[warp] & present) == 0) {
      ++i;
      continue;
    }
    Fragment piece = f;
    std::memset(piece.lanes, 0, sizeof(LaneMask));
    piece.lanes[warp] = f.lanes[warp];
    f.lanes[warp] = 0;
    ++piece.frame->users;
    pieces.push_back(piece);
    std::uint32_t left = 0;
    for (const std::uint32_t word : f.lanes) left |= word;
    if (left == 0) {
      --f.frame->users;
      fragments_[i] = fragments_.back();
      fragments_.pop_back();
    } else {
      ++i;
    }
  }
  for (const Fragment& piece : pieces) {
    enter(piece);
    const Instr& in = piece.frame->code->code[piece.pc];
    instr_ = &in;
    in.collect(lanes_, in);
  }
  std::memset(lanes_.peers, 0, sizeof(LaneMask));
  lanes_.peers[warp] = present;
  for (Fragment& piece : pieces) {
    enter(piece);
    const Instr& in = piece.frame->code->code[piece.pc];
    instr_ = &in;
    in.run(lanes_, in);
    ++piece.pc;
    piece.state = Fragment::State::runnable;
    piece.last_run = ++clock_;
    add(piece);
  }
  has_current_ = false;
  return true;
}

}  // namespace tfusion::software::ptx
