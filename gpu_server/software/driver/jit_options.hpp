// The options of cuModuleLoadDataEx, cuLibraryLoadData and cuLinkCreate: log buffers are filled, settings
// that only steer NVIDIA's compiler are accepted and change nothing.
#pragma once

#include <cstddef>
#include <string>

#include "failure.hpp"

namespace tfusion::software::driver {

class JitOptions {
 public:
  // The arrays are the caller's and stay valid as long as this object. Throws CUDA_ERROR_INVALID_VALUE.
  JitOptions(unsigned count, CUjit_option* options, void** values);

  // Runs load(); a Failure's sentence goes to the error log, or to stderr if the caller gave no buffer for
  // it.
  template <class Load>
  auto logged(Load&& load) {
    try {
      return load();
    } catch (const Failure& failure) {
      report(failure.what());
      throw;
    }
  }

 private:
  struct Log {
    char* buffer = nullptr;
    void** size = nullptr;  // the option's value: in, the bytes of the buffer; out, the bytes written
  };
  static void write(const Log& log, const std::string& text);
  void report(const std::string& sentence);

  Log info_;
  Log error_;
};

}  // namespace tfusion::software::driver
