// The exception that carries a CUresult from the inside of the driver to the exported function (entry.hpp
// turns it back into a return code). `what()` is the sentence for the JIT error log or stderr, empty when the
// code says all.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "cuda_api.hpp"

namespace tfusion::software::driver {

class Failure : public std::exception {
 public:
  explicit Failure(CUresult failure_code, std::string sentence = {})
      : code(failure_code), sentence_(std::move(sentence)) {}
  const char* what() const noexcept override { return sentence_.c_str(); }

  const CUresult code;

 private:
  std::string sentence_;
};

// CUDA_ERROR_INVALID_VALUE unless `holds`.
inline void require(bool holds, CUresult otherwise = CUDA_ERROR_INVALID_VALUE) {
  if (!holds) throw Failure(otherwise);
}

}  // namespace tfusion::software::driver
