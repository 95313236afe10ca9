// Up to 256 threads of a block that run in lockstep, and the groups they part into where they diverge.
//
// A Fragment is a set of lanes at one program counter of one frame. While all lanes agree there is one
// fragment. A branch that lanes take differently splits it. Of the fragments that can run, the one deepest in
// calls and then with the lowest program counter runs, so that lanes which fell behind catch up and fragments
// that meet are joined (flow.cpp orders the code for that). Fairness: a fragment that loops for long while
// others wait gives way, so that threads may spin for each other, as independent thread scheduling allows.
//
// Owned by a Block (block.hpp); one machine thread runs all gangs of a block in turn.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lanes.hpp"

namespace tfusion::software::ptx {

class Block;

using LaneMask = std::uint32_t[kMaxWarps];

// An activation of a function for the lanes that called it together.
struct Frame {
  const FunctionCode* code = nullptr;
  std::uint32_t function = 0;
  std::unique_ptr<std::byte[]> rows;
  Frame* parent = nullptr;
  const CallSite* site = nullptr;
  std::uint32_t return_pc = 0;
  std::uint32_t depth = 0;
  std::uint64_t local_base = 0;
  std::uint32_t users = 0;  // fragments and frames called from here
  LaneMask lanes = {};      // who called
};

struct Fragment {
  enum class State : std::uint8_t { runnable, barrier, exchange };
  Frame* frame = nullptr;
  std::uint32_t pc = 0;
  std::uint32_t barrier = 0;
  State state = State::runnable;
  std::uint64_t last_run = 0;
  LaneMask lanes = {};
  LaneMask needed = {};  // exchange: the lanes it waits for
};

class Gang {
 public:
  Gang() = default;
  Gang(const Gang&) = delete;
  Gang& operator=(const Gang&) = delete;

  // Makes ready for blocks of one launch.
  void prepare(Launch& launch, Block& block, std::uint32_t number, std::uint32_t first_thread,
               std::uint32_t threads, std::uint32_t width);
  // All threads stand at the kernel's start.
  void start();

  enum class Status { finished, waiting, yielded };
  // Runs until all threads are gone or wait, or until it is fair to let others run. Throws Fault.
  Status run();

  // The block's barrier is complete: its waiters go on. `value`: what a reduction found.
  void release_barrier(std::uint32_t id, std::uint32_t value);
  bool finished() const { return fragments_.empty(); }
  bool runnable() const;
  // Changes whenever some thread makes progress.
  std::uint64_t steps() const { return clock_; }

  const Instr* current() const { return instr_; }
  Lanes& lanes() { return lanes_; }
  // Where threads wait, for the report of a deadlock.
  std::uint32_t waiting_line() const;

 private:
  void run_fragment();
  void guarded(const Instr& in);
  bool branch(const Instr& in);
  void branch_index(const Instr& in);
  void call(const Instr& in);
  void leave(const Instr& in);
  void retire(const Instr& in);
  bool barrier(const Instr& in);
  bool exchange(const Instr& in);
  void release_exchanges();
  bool release_warp(std::size_t fragment, std::uint32_t warp);

  void enter(const Fragment& fragment);  // becomes the current one
  void set_exec(const LaneMask& lanes);
  void suspend();                                       // the current one goes back among the others
  void add(const Fragment& fragment);                   // joins one that stands at the same place
  void split(const LaneMask& lanes, std::uint32_t pc);  // these lanes of the current one go elsewhere
  void find_limit();
  bool loop_back();  // counts a backward jump; true: give way
  Frame* new_frame(std::uint32_t function);
  void drop(Frame* frame);
  void check_stop() const;

  Launch* launch_ = nullptr;
  Block* block_ = nullptr;
  Lanes lanes_;
  std::vector<Fragment> fragments_;  // all but the current one
  Fragment current_;
  bool has_current_ = false;
  bool waiters_ = false;     // some fragment waits in an exchange
  std::uint64_t limit_ = 0;  // the place (depth, pc) at which another fragment is due
  bool favoured_ = false;    // the current one runs out of order, for fairness
  bool spinning_ = false;    // it read memory as a spinning thread does
  std::uint32_t loops_ = 0;  // backward jumps since it began
  std::uint64_t run_loops_ = 0;
  std::uint32_t ticks_ = 0;  // counts towards the next look at the stop flag
  std::uint64_t clock_ = 0;
  const Instr* instr_ = nullptr;
  std::uint32_t threads_ = 0;
  std::unique_ptr<std::uint32_t[]> thread_ids_;
  std::unique_ptr<std::byte[]> local_;
  std::uint64_t local_capacity_ = 0;
  std::vector<std::vector<std::unique_ptr<Frame>>> free_frames_;  // by function
  std::vector<std::unique_ptr<Frame>> frames_;
  std::uint64_t frame_memory_ = 0;
};

}  // namespace tfusion::software::ptx
