// The linker: PTX inputs are gathered, compiled together once to find errors, and handed out as our own
// linked image.
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "entry.hpp"
#include "image.hpp"
#include "jit_options.hpp"
#include "module.hpp"

namespace tfusion::software::driver {

namespace {

class Linker final : public Object {
 public:
  static constexpr Kind kKind = Kind::link;

  Linker(unsigned count, CUjit_option* names, void** values) : options(count, names, values) {}

  std::mutex mutex;    // protects all below; held while compiling, and no other lock is taken under it
  JitOptions options;  // the arrays stay valid until the linker is destroyed, as cuda.h demands
  std::vector<std::string> texts;
  std::vector<unsigned char> image;  // handed out by cuLinkComplete
};

std::shared_ptr<Linker> linker_of(CUlinkState state) {
  return driver().handles.get<Linker>(number_of(state));
}

void add(Linker& linker, CUjitInputType type, const void* data, std::size_t bytes) {
  require(data != nullptr && bytes != 0);
  switch (type) {
    case CU_JIT_INPUT_PTX:
    case CU_JIT_INPUT_FATBINARY:
      break;
    case CU_JIT_INPUT_CUBIN:
    case CU_JIT_INPUT_OBJECT:
    case CU_JIT_INPUT_LIBRARY:
      throw Failure(CUDA_ERROR_NO_BINARY_FOR_GPU,
                    "The software GPU links PTX only; this input is machine code or an archive of it.");
    default:
      throw Failure(CUDA_ERROR_INVALID_VALUE);
  }
  for (std::string& text : ptx_of_image(data, bytes)) linker.texts.push_back(std::move(text));
  linker.image.clear();
}

std::string read_file(const char* path) {
  struct Closer {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Closer> file(std::fopen(path, "rbe"));
  if (!file) throw Failure(CUDA_ERROR_FILE_NOT_FOUND, std::string("The file ") + path + " cannot be read.");
  std::string content;
  char part[1 << 16];
  while (std::feof(file.get()) == 0 && std::ferror(file.get()) == 0) {
    content.append(part, std::fread(part, 1, sizeof part, file.get()));
  }
  return content;
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuLinkCreate_v2(unsigned int numOptions, CUjit_option* options, void** optionValues,
                         CUlinkState* stateOut) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(stateOut != nullptr);
    const auto linker = std::make_shared<Linker>(numOptions, options, optionValues);
    linker->owner = context->handle;
    *stateOut = handle_of<CUlinkState>(*driver().handles.add(linker));
  });
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void* data, size_t size, const char*,
                          unsigned int numOptions, CUjit_option* options, void** optionValues) {
  return context_call([&](const std::shared_ptr<Context>&) {
    JitOptions checked(numOptions, options, optionValues);
    const auto linker = linker_of(state);
    const std::lock_guard lock(linker->mutex);
    linker->options.logged([&] { add(*linker, type, data, size); });
  });
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char* path, unsigned int numOptions,
                          CUjit_option* options, void** optionValues) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(path != nullptr);
    JitOptions checked(numOptions, options, optionValues);
    const auto linker = linker_of(state);
    const std::lock_guard lock(linker->mutex);
    linker->options.logged([&] {
      const std::string content = read_file(path);
      add(*linker, type, content.data(), content.size());
    });
  });
}

CUresult cuLinkComplete(CUlinkState state, void** cubinOut, size_t* sizeOut) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(cubinOut != nullptr);
    const auto linker = linker_of(state);
    const std::lock_guard lock(linker->mutex);
    require(!linker->texts.empty());
    if (linker->image.empty()) {
      linker->options.logged([&] { compile_texts(linker->texts); });
      linker->image = make_linked_image(linker->texts);
    }
    *cubinOut = linker->image.data();
    if (sizeOut != nullptr) *sizeOut = linker->image.size();
  });
}

CUresult cuLinkDestroy(CUlinkState state) {
  return context_call([&](const std::shared_ptr<Context>&) {
    linker_of(state);
    driver().handles.remove(number_of(state));
  });
}
