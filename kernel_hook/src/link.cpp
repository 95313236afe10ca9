// Linking: inputs go to the worker's driver one by one; the linked image comes back into memory of this
// process, which lives until cuLinkDestroy, as the driver's does.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "image.hpp"
#include "objects.hpp"

namespace tfusion::hook {

struct LinkObject {
  std::vector<CUjit_option> options;
  void** values = nullptr;  // the program's own array: logs are delivered there until cuLinkDestroy
  std::vector<std::byte> image;
  void reset() { *this = LinkObject{}; }
  JitOptions jit() const { return {options, values}; }
};

namespace {

HandleTable<LinkObject>& links() {
  static auto& table = *new HandleTable<LinkObject>(protocol::HandleKind::link);
  return table;
}

}  // namespace

namespace api {

CUresult cuLinkCreate_v2(unsigned int numOptions, CUjit_option* options, void** optionValues,
                         CUlinkState* stateOut) {
  if (stateOut == nullptr || (numOptions > 0 && (options == nullptr || optionValues == nullptr))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  const std::uint64_t handle = links().create([&](LinkObject& l) {
    l.options.assign(options, options + numOptions);
    l.values = optionValues;
  });
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  std::uint64_t pairs[64];
  wire::LinkCreate command{};
  command.link = handle;
  command.option_count = links().find(handle)->jit().encode(pairs);
  const CUresult result = call(command, nullptr, pairs, command.option_count * 16);
  if (result != CUDA_SUCCESS) {
    links().erase(handle);
  } else {
    *stateOut = reinterpret_cast<CUlinkState>(handle);
  }
  return result;
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void* data, size_t size, const char* name,
                          unsigned int numOptions, CUjit_option* options, void** optionValues) {
  if (data == nullptr || size == 0) return CUDA_ERROR_INVALID_VALUE;
  if (numOptions > 0 && (options == nullptr || optionValues == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  LinkObject* link = links().find(number(state));
  if (link == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(data), size);
  const protocol::Digest digest = protocol::sha256(bytes);
  if (CUresult r = upload_image(digest, bytes); r != CUDA_SUCCESS) return r;

  wire::LinkAdd command{};
  command.link = number(state);
  std::memcpy(command.digest, digest.data(), digest.size());
  command.image_bytes = size;
  command.input_type = static_cast<std::uint32_t>(type);
  std::uint64_t pairs[64];
  command.option_count = JitOptions{{options, numOptions}, optionValues}.encode(pairs);
  command.name_bytes =
      name != nullptr ? static_cast<std::uint32_t>(std::min<std::size_t>(std::strlen(name), 1024)) : 0;
  std::vector<std::byte> tail(command.option_count * 16 + command.name_bytes);
  std::memcpy(tail.data(), pairs, command.option_count * 16);
  if (command.name_bytes > 0) std::memcpy(tail.data() + command.option_count * 16, name, command.name_bytes);
  Reply reply;
  const CUresult result = call_with(reply, command, tail.data(), static_cast<std::uint32_t>(tail.size()));
  deliver_logs<wire::LinkAddReply>(link->jit(), reply, result);
  return result;
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char* path, unsigned int numOptions,
                          CUjit_option* options, void** optionValues) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::ifstream file(path, std::ios::binary);
  if (!file) return CUDA_ERROR_FILE_NOT_FOUND;
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (type == CU_JIT_INPUT_PTX) bytes.push_back('\0');
  return api::cuLinkAddData_v2(state, type, bytes.data(), bytes.size(), path, numOptions, options,
                               optionValues);
}

CUresult cuLinkComplete(CUlinkState state, void** cubinOut, size_t* sizeOut) {
  if (cubinOut == nullptr) return CUDA_ERROR_INVALID_VALUE;
  LinkObject* link = links().find(number(state));
  if (link == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  std::uint64_t bytes = 0;
  {
    wire::LinkComplete command{};
    command.link = number(state);
    Reply reply;
    const CUresult result = call_with(reply, command);
    deliver_logs<wire::LinkCompleteReply>(link->jit(), reply, result);
    if (result != CUDA_SUCCESS) return result;
    wire::LinkCompleteReply done;
    std::memcpy(&done, reply.payload(), sizeof done);
    bytes = done.image_bytes;
  }
  link->image.assign(bytes + 1, std::byte{0});  // a NUL behind it, should it be text
  for (std::uint64_t offset = 0; offset < bytes; offset += protocol::kChunkBytes) {
    DownChunk chunk;
    if (!chunk.valid()) return lost();
    wire::LinkRead command{};
    command.link = number(state);
    command.offset = offset;
    command.chunk = chunk.index();
    command.bytes =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes - offset, protocol::kChunkBytes));
    if (CUresult r = call(command); r != CUDA_SUCCESS) return r;
    std::memcpy(link->image.data() + offset, chunk.data(), command.bytes);
  }
  *cubinOut = link->image.data();
  if (sizeOut != nullptr) *sizeOut = bytes;
  return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState state) {
  if (!links().retire(number(state))) return CUDA_ERROR_INVALID_HANDLE;
  wire::LinkDestroy command{};
  command.link = number(state);
  const CUresult result = post(command);
  links().recycle(number(state));
  return result;
}

}  // namespace api
}  // namespace tfusion::hook
