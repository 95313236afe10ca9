// A session that has to stop, and one that waits: for its turn, for its memory to come back, or for memory
// that it asks for.
//
// Told to stop, it begins no more work, but goes on with the other commands until its work on the GPU is
// over: a kernel may wait for the program, which may wait for an answer. Only then it waits, replays nothing,
// answers what the GPU finishes, and gives memory up if it is told to.
#include <algorithm>

#include "protocol/futex.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

constexpr std::uint64_t kLongNapNs = 500'000'000;
constexpr std::uint64_t kFirstNapNs = 20'000;
constexpr std::uint64_t kLastNapNs = 1'000'000;
// A swap that failed is tried again when there may be room; nobody tells of that.
constexpr std::uint64_t kAfterFailureNs = 100'000'000;
// A kernel may wait for the program, which may wait for an answer behind the very command that we keep back:
// then one is let through, and the next after twice the time.
constexpr std::uint64_t kFirstPatienceNs = 1'000'000'000;

bool starts_work(wire::Opcode opcode) {
  switch (opcode) {
    case wire::Opcode::LaunchKernel:
    case wire::Opcode::GraphLaunch:
    case wire::Opcode::CopyInline:
    case wire::Opcode::CopyFromStaging:
    case wire::Opcode::CopyToStaging:
    case wire::Opcode::CopyToReply:
    case wire::Opcode::CopyBetween:
    case wire::Opcode::Copy2DBetween:
    case wire::Opcode::Copy3DBetween:
    case wire::Opcode::Copy3DFromStaging:
    case wire::Opcode::Copy3DToStaging:
    case wire::Opcode::Memset:
      return true;
    default:
      return false;
  }
}

}  // namespace

// Whether all that the GPU had to do for this session is over.
bool Session::quiet() {
  const std::vector<CUstream> all = all_streams();
  return std::none_of(all.begin(), all.end(), [&](CUstream stream) {
    return driver().cuStreamQuery(stream) == CUDA_ERROR_NOT_READY;
  });
}

bool Session::may_go_on(std::uint64_t wanted_bytes) const {
  const std::uint64_t allowance = turn_.order().allowance_bytes, resident = residency_.resident_bytes();
  return turn_.order().run && !residency_.moving() && residency_.swapped_bytes() == 0 &&
         resident <= allowance && wanted_bytes <= allowance - resident;
}

void Session::take_order() {
  const std::uint64_t before = turn_.order().allowance_bytes;
  const TurnOrder& order = turn_.take();
  ring_due_ = order.watch && account_.busy();
  turn_.tell_allowance(order.allowance_bytes);
  residency_.store().set_budget(order.store_bytes, order.spill_bytes);
  pace_.set(order.contended, order.kernel_limit_ns);
  if (order.allowance_bytes < before) turn_.ring();  // what it no longer claims is somebody else's
}

// Before each command, unless nothing has changed and the session runs.
void Session::obey() {
  if (turn_.changed()) take_order();
  if (may_go_on(0)) {
    stop_since_ns_ = 0;
    return;
  }
  if (stop_since_ns_ == 0) {
    stop_since_ns_ = now_ns();
    patience_ns_ = kFirstPatienceNs;
  }
  if (quiet()) hold({});
}

// Of a session that is to stop, with a command in hand; false if the session ends.
bool Session::wait_for_turn(wire::Opcode opcode) {
  if (!starts_work(opcode)) return true;
  if (!hold({.has_command = true, .until_ns = stop_since_ns_ + patience_ns_})) {
    stop_since_ns_ = now_ns();
    patience_ns_ *= 2;
  }
  return !ending_ && !stopping_.load();
}

// The session ends if a kernel runs for too long; then true.
bool Session::check_pace() {
  const std::uint64_t now = now_ns();
  pace_.look(now);
  if (pace_.overdue(now)) {
    ending_ =
        Ending{"kernel_limit",
               "A kernel ran for longer than the " + std::to_string(pace_.kernel_limit_ns() / 1'000'000'000) +
                   " s that one may take on this GPU, so its session was ended. Look for a loop that never "
                   "ends, or launch less work at a time; then restart the kernel."};
    return true;
  }
  return false;
}

// With a command in hand that begins work: it waits while the GPU is behind. Not for ever, and no other
// command does: a kernel may wait for the program.
void Session::keep_pace(wire::Opcode opcode) {
  if (!starts_work(opcode)) return;
  const std::uint64_t until_ns = now_ns() + kFirstPatienceNs;
  while (pace_.behind(now_ns()) && now_ns() < until_ns) {
    const std::uint32_t nudges = nudges_.load();
    if (stopping_.load() || turn_.changed()) return;
    if (!pending_.poll()) futex_wait(nudges_, nudges, kFirstNapNs);
    if (check_pace()) return;
  }
}

// Before memory is mapped: while others compete, a program that does little else waits a moment. Answers do
// not; an order that comes meanwhile ends the wait.
void Session::keep_mapping_pace() {
  const std::uint64_t until_ns = now_ns() + MappingBudget::kMostWaitNs;
  while (turn_.order().contended && !turn_.changed() && !stopping_.load()) {
    const std::uint32_t nudges = nudges_.load();
    const std::uint64_t now = now_ns(), closed_ns = mappings_budget_.closed_for_ns(now);
    if (closed_ns == 0 || now >= until_ns) return;
    if (!pending_.poll())
      futex_wait(nudges_, nudges, pending_.empty() ? closed_ns : std::min(closed_ns, kFirstNapNs));
  }
}

// Until something may have changed. A client that waits already need not wake us with what else it writes.
void Session::fall_asleep(bool client_waits, std::uint32_t nudges, std::uint64_t nap_ns) {
  if (client_waits) return futex_wait(nudges_, nudges, nap_ns);
  Control& control = shared().control();
  control.consumer_asleep.store(1, std::memory_order_seq_cst);
  if (ring_.consumed(control.head.load(std::memory_order_seq_cst)) && !turn_.changed() && !stopping_.load())
    futex_wait(control.consumer_asleep, 1, nap_ns);
  control.consumer_asleep.store(0, std::memory_order_relaxed);
}

// Returns when the session may go on and have so much more memory; false if that is denied, the time is over
// while the GPU still works for this session, or the session ends.
bool Session::hold(const Wait& wait) {
  const std::uint64_t wanted_bytes = wait.wanted_bytes;
  if (wanted_bytes > 0) ++want_number_;
  Turn::Report told;
  std::uint64_t waits_since_ns = 0, failed_ns = 0, last_ns = now_ns();  // the last: when something happened
  bool is_quiet = false, granted = false;
  while (!ending_ && !stopping_.load()) {
    const std::uint32_t nudges = nudges_.load();
    const std::uint64_t now = now_ns();
    if (turn_.changed()) {
      take_order();
      last_ns = now;
    }
    granted = may_go_on(wanted_bytes);
    if (granted || (wanted_bytes > 0 && turn_.order().denied_want == want_number_ && may_go_on(0))) break;
    if (!is_quiet && (is_quiet = quiet()) && account_.busy()) account_.end_busy(now);
    if (!is_quiet && wait.until_ns != 0 && now > wait.until_ns) break;
    if (!residency_.given_up()) {
      failed_ns = now;
    } else if (now - failed_ns > kAfterFailureNs) {
      residency_.try_again();
    }
    bool moved = pending_.poll();
    if (is_quiet) moved |= move_memory();
    const Turn::Report report{
        .waiting = wanted_bytes > 0 || wait.has_command ||
                   !ring_.consumed(shared().control().head.load(std::memory_order_acquire)),
        .stopped = is_quiet && !turn_.order().run,
        .swap_failed = residency_.last_failed(),
        .wanted_bytes = wanted_bytes,
        .want_number = wanted_bytes > 0 ? want_number_ : 0};
    if (report.waiting && waits_since_ns == 0) waits_since_ns = now;
    if (report != told) {
      turn_.tell(report);
      turn_.ring();
      told = report;
    }
    if (moved) last_ns = now;
    if (moved || (pace_.marks() && check_pace())) continue;
    std::uint64_t nap = residency_.given_up() ? kAfterFailureNs : kLongNapNs;
    if (!is_quiet || residency_.moving() || !pending_.empty())
      nap = std::clamp((now - last_ns) / 16, kFirstNapNs, kLastNapNs);
    fall_asleep(report.waiting, nudges, nap);
  }
  if (waits_since_ns != 0) turn_.tell_waited(now_ns() - waits_since_ns);
  turn_.tell({});
  if (granted) stop_since_ns_ = 0;
  return granted;
}

// Memory on its way to the host or back; true if something happened. Precondition: the session is quiet.
bool Session::move_memory() {
  const TurnOrder& order = turn_.order();
  switch (residency_.step(order.allowance_bytes, order.run, [this] { return mapped_pieces(); })) {
    case Residency::Step::nothing:
      return false;
    case Residency::Step::broken:
      end_broken();
      return true;
    case Residency::Step::moved:
      turn_.ring();  // the daemon hands on what is free
      return true;
  }
  return false;
}

}  // namespace tfusion::replay
