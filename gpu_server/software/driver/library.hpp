// Libraries: images loaded without a context, with one module in each context that uses them; and their
// kernels.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "module.hpp"

namespace tfusion::software::driver {

class Library;

class Kernel final : public Object {
 public:
  static constexpr Kind kKind = Kind::kernel;

  explicit Kernel(const ptx::KernelInfo& kernel_info)
      : info(kernel_info), settings(std::make_shared<FunctionSettings>(kernel_info)) {}

  std::weak_ptr<Library> library;
  const ptx::KernelInfo info;
  const std::shared_ptr<FunctionSettings> settings;
};

class Library final : public Object, public std::enable_shared_from_this<Library> {
 public:
  static constexpr Kind kKind = Kind::library;

  // Throws Failure as compile_texts().
  explicit Library(std::vector<std::string> ptx_texts);

  void publish();
  void withdraw();

  // The library's module in this context, made at first need. Throws Failure(CUDA_ERROR_OUT_OF_MEMORY).
  std::shared_ptr<Module> module_in(const std::shared_ptr<Context>& context);

  const std::vector<std::shared_ptr<Kernel>>& kernels() const { return kernels_; }
  std::shared_ptr<Kernel> kernel(const std::string& name) const;  // null if there is none

 private:
  const std::vector<std::string> texts_;
  std::vector<std::shared_ptr<Kernel>> kernels_;
  std::mutex mutex_;
  std::unique_ptr<ptx::Program> spare_;                     // compiled at load; the first context takes it
  std::map<std::uint64_t, std::weak_ptr<Module>> modules_;  // by context handle; the handle table owns them
};

}  // namespace tfusion::software::driver
