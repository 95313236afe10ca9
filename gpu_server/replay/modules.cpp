// Modules, kernels and their descriptions. A client's module and library are one kind of object here.
#include <algorithm>
#include <cstring>

#include "jit_options.hpp"
#include "protocol/image_format.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

// Told to the client instead of a CUresult: the cache does not hold the image.
constexpr std::int32_t kSendImage = -1;
constexpr std::size_t kMaxNameBytes = 32 * 1024;  // C++ kernels have long names

Digest digest_of(const std::uint8_t (&bytes)[32]) {
  Digest digest;
  std::memcpy(digest.data(), bytes, digest.size());
  return digest;
}

// A name from a tail; "" if it is too long or holds a NUL.
std::string name_of(std::span<const std::byte> tail) {
  if (tail.size() > kMaxNameBytes) return {};
  std::string name(reinterpret_cast<const char*>(tail.data()), tail.size());
  return name.find('\0') == std::string::npos ? name : std::string();
}

// Pointers to all kernel names, valid while the module is loaded.
CUresult names_of(const DriverFunctions& driver, const Module& module, std::vector<const char*>* names) {
  unsigned count = 0;
  if (module.library != nullptr) {
    if (CUresult r = driver.cuLibraryGetKernelCount(&count, module.library); r != CUDA_SUCCESS) return r;
    std::vector<CUkernel> kernels(count);
    if (CUresult r = driver.cuLibraryEnumerateKernels(kernels.data(), count, module.library);
        r != CUDA_SUCCESS)
      return r;
    for (const CUkernel kernel : kernels) {
      const char* name = nullptr;
      if (CUresult r = driver.cuKernelGetName(&name, kernel); r != CUDA_SUCCESS) return r;
      names->push_back(name);
    }
    return CUDA_SUCCESS;
  }
  if (CUresult r = driver.cuModuleGetFunctionCount(&count, module.module); r != CUDA_SUCCESS) return r;
  std::vector<CUfunction> functions(count);
  if (CUresult r = driver.cuModuleEnumerateFunctions(functions.data(), count, module.module);
      r != CUDA_SUCCESS)
    return r;
  for (const CUfunction function : functions) {
    const char* name = nullptr;
    if (CUresult r = driver.cuFuncGetName(&name, function); r != CUDA_SUCCESS) return r;
    names->push_back(name);
  }
  return CUDA_SUCCESS;
}

}  // namespace

void Session::unload(Module& module) {
  if (module.library != nullptr) driver().cuLibraryUnload(module.library);
  if (module.module != nullptr) driver().cuModuleUnload(module.module);
}

void replay(Session& session, const wire::ImagePart& command) {
  if (command.chunk >= kUpChunks || command.bytes == 0 || command.bytes > kChunkBytes) {
    return session.protocol_error("ImagePart names no chunk that goes up");
  }
  if (!session.hold_chunk(command.chunk)) return;
  // Copied before it is hashed: the client could change it between the hash and the write.
  const std::byte* chunk = session.shared().chunk(command.chunk);
  const std::vector<std::byte> piece(chunk, chunk + command.bytes);
  session.release_chunk(command.chunk);
  const auto stored =
      session.images().store(digest_of(command.digest), command.image_bytes, command.offset, piece);
  session.reply(command.header,
                stored == ImageCache::Stored::refused ? CUDA_ERROR_INVALID_IMAGE : CUDA_SUCCESS);
}

void replay(Session& session, const wire::ModuleLoad& command, std::span<const std::byte> tail) {
  if (!session.may_create(command.header, command.module, HandleKind::module)) return;
  JitOptions options;
  if (!options.read(tail, command.option_count))
    return session.protocol_error("ModuleLoad's options do not fit its tail");
  Module module;
  module.image = session.images().find(digest_of(command.digest), command.image_bytes);
  if (module.image == nullptr) return session.reply_raw(command.header, kSendImage);
  CUresult result = CUDA_SUCCESS;
  const auto bytes = module.image->bytes();
  session.note_image(bytes);
  // The driver follows the image's own headers, or looks for a text's NUL: neither may lead out of it.
  if (image_bytes(bytes.data(), bytes.size()) != bytes.size()) {
    result = CUDA_ERROR_INVALID_IMAGE;
  } else if (command.as_library != 0) {
    CUlibraryOption kept[] = {CU_LIBRARY_BINARY_IS_PRESERVED};
    void* kept_value[] = {reinterpret_cast<void*>(std::uintptr_t{1})};
    result = session.driver().cuLibraryLoadData(&module.library, bytes.data(), options.options(),
                                                options.values(), options.count(), kept, kept_value, 1);
  } else {
    result = session.driver().cuModuleLoadDataEx(&module.module, bytes.data(), options.count(),
                                                 options.options(), options.values());
  }
  if (result == CUDA_SUCCESS) session.modules.put(command.module, std::move(module));
  wire::ModuleLoadReply reply{};
  const auto logs = options.logs(kReplyPayloadBytes - sizeof reply, &reply.info_bytes, &reply.error_bytes);
  session.reply(command.header, result, &reply, sizeof reply, logs);
}

void replay(Session& session, const wire::ModuleUnload& command) {
  Module* module = nullptr;
  if (!session.resolve(command.header, command.module, &module)) return;
  Module taken = session.modules.take(command.module);
  // The driver's kernels end with their module; a client that kept one must not reach into freed memory.
  session.kernels.forget_if([&](const Kernel& kernel) { return kernel.module == command.module; });
  if (!taken.in_graph) return session.unload(taken);
  session.keep_for_graphs([&session, taken = std::move(taken)]() mutable { session.unload(taken); });
}

void replay(Session& session, const wire::ModuleGetKernel& command, std::span<const std::byte> tail) {
  Module* module = nullptr;
  if (!session.may_create(command.header, command.kernel, HandleKind::kernel)) return;
  if (!session.resolve(command.header, command.module, &module)) return;
  const std::string name = name_of(tail);
  Kernel kernel{nullptr, nullptr, command.module};
  CUresult result = CUDA_ERROR_NOT_FOUND;
  if (name.empty()) {
    // stays not found
  } else if (module->library != nullptr) {
    result = session.driver().cuLibraryGetKernel(&kernel.kernel, module->library, name.c_str());
    if (result == CUDA_SUCCESS)
      result = session.driver().cuKernelGetFunction(&kernel.function, kernel.kernel);
  } else {
    result = session.driver().cuModuleGetFunction(&kernel.function, module->module, name.c_str());
  }
  if (result == CUDA_SUCCESS) session.kernels.put(command.kernel, kernel);
  session.reply(command.header, result);
}

void replay(Session& session, const wire::KernelRelease& command) {
  Kernel* kernel = nullptr;
  if (session.resolve(command.header, command.kernel, &kernel)) session.kernels.take(command.kernel);
}

void replay(Session& session, const wire::ModuleGetGlobal& command, std::span<const std::byte> tail) {
  Module* module = nullptr;
  if (!session.resolve(command.header, command.module, &module)) return;
  const std::string name = name_of(tail);
  CUdeviceptr address = 0;
  std::size_t bytes = 0;
  CUresult result = CUDA_ERROR_NOT_FOUND;
  if (name.empty()) {
    // stays not found
  } else if (module->library != nullptr) {
    result = session.driver().cuLibraryGetGlobal(&address, &bytes, module->library, name.c_str());
  } else {
    result = session.driver().cuModuleGetGlobal_v2(&address, &bytes, module->module, name.c_str());
  }
  if (result == CUDA_SUCCESS) module->globals[address] = bytes;
  const wire::ModuleGetGlobalReply reply{address, bytes};
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::ModuleKernelNames& command) {
  Module* module = nullptr;
  if (!session.resolve(command.header, command.module, &module)) return;
  std::vector<const char*> names;
  const CUresult result = names_of(session.driver(), *module, &names);
  wire::ModuleKernelNamesReply reply{static_cast<std::uint32_t>(names.size()), 0};
  std::vector<std::byte> text;
  for (std::size_t i = command.first; i < names.size(); ++i) {
    const std::size_t length = std::strlen(names[i]) + 1;
    if (text.size() + length > kReplyPayloadBytes - sizeof reply) break;
    const auto* from = reinterpret_cast<const std::byte*>(names[i]);
    text.insert(text.end(), from, from + length);
    ++reply.listed;
  }
  session.reply(command.header, result, &reply, sizeof reply, text);
}

void replay(Session& session, const wire::KernelDescribe& command) {
  Kernel* kernel = nullptr;
  if (!session.resolve(command.header, command.kernel, &kernel)) return;
  wire::KernelDescribeReply reply{};
  for (int i = 0; i < CU_FUNC_ATTRIBUTE_MAX && i < 24; ++i) {
    int value = 0;
    const CUresult result =
        session.driver().cuFuncGetAttribute(&value, static_cast<CUfunction_attribute>(i), kernel->function);
    if (result == CUDA_SUCCESS) {
      reply.attributes[i] = value;
    } else if (i == 0) {
      return session.reply(command.header,
                           result);  // not an attribute that is unknown: the kernel does not load
    }
  }
  struct Parameter {
    std::uint32_t offset, bytes;
  };
  std::vector<Parameter> listed;
  constexpr std::size_t kMost = (kReplyPayloadBytes - sizeof reply) / sizeof(Parameter);
  for (std::size_t i = 0;; ++i) {
    std::size_t offset = 0, bytes = 0;
    if (session.driver().cuFuncGetParamInfo(kernel->function, i, &offset, &bytes) != CUDA_SUCCESS) break;
    ++reply.parameter_count;
    if (i >= command.first_parameter && listed.size() < kMost) {
      listed.push_back({static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(bytes)});
    }
  }
  reply.listed = static_cast<std::uint32_t>(listed.size());
  session.reply(command.header, CUDA_SUCCESS, &reply, sizeof reply, std::as_bytes(std::span(listed)));
}

void replay(Session& session, const wire::KernelSetAttribute& command) {
  Kernel* kernel = nullptr;
  if (!session.resolve(command.header, command.kernel, &kernel)) return;
  session.note(command.header,
               session.driver().cuFuncSetAttribute(
                   kernel->function, static_cast<CUfunction_attribute>(command.attribute), command.value));
}

void replay(Session& session, const wire::KernelSetCacheConfig& command) {
  Kernel* kernel = nullptr;
  if (!session.resolve(command.header, command.kernel, &kernel)) return;
  session.note(command.header, session.driver().cuFuncSetCacheConfig(
                                   kernel->function, static_cast<CUfunc_cache>(command.config)));
}

}  // namespace tfusion::replay
