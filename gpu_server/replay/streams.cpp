// Streams, events, waiting for them, and the text that comes of waiting.
#include <cstring>

#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

void replay(Session& session, const wire::StreamCreate& command) {
  if (!session.may_create(command.header, command.stream, protocol::HandleKind::stream)) return;
  CUstream stream = nullptr;
  const CUresult result =
      session.driver().cuStreamCreateWithPriority(&stream, command.flags, command.priority);
  session.created(command.stream, stream, result);
  session.note(command.header, result);
}

void replay(Session& session, const wire::StreamAttribute& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  switch (command.attribute) {  // those that hold plain values
    case CU_STREAM_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_STREAM_ATTRIBUTE_PRIORITY:
    case CU_STREAM_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_STREAM_ATTRIBUTE_MEM_SYNC_DOMAIN:
      break;
    default:
      return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  }
  const DriverFunctions& driver = session.driver();
  const auto attribute = static_cast<CUstreamAttrID>(command.attribute);
  CUstreamAttrValue value{};
  static_assert(sizeof value == sizeof command.value);
  std::memcpy(&value, command.value, sizeof value);
  CUresult result = CUDA_ERROR_NOT_SUPPORTED;
  if (command.set != 0) {
    if (driver.cuStreamSetAttribute != nullptr)
      result = driver.cuStreamSetAttribute(stream, attribute, &value);
  } else if (driver.cuStreamGetAttribute != nullptr) {
    result = driver.cuStreamGetAttribute(stream, attribute, &value);
  }
  wire::StreamAttributeReply reply{};
  std::memcpy(reply.value, &value, sizeof value);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::StreamCopyAttributes& command) {
  CUstream to = nullptr, from = nullptr;
  if (!session.resolve(command.header, command.to, &to) ||
      !session.resolve(command.header, command.from, &from))
    return;
  const auto copy = session.driver().cuStreamCopyAttributes;
  session.reply(command.header, copy != nullptr ? copy(to, from) : CUDA_ERROR_NOT_SUPPORTED);
}

void replay(Session& session, const wire::StreamDestroy& command) {
  CUstream stream = nullptr;
  if (command.stream == 1) return session.protocol_error("StreamDestroy names the default stream");
  if (!session.resolve(command.header, command.stream, &stream)) return;
  session.streams.take(command.stream);
  session.end_stream(stream);
}

void replay(Session& session, const wire::EventDestroy& command) {
  CUevent event = nullptr;
  if (!session.resolve(command.header, command.event, &event)) return;
  session.events.take(command.event);
  session.pending().forget_event(event);
  if (session.was_in_graph(event))
    return session.keep_for_graphs([&session, event] { session.driver().cuEventDestroy_v2(event); });
  session.note(command.header, session.driver().cuEventDestroy_v2(event));
}

void replay(Session& session, const wire::StreamSynchronize& command) {
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  session.pending().after_stream(stream,
                                 [&session, command](CUresult done) { session.reply(command.header, done); });
}

void replay(Session& session, const wire::EventSynchronize& command) {
  CUevent event = nullptr;
  if (!session.resolve(command.header, command.event, &event)) return;
  session.pending().after_event(event,
                                [&session, command](CUresult done) { session.reply(command.header, done); });
}

void replay(Session& session, const wire::ContextSynchronize& command) {
  session.pending().after_all(session.all_streams(),
                              [&session, command](CUresult done) { session.reply(command.header, done); });
}

void replay(Session& session, const wire::ContextReset& command) {
  session.reply(command.header, session.reset());
}

void replay(Session& session, const wire::ContextSetLimit& command) {
  wire::ContextSetLimitReply reply{};
  std::size_t value = command.value;
  CUresult result = session.driver().cuCtxSetLimit(static_cast<CUlimit>(command.limit), value);
  if (result == CUDA_SUCCESS)
    result = session.driver().cuCtxGetLimit(&value, static_cast<CUlimit>(command.limit));
  reply.value = value;
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::TextNext& command) {
  session.forward_text();
  session.reply(command.header, CUDA_SUCCESS);
}

}  // namespace tfusion::replay
