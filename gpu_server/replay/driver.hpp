// The driver that a worker replays on: a libcuda.so.1 opened by path, the host's own or the software GPU's.
#pragma once

#include <string>

#include "driver_functions.hpp"

namespace tfusion::replay {

class Driver {
 public:
  // Throws std::runtime_error with a sentence when the library or a function that must exist is missing.
  explicit Driver(const std::string& path);

  const DriverFunctions* operator->() const { return &functions_; }
  const DriverFunctions& functions() const { return functions_; }

  // "CUDA_ERROR_...: what it means" of a result.
  std::string describe(CUresult result) const;
  // Throws std::runtime_error("`what` failed: ...") unless result is CUDA_SUCCESS.
  void require(CUresult result, const char* what) const;

 private:
  DriverFunctions functions_;
};

}  // namespace tfusion::replay
