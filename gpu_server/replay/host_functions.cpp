#include "host_functions.hpp"

#include <memory>

#include "protocol/futex.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {
constexpr std::uint64_t kNapNs = 50'000'000;  // between looks at whether the session still lives
}

HostFunctions::Call* HostFunctions::make(HostCall::Kind kind, std::uint64_t code, std::uint64_t argument,
                                         std::uint64_t stream, bool kept) {
  if (alive_.load() >= kMost) return nullptr;
  alive_.fetch_add(1);
  return new Call{this, code, argument, stream, kind, kept};
}

void HostFunctions::drop(Call* call) {
  alive_.fetch_sub(1);
  delete call;
}

void HostFunctions::run(void* argument) {
  Call* call = static_cast<Call*>(argument);
  HostFunctions& owner = *call->owner;
  owner.ask(*call);
  if (!call->kept) owner.drop(call);
}

void HostFunctions::ask(const Call& call) {
  std::lock_guard lock(mutex_);
  if (over_.load()) return;
  HostCall& slot = shared_.control().host_call;
  slot.code = call.code;
  slot.argument = call.argument;
  slot.stream = call.stream;
  slot.kind = call.kind;
  const std::uint32_t before = asked_++;
  slot.requested.store(asked_, std::memory_order_seq_cst);
  futex_wake(slot.requested);
  while (!over_.load()) {
    const std::uint32_t finished = slot.finished.load(std::memory_order_acquire);
    if (finished == asked_) return;
    // Whatever else a hostile client writes there is only looked at again later.
    futex_wait(slot.finished, finished == before ? before : finished, kNapNs);
  }
}

void HostFunctions::end() {
  over_.store(true);
  futex_wake(shared_.control().host_call.finished);
}

void replay(Session& session, const wire::HostFunction& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  if (command.kind != HostCall::function && command.kind != HostCall::callback)
    return session.protocol_error("HostFunction is of no kind that exists");
  HostFunctions::Call* call =
      session.host_functions().make(static_cast<HostCall::Kind>(command.kind), command.code, command.argument,
                                    command.named_stream, session.is_capturing(stream));
  if (call == nullptr) return session.note(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  const CUresult result = session.driver().cuLaunchHostFunc(stream, HostFunctions::run, call);
  if (result != CUDA_SUCCESS) session.host_functions().drop(call);
  session.note(command.header, result);
}

}  // namespace tfusion::replay
