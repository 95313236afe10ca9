// Running a gang: the instruction loop, and the scheduling of its fragments.

#include "gang.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "lane_mask.hpp"
#include "launch.hpp"

namespace tfusion::software::ptx {

namespace {

constexpr std::uint32_t kSpinLoops = 64;   // backward jumps of a spinning fragment before others get a turn
constexpr std::uint32_t kLoops = 1 << 16;  // of any other
constexpr std::uint64_t kGangSpinLoops = 1 << 10;  // before other gangs and blocks get a turn
constexpr std::uint64_t kGangLoops = 1 << 22;
constexpr std::uint64_t kMaxFrameMemory = std::uint64_t{256} << 20;

}  // namespace

void Gang::prepare(Launch& launch, Block& block, std::uint32_t number, std::uint32_t first_thread,
                   std::uint32_t threads, std::uint32_t width) {
  launch_ = &launch;
  block_ = &block;
  threads_ = threads;
  lanes_.launch = &launch;
  lanes_.gang = number;
  lanes_.first_thread = first_thread;
  lanes_.width = width;
  lanes_.warps = width / kWarp;
  lanes_.memory = &launch.memory();
  lanes_.shared = block.shared();
  lanes_.shared_bytes = launch.shared_bytes();
  lanes_.params = launch.config().parameters.data();
  lanes_.param_bytes = launch.config().parameters.size();
  lanes_.local_bytes = launch.kernel().stack_bytes;
  // Lanes' memories that lie a power of two apart would share few cache lines' places.
  lanes_.local_stride = (lanes_.local_bytes + 63) / 64 * 64 + 64;
  if (lanes_.local_bytes != 0 && local_capacity_ < lanes_.local_stride * width) {
    local_capacity_ = lanes_.local_stride * width;
    local_ = std::make_unique_for_overwrite<std::byte[]>(local_capacity_);
  }
  lanes_.local = local_.get();
  thread_ids_ = std::make_unique<std::uint32_t[]>(std::size_t{3} * width);
  const unsigned* const size = launch.config().block;
  for (std::uint32_t i = 0; i < width; ++i) {
    const std::uint32_t thread = first_thread + i;
    thread_ids_[i] = thread % size[0];
    thread_ids_[width + i] = thread / size[0] % size[1];
    thread_ids_[2 * width + i] = thread / size[0] / size[1] % size[2];
  }
  for (std::uint32_t k = 0; k < 3; ++k) lanes_.thread[k] = thread_ids_.get() + k * width;
  free_frames_.resize(launch.functions().size());
}

void Gang::start() {
  fragments_.clear();
  frames_.reserve(16);
  while (!frames_.empty()) {  // of a block that ended early
    free_frames_[frames_.back()->function].push_back(std::move(frames_.back()));
    frames_.pop_back();
  }
  waiters_ = false;
  Fragment fragment;
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    const std::uint32_t left = threads_ > w * kWarp ? threads_ - w * kWarp : 0;
    fragment.lanes[w] = left >= kWarp ? ~std::uint32_t{0} : (std::uint32_t{1} << left) - 1;
  }
  copy_mask(lanes_.live, fragment.lanes);
  fragment.frame = new_frame(launch_->kernel().function);
  fragment.frame->users = 1;
  fragments_.push_back(fragment);
}

Frame* Gang::new_frame(std::uint32_t function) {
  std::unique_ptr<Frame> frame;
  auto& free = free_frames_[function];
  if (!free.empty()) {
    frame = std::move(free.back());
    free.pop_back();
  } else {
    const FunctionCode& code = launch_->functions()[function];
    const std::uint64_t bytes = std::uint64_t{code.row_bytes} * lanes_.width;
    if (frame_memory_ + bytes > kMaxFrameMemory)
      throw Fault{Outcome::illegal_address, first_lane(lanes_.exec), "calls are nested too deeply"};
    frame_memory_ += bytes;
    frame = std::make_unique<Frame>();
    frame->code = &code;
    frame->function = function;
    frame->rows = std::make_unique<std::byte[]>(bytes);
    for (const ConstantRow& row : code.constants) {
      std::byte* const to = frame->rows.get() + std::uint64_t{row.row} * lanes_.width;
      for (std::uint32_t i = 0; i < lanes_.width; ++i)
        std::memcpy(to + std::uint64_t{i} * row.bytes, &row.value, row.bytes);
    }
  }
  frame->users = 0;
  frame->parent = nullptr;
  frame->site = nullptr;
  frame->depth = 0;
  frame->local_base = 0;
  frames_.push_back(std::move(frame));
  return frames_.back().get();
}

void Gang::drop(Frame* frame) {
  while (frame != nullptr && --frame->users == 0) {
    Frame* const parent = frame->parent;
    const auto owner =
        std::find_if(frames_.begin(), frames_.end(), [&](const auto& f) { return f.get() == frame; });
    free_frames_[frame->function].push_back(std::move(*owner));
    *owner = std::move(frames_.back());
    frames_.pop_back();
    frame = parent;
  }
}

// --- fragments

void Gang::set_exec(const LaneMask& lanes) {
  const Frame& frame = *current_.frame;
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    lanes_.exec[w] = lanes[w];
    lanes_.fill[w] = lanes[w] | ~(frame.depth == 0 ? lanes_.live[w] : frame.lanes[w]);
    if (lanes[w] == 0) lanes_.fill[w] = 0;
  }
}

void Gang::enter(const Fragment& fragment) {
  current_ = fragment;
  has_current_ = true;
  ++clock_;
  lanes_.rows = current_.frame->rows.get();
  lanes_.row_list = current_.frame->code->rows.data();
  lanes_.local_base = current_.frame->local_base;
  set_exec(current_.lanes);
}

void Gang::suspend() {
  has_current_ = false;
  current_.last_run = ++clock_;
  add(current_);
}

void Gang::add(const Fragment& fragment) {
  if (fragment.state == Fragment::State::runnable) {
    for (Fragment& other : fragments_) {
      if (other.state != Fragment::State::runnable || other.pc != fragment.pc ||
          other.frame != fragment.frame)
        continue;
      for (std::uint32_t w = 0; w < lanes_.warps; ++w) other.lanes[w] |= fragment.lanes[w];
      --fragment.frame->users;
      return;
    }
  }
  fragments_.push_back(fragment);
}

void Gang::split(const LaneMask& lanes, std::uint32_t pc) {
  Fragment other;
  other.frame = current_.frame;
  other.pc = pc;
  other.last_run = ++clock_;
  ++other.frame->users;
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    other.lanes[w] = lanes[w];
    current_.lanes[w] &= ~lanes[w];
  }
  add(other);
  set_exec(current_.lanes);
  find_limit();
}

void Gang::find_limit() {
  limit_ = ~std::uint64_t{0};
  if (favoured_) return;
  for (const Fragment& other : fragments_) {
    if (other.state == Fragment::State::runnable) limit_ = std::min(limit_, place(*other.frame, other.pc));
  }
}

bool Gang::runnable() const {
  return std::any_of(fragments_.begin(), fragments_.end(),
                     [](const Fragment& f) { return f.state == Fragment::State::runnable; });
}

std::uint32_t Gang::waiting_line() const {
  for (const Fragment& fragment : fragments_) return fragment.frame->code->code[fragment.pc].line;
  return 0;
}

void Gang::check_stop() const {
  if (launch_->must_stop()) throw Stopped{};
}

bool Gang::loop_back() {
  ++loops_;
  ++run_loops_;
  if ((++ticks_ & 15) == 0) check_stop();
  return loops_ >= (spinning_ ? kSpinLoops : kLoops);
}

Gang::Status Gang::run() {
  run_loops_ = 0;
  bool give_way = false;
  for (;;) {
    if (fragments_.empty()) return Status::finished;
    if ((++ticks_ & 15) == 0) check_stop();  // loops may be cut short by barriers
    if (waiters_) release_exchanges();
    std::size_t chosen = fragments_.size();
    std::size_t runnable_count = 0;
    for (std::size_t i = 0; i < fragments_.size(); ++i) {
      const Fragment& f = fragments_[i];
      if (f.state != Fragment::State::runnable) continue;
      ++runnable_count;
      if (chosen == fragments_.size() ||
          (give_way ? f.last_run < fragments_[chosen].last_run
                    : place(*f.frame, f.pc) < place(*fragments_[chosen].frame, fragments_[chosen].pc))) {
        chosen = i;
      }
    }
    if (runnable_count == 0) return Status::waiting;
    if (run_loops_ >= (spinning_ ? kGangSpinLoops : kGangLoops)) return Status::yielded;
    favoured_ = give_way && runnable_count > 1;
    const Fragment next = fragments_[chosen];
    fragments_[chosen] = fragments_.back();
    fragments_.pop_back();
    enter(next);
    find_limit();
    loops_ = 0;
    spinning_ = false;
    run_fragment();
    give_way = loops_ >= (spinning_ ? kSpinLoops : kLoops) && !favoured_;
    if (has_current_) suspend();
  }
}

// Runs the current fragment until another one is due, or it waits, or is gone.
void Gang::run_fragment() {
  for (;;) {
    const Instr& in = current_.frame->code->code[current_.pc];
    instr_ = &in;
    switch (in.kind) {
      case Kind::plain:
        if (in.guard == kNoRow) {
          in.run(lanes_, in);
        } else {
          guarded(in);
        }
        spinning_ = spinning_ || in.waits;
        ++current_.pc;
        continue;
      case Kind::fall:
        current_.pc = in.target;
        break;
      case Kind::branch:
        if (branch(in)) return;
        break;
      case Kind::branch_index:
        branch_index(in);
        if (loop_back()) return;
        break;
      case Kind::call:
      case Kind::call_indirect:
        call(in);
        if (loop_back()) return;
        break;
      case Kind::ret:
        leave(in);
        break;
      case Kind::exit:
        retire(in);
        if (!has_current_) return;
        break;
      case Kind::trap: {
        LaneMask hit;
        copy_mask(hit, current_.lanes);
        if (in.guard != kNoRow) {
          const std::uint8_t* const p = lanes_.row<std::uint8_t>(in.guard);
          for (std::uint32_t w = 0; w < lanes_.warps; ++w)
            hit[w] &= in.guard_negated ? ~mask_of(p + w * kWarp) : mask_of(p + w * kWarp);
        }
        if (any(hit)) throw Fault{Outcome::trap, first_lane(hit), "trap instruction"};
        ++current_.pc;
        continue;
      }
      case Kind::barrier:
        if (!barrier(in)) return;
        break;
      case Kind::exchange:
        if (!exchange(in)) return;
        ++current_.pc;
        continue;
    }
    if (place(*current_.frame, current_.pc) >= limit_) return;
  }
}

void Gang::guarded(const Instr& in) {
  const std::uint8_t* const p = lanes_.row<std::uint8_t>(in.guard);
  LaneMask lanes = {};
  std::uint32_t some = 0;
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    const std::uint32_t set = mask_of(p + w * kWarp);
    lanes[w] = current_.lanes[w] & (in.guard_negated ? ~set : set);
    some |= lanes[w];
  }
  if (some == 0) return;
  set_exec(lanes);
  in.run(lanes_, in);
  set_exec(current_.lanes);
}

// True: the fragment gives way.
bool Gang::branch(const Instr& in) {
  std::uint32_t go = in.target;
  if (in.guard != kNoRow) {
    const std::uint8_t* const p = lanes_.row<std::uint8_t>(in.guard);
    LaneMask taken = {};
    LaneMask stay = {};
    std::uint32_t some_taken = 0;
    std::uint32_t some_stay = 0;
    for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
      const std::uint32_t mask = current_.lanes[w];
      if (mask == 0) continue;
      const std::uint32_t set = mask_of(p + w * kWarp);
      taken[w] = mask & (in.guard_negated ? ~set : set);
      stay[w] = mask & ~taken[w];
      some_taken |= taken[w];
      some_stay |= stay[w];
    }
    if (some_taken == 0) {
      ++current_.pc;
      return false;
    }
    if (some_stay != 0) {
      // The lower place runs on.
      if (in.target > current_.pc) {
        split(taken, in.target);
        ++current_.pc;
        return false;
      }
      split(stay, current_.pc + 1);
    }
  }
  const bool back = go <= current_.pc;
  current_.pc = go;
  return back && loop_back();
}

void Gang::branch_index(const Instr& in) {
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
  const std::vector<std::uint32_t>& table = current_.frame->code->tables[in.extra];
  const std::uint32_t* const index = lanes_.row<std::uint32_t>(in.a);
  const std::uint32_t first = first_lane(current_.lanes);
  const std::uint32_t chosen = index[first];
  if (chosen >= table.size())
    throw Fault{Outcome::illegal_instruction, first, "indexed branch past the end of its table"};
  LaneMask others = {};
  for (std::uint32_t w = 0; w < lanes_.warps; ++w) {
    for (std::uint32_t rest = current_.lanes[w]; rest != 0; rest &= rest - 1) {
      const auto i = static_cast<std::uint32_t>(std::countr_zero(rest));
      if (index[w * kWarp + i] != chosen) others[w] |= std::uint32_t{1} << i;
    }
  }
  if (any(others)) split(others, current_.pc);  // these come here again
  current_.pc = table[chosen];
}

}  // namespace tfusion::software::ptx
