// The module functions: see module.hpp.
#include "module.hpp"

#include <algorithm>

#include "capture.hpp"
#include "device.hpp"
#include "device_memory.hpp"
#include "entry.hpp"
#include "image.hpp"
#include "jit_options.hpp"

namespace tfusion::software::driver {

FunctionSettings::FunctionSettings(const ptx::KernelInfo& info)
    : max_dynamic_shared_bytes(
          static_cast<int>(kSharedPerBlock - std::min(kSharedPerBlock, info.static_shared_bytes))) {}

Module::Module(const Context& context, std::unique_ptr<ptx::Program> compiled,
               std::span<const std::shared_ptr<FunctionSettings>> settings)
    : program_(std::move(compiled)) {
  owner = context.handle;
  // All variables lie in one piece of memory, each at its alignment.
  std::size_t total = 0;
  const auto place_next = [](std::size_t& end, const ptx::GlobalInfo& variable) {
    const std::size_t alignment = std::max<std::size_t>(variable.alignment, 16);
    std::size_t start = 0;
    if (__builtin_add_overflow(end, alignment - 1, &start)) throw Failure(CUDA_ERROR_OUT_OF_MEMORY);
    start = start / alignment * alignment;
    if (__builtin_add_overflow(start, variable.bytes, &end)) throw Failure(CUDA_ERROR_OUT_OF_MEMORY);
    return start;
  };
  for (const ptx::GlobalInfo& variable : program_->globals()) place_next(total, variable);
  if (total != 0) memory_ = allocate_device_memory(context, total, RegionKind::module);
  std::size_t end = 0;
  program_->instantiate([&](const ptx::GlobalInfo& variable) -> std::uint64_t {
    const std::size_t start = place_next(end, variable);
    require(end <= total, CUDA_ERROR_UNKNOWN);
    variables_.emplace(variable.name, Variable{memory_ + start, variable.bytes});
    return memory_ + start;
  });
  const auto kernels = program_->kernels();
  for (std::size_t index = 0; index < kernels.size(); ++index) {
    functions_.push_back(std::make_shared<Function>(
        index, kernels[index],
        settings.empty() ? std::make_shared<FunctionSettings>(kernels[index]) : settings[index]));
    functions_.back()->owner = context.handle;
    function_index_.emplace(kernels[index].name, index);
  }
}

Module::~Module() {
  if (memory_ == 0) return;
  std::optional<Region> region;
  {
    const auto lock = driver().memory.lock();
    region = driver().memory.take(memory_, {RegionKind::module});
  }
  if (region) release_device_memory(*region);
}

void Module::publish() {
  driver().handles.add(shared_from_this());
  for (const auto& each : functions_) {
    each->module = weak_from_this();
    driver().handles.add(each);
  }
}

void Module::withdraw() {
  for (const auto& each : functions_) driver().handles.remove(each->handle);
  driver().handles.remove(handle);
}

std::shared_ptr<Function> Module::function(const std::string& name) const {
  const auto found = function_index_.find(name);
  return found == function_index_.end() ? nullptr : functions_[found->second];
}

const Variable* Module::variable(const std::string& name) const {
  const auto found = variables_.find(name);
  return found == variables_.end() ? nullptr : &found->second;
}

std::unique_ptr<ptx::Program> compile_texts(const std::vector<std::string>& texts) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  try {
    return ptx::compile(views);
  } catch (const ptx::CompileError& error) {
    throw Failure(CUDA_ERROR_INVALID_PTX, error.what());
  }
}

namespace {

CUresult load(CUmodule* module, const void* image, JitOptions& options) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(module != nullptr && image != nullptr);
    forbid_unsafe_call();
    auto program = options.logged([&] { return compile_texts(ptx_of_image(image)); });
    const auto loaded = std::make_shared<Module>(*context, std::move(program),
                                                 std::span<const std::shared_ptr<FunctionSettings>>());
    loaded->publish();
    *module = handle_of<CUmodule>(*loaded);
  });
}

CUresult load_plain(CUmodule* module, const void* image) {
  return guarded([&] {
    JitOptions none(0, nullptr, nullptr);
    return load(module, image, none);
  });
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return load_plain(module, image);
}

CUresult cuModuleLoadFatBinary(CUmodule* module, const void* fatCubin) {
  return load_plain(module, fatCubin);
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int numOptions,
                            CUjit_option* options, void** optionValues) {
  return guarded([&] {
    JitOptions parsed(numOptions, options, optionValues);
    return load(module, image, parsed);
  });
}

CUresult cuModuleUnload(CUmodule hmod) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto module = driver().handles.get<Module>(number_of(hmod));
    require(module->library == 0, CUDA_ERROR_NOT_PERMITTED);  // it goes with its library
    module->withdraw();
    return context->status();
  });
}

CUresult cuModuleGetFunction(CUfunction* hfunc, CUmodule hmod, const char* name) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(hfunc != nullptr && name != nullptr);
    const auto function = driver().handles.get<Module>(number_of(hmod))->function(name);
    require(function != nullptr, CUDA_ERROR_NOT_FOUND);
    *hfunc = handle_of<CUfunction>(*function);
  });
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* dptr, size_t* bytes, CUmodule hmod, const char* name) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(name != nullptr && (dptr != nullptr || bytes != nullptr));
    const auto module = driver().handles.get<Module>(number_of(hmod));
    const Variable* variable = module->variable(name);
    require(variable != nullptr, CUDA_ERROR_NOT_FOUND);
    if (dptr != nullptr) *dptr = variable->address;
    if (bytes != nullptr) *bytes = variable->bytes;
  });
}

CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule mod) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(count != nullptr);
    *count = static_cast<unsigned>(driver().handles.get<Module>(number_of(mod))->functions().size());
  });
}

CUresult cuModuleEnumerateFunctions(CUfunction* functions, unsigned int numFunctions, CUmodule mod) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(functions != nullptr && numFunctions != 0);
    const auto module = driver().handles.get<Module>(number_of(mod));
    for (unsigned index = 0; index < numFunctions && index < module->functions().size(); ++index) {
      functions[index] = handle_of<CUfunction>(*module->functions()[index]);
    }
  });
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  return call([&] {
    require(mode != nullptr);
    *mode = CU_MODULE_EAGER_LOADING;
  });
}
