#include "session.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "dispatch.hpp"
#include "protocol/futex.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

// Errors after which a context is of no more use; the driver itself returns them for ever, and so does the
// hook.
bool sticks(CUresult result) {
  switch (result) {
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
      return true;
    default:
      return false;
  }
}

bool synchronises(wire::Opcode opcode) {
  switch (opcode) {
    case wire::Opcode::StreamSynchronize:
    case wire::Opcode::StreamQuery:
    case wire::Opcode::EventSynchronize:
    case wire::Opcode::EventQuery:
    case wire::Opcode::ContextSynchronize:
    case wire::Opcode::CopyToReply:
    case wire::Opcode::CopyToStaging:
    case wire::Opcode::Copy3DToStaging:
      return true;
    default:
      return false;
  }
}

// On a machine with cores to spare the replay thread stays awake a little, so that the next command needs no
// wake-up.
std::uint64_t spin_ns(bool work_pending) {
  static const bool roomy = sysconf(_SC_NPROCESSORS_ONLN) >= 4;
  if (!roomy) return work_pending ? 20'000 : 5'000;
  return work_pending ? 1'000'000 : 100'000;
}

constexpr std::uint64_t kIdleNapNs = 500'000'000;
constexpr std::uint64_t kFirstPollNapNs = 20'000;
constexpr std::uint64_t kLastPollNapNs = 1'000'000;
// While only the count of busy time waits for the GPU: gaps between commands shorter than the first cost
// nothing and count as busy.
constexpr std::uint64_t kFirstLookNs = 100'000;
constexpr std::uint64_t kLastLookNapNs = 10'000'000;
constexpr std::uint64_t kLeastRingNs = 2'000'000;
// While others wait for this session to stop.
constexpr std::uint64_t kStoppingNapNs = 500'000;

}  // namespace

Session::Session(Device& device, SliceAccount& account, Turn& turn, std::string cache_folder,
                 const SwapSettings& swap, DeviceText* text)
    : device_(device),
      account_(account),
      turn_(turn),
      residency_(device, turn, swap),
      pace_(device.driver(), [this](CUstream stream) { return is_capturing(stream); }),
      images_(std::move(cache_folder)),
      ring_(device.shared()),
      pending_(device.driver()),
      host_functions_(device.shared()),
      text_(text) {}

Session::~Session() = default;

// --- the loop
// ----------------------------------------------------------------------------------------------------------

Ending Session::run() {
  device_.driver()->cuCtxSetCurrent(nullptr);
  CUcontext context = nullptr;  // contexts are per thread: this one may not be the thread that made it
  if (device_.driver()->cuDevicePrimaryCtxRetain(&context, device_.ordinal()) != CUDA_SUCCESS ||
      device_.driver()->cuCtxSetCurrent(context) != CUDA_SUCCESS || make_text_stream() != CUDA_SUCCESS) {
    ending_ = Ending{"device_error", "The GPU's context could not be used."};
  }
  // This thread replays the calls of all of the client's threads: what one of them captures must not forbid
  // the others' calls, nor our own. See cuThreadExchangeStreamCaptureMode.
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  if (has_graphs()) driver().cuThreadExchangeStreamCaptureMode(&mode);
  if (!turn_.order().run) stop_since_ns_ = now_ns();  // until the first order
  try {
    replay_all();
  } catch (const std::bad_alloc&) {
    ending_ = Ending{
        "worker_error",
        "The GPU worker has no host memory left for this process, so its session was ended. Restart the "
        "kernel; if it happens again, ask for help."};
  }
  finish(*ending_);
  return *ending_;
}

void Session::replay_all() {
  unsigned since_poll = 0;
  while (!ending_) {
    if (stopping_.load(std::memory_order_relaxed)) {
      std::lock_guard lock(stop_mutex_);
      ending_ = stop_request_;
      break;
    }
    if (turn_.changed() || stop_since_ns_ != 0) {
      obey();
      if (ending_ || stopping_.load()) continue;
    }
    if (pace_.marks() && check_pace()) continue;
    Command command;
    switch (ring_.next(&command)) {
      case RingReader::Next::command:
        if (!take_reply_slot(command)) break;
        if (stop_since_ns_ != 0 && !wait_for_turn(command.opcode)) break;
        if (pace_.marks()) keep_pace(command.opcode);
        if (!captures_.empty()) {
          if (++captured_commands_ > kMostCaptured) {
            protocol_error("a capture goes on for more than " + std::to_string(kMostCaptured) + " commands");
            break;
          }
          before_command_in_capture(command.opcode, command.bytes);
        }
        if (!account_.busy()) {
          account_.begin_busy(now_ns());
          ring_due_ = turn_.order().watch;
        }
        if (ring_due_) ring_if_due(now_ns());
        dispatch(*this, command.opcode, command.bytes, command.tail);
        if (!kept_.empty() && graphs.empty() && captures_.empty()) end_kept();
        ++call_count_;
        ring_.release();
        idle_turns_ = 0;
        if (++since_poll == 32) {
          since_poll = 0;
          tell_calls();
          pending_.poll();
        }
        break;
      case RingReader::Next::empty:
        since_poll = 0;
        if (pending_.poll()) {
          idle_turns_ = 0;
        } else {
          idle_wait();
        }
        break;
      case RingReader::Next::malformed:
        protocol_error(ring_.error());
        break;
    }
  }
}

bool Session::take_reply_slot(const Command& command) {
  const wire::CommandInfo& info = wire::kCommands[static_cast<std::uint16_t>(command.opcode)];
  if (!info.sync) return true;
  const auto slot = read<wire::CommandHeader>(command.bytes).reply_slot;
  if (slot_waits_.test(slot)) {
    protocol_error(std::string(info.name) + " names reply slot " + std::to_string(slot) +
                   ", which waits for another answer");
    return false;
  }
  slot_waits_.set(slot);
  return true;
}

void Session::idle_wait() {
  const bool work_pending = !pending_.empty();
  if (idle_turns_++ == 0) {
    idle_since_ns_ = now_ns();
    tell_calls();
    pace_.rest();
  }
  const std::uint64_t idle_ns = now_ns() - idle_since_ns_;
  if (idle_ns < spin_ns(work_pending)) {
    cpu_relax();
    return;
  }
  publish_use();
  if (ring_due_) ring_if_due(now_ns());
  if (account_.busy() && !work_pending && idle_ns >= kFirstLookNs) look_for_work();
  std::uint64_t nap = kIdleNapNs;
  if (work_pending) {  // the longer the GPU takes, the less a late look matters
    nap = std::clamp(idle_ns / 16, kFirstPollNapNs, kLastPollNapNs);
  } else if (account_.busy()) {
    nap = std::clamp(idle_ns / 16, kFirstLookNs, kLastLookNapNs);
  }
  Control& control = shared().control();
  if (stop_since_ns_ != 0) nap = std::min(nap, kStoppingNapNs);
  control.consumer_asleep.store(1, std::memory_order_seq_cst);
  // The client writes `head` and then looks at `consumer_asleep`; we do it the other way round.
  const std::uint64_t head = control.head.load(std::memory_order_seq_cst);
  if (!ring_.consumed(head) || stopping_.load(std::memory_order_seq_cst) || turn_.changed()) {
    control.consumer_asleep.store(0, std::memory_order_relaxed);
    return;
  }
  futex_wait(control.consumer_asleep, 1, nap);
  control.consumer_asleep.store(0, std::memory_order_relaxed);
}

// Whether the GPU still works for this session, when no command has come for a while: by queries, which
// change nothing in the order of the client's work as an event in the legacy stream would. If all was over by
// the first look, it was so when the last command was done or the last wait answered, as far as anybody can
// tell.
//
// A stream that captures is not looked at, since that would end its capture; see all_streams(). Captures
// begin with a command, after which every look is a first one.
void Session::look_for_work() {
  const bool first = looked_in_ns_ != idle_since_ns_;
  looked_in_ns_ = idle_since_ns_;
  if (first) unfinished_ = all_streams();  // earlier ones may be gone
  std::erase_if(unfinished_, [&](CUstream s) { return driver().cuStreamQuery(s) != CUDA_ERROR_NOT_READY; });
  if (!unfinished_.empty()) return;
  account_.end_busy(first ? idle_since_ns_ : now_ns());
  if (turn_.order().contended) turn_.ring();  // the others need not wait for the daemon's next look
}

// Not for each of many short bursts: the daemon sees the next one, or that this one goes on.
void Session::ring_if_due(std::uint64_t now) {
  if (now - rung_ns_ < kLeastRingNs) return;
  ring_due_ = false;
  if (!account_.busy()) return;
  rung_ns_ = now;
  turn_.ring();
}

// A count that the client lowers again is none.
void Session::tell_calls() {
  refused_count_ = std::max(refused_count_, shared().control().refused_calls.load(std::memory_order_relaxed));
  account_.tell_calls(call_count_, refused_count_);
}

void Session::publish_use() {
  WorkerStatus& status = shared().control().status;
  status.slice_used_bytes.store(account_.used(), std::memory_order_relaxed);
}

void Session::stop(const std::string& reason, const std::string& sentence) {
  {
    std::lock_guard lock(stop_mutex_);
    if (stopping_.load()) return;
    stop_request_ = {reason, sentence};
    stopping_.store(true);
  }
  host_functions_.end();
  nudge();
}

void Session::nudge() {
  nudges_.fetch_add(1);
  futex_wake(nudges_);
  Control& control = shared().control();
  control.consumer_asleep.store(0);
  futex_wake(control.consumer_asleep);
}

void Session::protocol_error(const std::string& sentence) {
  if (!ending_) {
    ending_ =
        Ending{"protocol_error",
               "This process sent the GPU worker a malformed command, so its session was ended: " + sentence +
                   ". Restart the kernel."};
  }
}

// Tells the client and wakes everyone who waits there.
void Session::finish(const Ending& ending) {
  Control& control = shared().control();
  std::strncpy(control.status.reason, ending.detail.c_str(), sizeof control.status.reason - 1);
  control.status.state.store(static_cast<std::uint32_t>(SessionState::ended), std::memory_order_seq_cst);
  host_functions_.end();
  pending_.abandon(CUDA_ERROR_DEVICE_UNAVAILABLE);  // only now: who is told of it finds the reason
  images_.abandon();                                // here, as the worker leaves without destructors
  for (std::uint32_t i = 0; i < kReplySlots; ++i) {
    ReplySlot& slot = shared().slot(i);
    slot.result = CUDA_ERROR_DEVICE_UNAVAILABLE;
    slot.payload_bytes = 0;
    slot.state.store(ReplySlot::kDone);
    futex_wake(slot.state);
  }
  control.space_epoch.fetch_add(1);
  futex_wake(control.space_epoch);
}

// --- results
// -------------------------------------------------------------------------------------------------------------

void Session::complete(const wire::CommandHeader& header, std::int32_t result, std::uint32_t payload_bytes) {
  ReplySlot& slot = shared().slot(header.reply_slot);
  slot_waits_.reset(header.reply_slot);
  slot.result = result;
  slot.payload_bytes = payload_bytes;
  if (slot.state.exchange(ReplySlot::kDone, std::memory_order_acq_rel) == ReplySlot::kPendingAsleep) {
    futex_wake(slot.state);
  }
}

void Session::note(const wire::CommandHeader&, CUresult result) {
  if (result == CUDA_SUCCESS) return;
  if (sticks(result)) {
    if (sticky_error_ == 0) {
      sticky_error_ = result;
      forward_text();
      shared().control().status.sticky_error.store(result, std::memory_order_release);
    }
  } else if (deferred_error_ == 0) {
    deferred_error_ = result;
  }
}

void Session::reply(const wire::CommandHeader& header, CUresult result, const void* fixed,
                    std::size_t fixed_bytes, std::span<const std::byte> more) {
  std::byte* payload = reply_payload(header);
  if (fixed_bytes + more.size() > kReplyPayloadBytes) more = more.first(kReplyPayloadBytes - fixed_bytes);
  if (fixed_bytes > 0) std::memcpy(payload, fixed, fixed_bytes);
  if (!more.empty()) std::memcpy(payload + fixed_bytes, more.data(), more.size());
  reply_in_place(header, result, static_cast<std::uint32_t>(fixed_bytes + more.size()));
}

void Session::reply_in_place(const wire::CommandHeader& header, CUresult result,
                             std::uint32_t payload_bytes) {
  note(header, sticks(result) ? result : CUDA_SUCCESS);
  // An asynchronous command's error is told by the next call that synchronises, once. By no other: a call
  // that made an object and is told that it failed would leave the two sides of different minds.
  if (result == CUDA_SUCCESS && deferred_error_ != 0 &&
      synchronises(static_cast<wire::Opcode>(header.opcode))) {
    result = static_cast<CUresult>(deferred_error_);
    deferred_error_ = 0;
  }
  if (synchronises(static_cast<wire::Opcode>(header.opcode))) forward_text();
  if (sticky_error_ != 0) result = static_cast<CUresult>(sticky_error_);
  complete(header, static_cast<std::int32_t>(result), payload_bytes);
}

CUresult Session::make_text_stream() {
  return text_ == nullptr ? CUDA_SUCCESS
                          : driver().cuStreamCreateWithPriority(&text_stream_, CU_STREAM_NON_BLOCKING, 0);
}

void Session::forward_text() const {
  if (text_ == nullptr) return;
  // The driver hands on what kernels printed when a call waits for them; a look at an event is no such call.
  // This wait is for nothing else. It costs several microseconds, so only those who may print pay for it.
  if (kernels_print_) driver().cuStreamSynchronize(text_stream_);
  text_->forward();
}

void Session::reply_raw(const wire::CommandHeader& header, std::int32_t result) {
  complete(header, result, 0);
}

void Session::refuse(const wire::CommandHeader& header, CUresult result) {
  if (header.reply_slot == wire::kNoReply) {
    note(header, result);
  } else {
    reply(header, result);
  }
}

bool Session::hold_chunk(std::uint32_t chunk) {
  if (chunk_held_.test(chunk)) {
    protocol_error("staging chunk " + std::to_string(chunk) + " is named again before it was given back");
    return false;
  }
  chunk_held_.set(chunk);
  return true;
}

void Session::release_chunk(std::uint32_t chunk) {
  chunk_held_.reset(chunk);
  Control& control = shared().control();
  control.chunk_busy[chunk].store(0, std::memory_order_seq_cst);
  if (control.space_waiters.load(std::memory_order_seq_cst) != 0) {
    control.space_epoch.fetch_add(1);
    futex_wake(control.space_epoch);
  }
}

// --- handles
// -------------------------------------------------------------------------------------------------------------

template <typename Object>
Object* Session::look_up(const wire::CommandHeader& header, std::uint64_t handle, ObjectTable<Object>& table,
                         HandleKind kind) {
  if (Object* object = table.find(handle)) return object;
  if (unpack(handle).kind != kind) {
    protocol_error(std::string(wire::kCommands[header.opcode].name) + " names " + std::to_string(handle) +
                   ", which is no handle of the kind it needs");
  } else {
    refuse(header, CUDA_ERROR_INVALID_HANDLE);
  }
  return nullptr;
}

bool Session::resolve(const wire::CommandHeader& header, std::uint64_t handle, CUstream* out) {
  if (handle == 1) {
    *out = CU_STREAM_LEGACY;
    return true;
  }
  const CUstream* found = look_up(header, handle, streams, HandleKind::stream);
  if (found != nullptr) *out = *found;
  return found != nullptr;
}

bool Session::resolve(const wire::CommandHeader& header, std::uint64_t handle, CUevent* out) {
  const CUevent* found = look_up(header, handle, events, HandleKind::event);
  if (found != nullptr) *out = *found;
  return found != nullptr;
}

bool Session::resolve(const wire::CommandHeader& header, std::uint64_t handle, Module** out) {
  *out = look_up(header, handle, modules, HandleKind::module);
  return *out != nullptr;
}

bool Session::resolve(const wire::CommandHeader& header, std::uint64_t handle, Kernel** out) {
  *out = look_up(header, handle, kernels, HandleKind::kernel);
  return *out != nullptr;
}

bool Session::resolve(const wire::CommandHeader& header, std::uint64_t handle, Link** out) {
  const std::unique_ptr<Link>* found = look_up(header, handle, links, HandleKind::link);
  *out = found != nullptr ? found->get() : nullptr;
  return found != nullptr;
}

bool Session::resolve(const wire::CommandHeader& header, std::uint64_t handle, Physical** out) {
  *out = look_up(header, handle, allocations, HandleKind::allocation);
  return *out != nullptr;
}

bool Session::resolve(const wire::CommandHeader& header, std::uint64_t handle, Array** out) {
  *out = look_up(header, handle, arrays, HandleKind::array);
  return *out != nullptr;
}

bool Session::resolve(const wire::CommandHeader& header, std::uint64_t handle, MipmappedArray** out) {
  *out = look_up(header, handle, mipmapped_arrays, HandleKind::mipmapped_array);
  return *out != nullptr;
}

bool Session::may_create(const wire::CommandHeader& header, std::uint64_t handle, HandleKind kind) {
  bool vacant = false, room = false;
  auto look = [&](const auto& table) { vacant = table.vacant(handle), room = table.has_room(handle); };
  switch (kind) {
    case HandleKind::stream:
      look(streams);
      break;
    case HandleKind::event:
      look(events);
      break;
    case HandleKind::module:
      look(modules);
      break;
    case HandleKind::kernel:
      look(kernels);
      break;
    case HandleKind::link:
      look(links);
      break;
    case HandleKind::allocation:
      look(allocations);
      break;
    case HandleKind::array:
      look(arrays);
      break;
    case HandleKind::mipmapped_array:
      look(mipmapped_arrays);
      break;
    case HandleKind::none:
    case HandleKind::context:
    case HandleKind::pool:
    case HandleKind::graph:
    case HandleKind::graph_node:
    case HandleKind::graph_exec:
    case HandleKind::user_object:
      break;
  }
  if (!vacant) {
    protocol_error("a new object is to get handle " + std::to_string(handle) +
                   ", which is taken or no handle");
  } else if (!room) {
    refuse(header, CUDA_ERROR_OUT_OF_MEMORY);
  }
  return vacant && room;
}

void Session::created(std::uint64_t handle, CUstream stream, CUresult result) {
  if (result == CUDA_SUCCESS) streams.put(handle, stream);
}

void Session::created(std::uint64_t handle, CUevent event, CUresult result) {
  if (result == CUDA_SUCCESS) events.put(handle, event);
}

std::pair<std::uint64_t, CUfunction> Session::kernel_of(CUfunction function, CUkernel kernel) {
  std::pair<std::uint64_t, CUfunction> found{0, nullptr};
  kernels.for_each_handle([&](std::uint64_t handle, const Kernel& known) {
    if ((function != nullptr && known.function == function) || (kernel != nullptr && known.kernel == kernel))
      found = {handle, known.function};
  });
  return found;
}

std::uint64_t Session::event_handle(CUevent event) {
  std::uint64_t found = 0;
  events.for_each_handle([&](std::uint64_t handle, CUevent known) {
    if (known == event) found = handle;
  });
  return found;
}

void Session::end_stream(CUstream stream) {
  release_ended_streams();
  pace_.forget_stream(stream);
  const bool capturing = is_capturing(stream);
  if (const auto its = captures_.extract(stream)) graphs.forget_graph(its.mapped());
  if (capturing) {  // which ends the capture as well, with its graph
    driver().cuStreamDestroy_v2(stream);
  } else if (ended_streams_.size() < kMostEndedStreams &&
             driver().cuStreamQuery(stream) == CUDA_ERROR_NOT_READY) {
    ended_streams_.push_back(stream);
  } else {
    driver().cuStreamDestroy_v2(stream);
  }
}

void Session::release_ended_streams() {
  std::erase_if(ended_streams_, [&](CUstream stream) {
    if (driver().cuStreamQuery(stream) == CUDA_ERROR_NOT_READY) return false;
    driver().cuStreamDestroy_v2(stream);
    return true;
  });
}

std::vector<CUstream> Session::all_streams() {
  release_ended_streams();
  std::vector<CUstream> all;
  if (!is_capturing(CU_STREAM_LEGACY)) all.push_back(CU_STREAM_LEGACY);
  streams.for_each([&](CUstream stream) {
    if (!is_capturing(stream)) all.push_back(stream);
  });
  all.insert(all.end(), ended_streams_.begin(), ended_streams_.end());
  return all;
}

}  // namespace tfusion::replay
