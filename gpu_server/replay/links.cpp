// Linking: inputs come through the image cache, the linked image goes back through staging.
#include <cstring>

#include "link.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

constexpr std::size_t kMaxInputs = 256;

template <typename Reply>
void reply_with_logs(Session& session, const wire::CommandHeader& header, CUresult result, const Link& link,
                     Reply reply) {
  const auto logs =
      link.options.logs(kReplyPayloadBytes - sizeof reply, &reply.info_bytes, &reply.error_bytes);
  session.reply(header, result, &reply, sizeof reply, logs);
}

}  // namespace

void replay(Session& session, const wire::LinkCreate& command, std::span<const std::byte> tail) {
  if (!session.may_create(command.header, command.link, HandleKind::link)) return;
  auto link = std::make_unique<Link>(session.driver());
  if (!link->options.read(tail, command.option_count)) {
    return session.protocol_error("LinkCreate's options do not fit its tail");
  }
  const CUresult result = session.driver().cuLinkCreate_v2(link->options.count(), link->options.options(),
                                                           link->options.values(), &link->state);
  if (result == CUDA_SUCCESS) session.links.put(command.link, std::move(link));
  session.reply(command.header, result);
}

void replay(Session& session, const wire::LinkAdd& command, std::span<const std::byte> tail) {
  Link* link = nullptr;
  if (!session.resolve(command.header, command.link, &link)) return;
  const std::size_t option_bytes =
      command.option_count > JitOptions::kMost ? tail.size() + 1 : command.option_count * 16;
  if (option_bytes > tail.size() || command.name_bytes != tail.size() - option_bytes) {
    return session.protocol_error("LinkAdd's options and name do not fit its tail");
  }
  JitOptions options;
  // Logs go to the linker's own buffers, which live as long as the driver writes to them.
  if (!options.read(tail.first(option_bytes), command.option_count, JitOptions::Logs::left_out)) {
    return session.protocol_error("LinkAdd's options do not fit its tail");
  }
  if (link->inputs.size() >= kMaxInputs) return session.reply(command.header, CUDA_ERROR_OUT_OF_MEMORY);
  Digest digest;
  std::memcpy(digest.data(), command.digest, digest.size());
  auto image = session.images().find(digest, command.image_bytes);
  if (image == nullptr) return session.reply(command.header, CUDA_ERROR_INVALID_IMAGE);
  const auto bytes = image->bytes();
  const std::string name(reinterpret_cast<const char*>(tail.data() + option_bytes), command.name_bytes);
  link->linked = {};
  const CUresult result = session.driver().cuLinkAddData_v2(
      link->state, static_cast<CUjitInputType>(command.input_type), const_cast<std::byte*>(bytes.data()),
      bytes.size(), name.c_str(), options.count(), options.options(), options.values());
  link->inputs.push_back(std::move(image));
  reply_with_logs(session, command.header, result, *link, wire::LinkAddReply{});
}

void replay(Session& session, const wire::LinkComplete& command) {
  Link* link = nullptr;
  if (!session.resolve(command.header, command.link, &link)) return;
  void* image = nullptr;
  std::size_t bytes = 0;
  link->linked = {};  // the driver's memory, which it may give up when it links again
  const CUresult result = session.driver().cuLinkComplete(link->state, &image, &bytes);
  if (result == CUDA_SUCCESS) link->linked = {static_cast<const std::byte*>(image), bytes};
  wire::LinkCompleteReply reply{};
  reply.image_bytes = link->linked.size();
  reply_with_logs(session, command.header, result, *link, reply);
}

void replay(Session& session, const wire::LinkRead& command) {
  if (command.chunk < kUpChunks || command.chunk >= kChunks || command.bytes == 0 ||
      command.bytes > kChunkBytes) {
    return session.protocol_error("LinkRead names no chunk that comes down");
  }
  Link* link = nullptr;
  if (!session.resolve(command.header, command.link, &link)) return;
  if (command.offset > link->linked.size() || command.bytes > link->linked.size() - command.offset) {
    return session.protocol_error("LinkRead reaches past the linked image");
  }
  std::memcpy(session.shared().chunk(command.chunk), link->linked.data() + command.offset, command.bytes);
  session.reply(command.header, CUDA_SUCCESS);
}

void replay(Session& session, const wire::LinkDestroy& command) {
  Link* link = nullptr;
  if (session.resolve(command.header, command.link, &link)) session.links.take(command.link);
}

}  // namespace tfusion::replay
