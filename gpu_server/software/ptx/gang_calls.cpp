// Calls, returns and exits of a gang's threads.

#include <algorithm>
#include <bit>
#include <cstring>

#include "gang.hpp"
#include "lane_mask.hpp"
#include "launch.hpp"

namespace tfusion::software::ptx {

void Gang::call(const Instr& in) {
  const CallSite& site = current_.frame->code->calls[in.extra];
  std::uint32_t function = site.function;
  if (in.kind == Kind::call_indirect) {
    const std::uint64_t* const addresses = lanes_.row<std::uint64_t>(in.a);
    const std::uint32_t first = first_lane(current_.lanes);
    const std::uint64_t address = addresses[first];
    const std::uint64_t number = (address - kFunctionWindow) / kFunctionStride;
    if (address < kFunctionWindow || address % kFunctionStride != 0 ||
        number >= launch_->functions().size()) {
      throw Fault{Outcome::illegal_instruction, first,
                  "call through a pointer that is no function's address"};
    }
    function = static_cast<std::uint32_t>(number);
    const FunctionCode& callee = launch_->functions()[function];
    const auto same = [](const std::vector<CallArgument>& a, const std::vector<CallArgument>& b) {
      return a.size() == b.size() &&
             std::equal(a.begin(), a.end(), b.begin(),
                        [](const CallArgument& x, const CallArgument& y) { return x.bytes == y.bytes; });
    };
    if (!same(site.parameters, callee.parameters) || !same(site.returns, callee.returns)) {
      throw Fault{Outcome::illegal_instruction, first,
                  "call of '" + callee.name + "' with the wrong parameters"};
    }
    LaneMask others = {};
    for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
      for (std::uint32_t rest = current_.lanes[w]; rest != 0; rest &= rest - 1) {
        const auto i = static_cast<std::uint32_t>(std::countr_zero(rest));
        if (addresses[w * kWarp + i] != address) others[w] |= std::uint32_t{1} << i;
      }
    }
    if (any(others)) split(others, current_.pc);
  }
  Frame* const caller = current_.frame;
  const FunctionCode& code = launch_->functions()[function];
  const std::uint64_t base = caller->local_base + caller->code->local_bytes;
  if (base + code.local_bytes > lanes_.local_bytes || caller->depth + 1 >= kMaxDepth) {
    throw Fault{Outcome::illegal_address, first_lane(current_.lanes),
                "stack overflow in the call of '" + code.name + "'"};
  }
  Frame* const frame = new_frame(function);
  frame->parent = caller;  // the fragment's use of the caller becomes the frame's
  frame->site = &site;
  frame->users = 1;
  frame->return_pc = current_.pc + 1;
  frame->depth = caller->depth + 1;
  frame->local_base = base;
  copy_mask(frame->lanes, current_.lanes);
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    for (std::uint32_t rest = current_.lanes[w]; rest != 0; rest &= rest - 1) {
      std::byte* const own = lanes_.local + (w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest))) *
                                                lanes_.local_stride;
      for (std::size_t k = 0; k < site.parameters.size(); ++k) {
        std::memcpy(own + base + code.parameters[k].offset,
                    own + caller->local_base + site.parameters[k].offset, site.parameters[k].bytes);
      }
    }
  }
  Fragment fragment = current_;
  fragment.frame = frame;
  fragment.pc = 0;
  enter(fragment);
}

void Gang::leave(const Instr& in) {
  if (in.guard != kNoRow) {
    const std::uint8_t* const p = lanes_.row<std::uint8_t>(in.guard);
    LaneMask stay = {};
    LaneMask go = {};
    for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
      const std::uint32_t set = mask_of(p + w * kWarp);
      go[w] = current_.lanes[w] & (in.guard_negated ? ~set : set);
      stay[w] = current_.lanes[w] & ~go[w];
    }
    if (!any(go)) {
      ++current_.pc;
      return;
    }
    if (any(stay)) split(stay, current_.pc + 1);
  }
  Frame* const frame = current_.frame;
  Frame* const caller = frame->parent;
  const CallSite& site = *frame->site;
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    for (std::uint32_t rest = current_.lanes[w]; rest != 0; rest &= rest - 1) {
      std::byte* const own = lanes_.local + (w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest))) *
                                                lanes_.local_stride;
      for (std::size_t k = 0; k < site.returns.size(); ++k) {
        std::memcpy(own + caller->local_base + site.returns[k].offset,
                    own + frame->local_base + frame->code->returns[k].offset, site.returns[k].bytes);
      }
    }
  }
  Fragment fragment = current_;
  fragment.frame = caller;
  fragment.pc = frame->return_pc;
  ++caller->users;
  drop(frame);
  enter(fragment);
  find_limit();
}

// exit: the lanes are gone.
void Gang::retire(const Instr& in) {
  LaneMask gone = {};
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    gone[w] = current_.lanes[w];
    if (in.guard != kNoRow) {
      const std::uint32_t set = mask_of(lanes_.row<std::uint8_t>(in.guard) + w * kWarp);
      gone[w] &= in.guard_negated ? ~set : set;
    }
  }
  const std::uint32_t lost = count(gone);
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    current_.lanes[w] &= ~gone[w];
    lanes_.live[w] &= ~gone[w];
  }
  if (!any(current_.lanes)) {
    has_current_ = false;
    drop(current_.frame);
  } else {
    set_exec(current_.lanes);
    ++current_.pc;
  }
  if (lost != 0) {
    block_->retire(lost);
    find_limit();
  }
}

}  // namespace tfusion::software::ptx
