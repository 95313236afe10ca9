// Modules: a program compiled from an image, its variables in device memory, its functions.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../ptx/program.hpp"
#include "context.hpp"

namespace tfusion::software::driver {

class Module;

// What cuFuncSetAttribute and cuKernelSetAttribute change. A kernel shares it with its functions in all
// contexts.
struct FunctionSettings {
  explicit FunctionSettings(const ptx::KernelInfo& info);

  std::atomic<int> max_dynamic_shared_bytes;
  std::atomic<int> preferred_carveout{-1};
};

class Function final : public Object {
 public:
  static constexpr Kind kKind = Kind::function;

  Function(std::size_t program_index, const ptx::KernelInfo& kernel_info,
           std::shared_ptr<FunctionSettings> function_settings)
      : index(program_index), info(kernel_info), settings(std::move(function_settings)) {}

  std::weak_ptr<Module> module;
  std::uint64_t kernel = 0;  // handle of the library's kernel, or 0
  const std::size_t index;   // in the program
  const ptx::KernelInfo info;
  const std::shared_ptr<FunctionSettings> settings;
};

struct Variable {
  std::uint64_t address;
  std::size_t bytes;
};

class Module final : public Object, public std::enable_shared_from_this<Module> {
 public:
  static constexpr Kind kKind = Kind::module;

  // Places the program's variables. `settings` are those of the library's kernels, in the program's order;
  // empty for a module of its own. Throws Failure(CUDA_ERROR_OUT_OF_MEMORY).
  Module(const Context& context, std::unique_ptr<ptx::Program> compiled,
         std::span<const std::shared_ptr<FunctionSettings>> settings);
  ~Module() override;

  // Adds the module and its functions to the handle table. Once.
  void publish();
  // Takes them out again.
  void withdraw();

  std::shared_ptr<Function> function(const std::string& name) const;  // null if there is none
  const std::vector<std::shared_ptr<Function>>& functions() const { return functions_; }
  const Variable* variable(const std::string& name) const;
  ptx::Program& program() { return *program_; }

  std::uint64_t library = 0;  // handle of the library that it belongs to, or 0

 private:
  std::unique_ptr<ptx::Program> program_;
  std::vector<std::shared_ptr<Function>> functions_;
  std::map<std::string, std::size_t> function_index_;
  std::map<std::string, Variable> variables_;
  std::uint64_t memory_ = 0;  // of all variables; 0 if there are none
};

// Compiles texts. Throws Failure: CUDA_ERROR_INVALID_PTX with the compiler's sentence.
std::unique_ptr<ptx::Program> compile_texts(const std::vector<std::string>& texts);

}  // namespace tfusion::software::driver
