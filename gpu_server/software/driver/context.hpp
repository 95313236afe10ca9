// Contexts: the primary one and those of cuCtxCreate; the stack of current contexts of each thread; sticky
// errors.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>

#include "handles.hpp"

namespace tfusion::software::driver {

class Stream;

class Context final : public Object {
 public:
  static constexpr Kind kKind = Kind::context;

  Context(unsigned context_flags, bool is_primary);

  // The sticky error, or CUDA_SUCCESS.
  CUresult status() const noexcept { return static_cast<CUresult>(error_.load(std::memory_order_acquire)); }
  // The first failure stays until the context is reset or destroyed; its detail is printed to stderr once.
  void fail(CUresult code, const std::string& detail) noexcept;
  void clear_failure() noexcept { error_.store(CUDA_SUCCESS, std::memory_order_release); }

  std::atomic<unsigned> flags;
  const bool primary;
  std::atomic<unsigned long long> id;  // cuCtxGetId
  std::array<std::atomic<std::size_t>, CU_LIMIT_MAX> limits;
  // Streams that take part in a capture and that the legacy stream would have to wait for.
  std::atomic<unsigned> capturing_blocking_streams{0};
  std::atomic<CUfunc_cache> cache_config{CU_FUNC_CACHE_PREFER_NONE};
  // Not in the handle table: they stand for the handles 0/1 and 2.
  std::shared_ptr<Stream> legacy_stream;
  std::shared_ptr<Stream> per_thread_stream;

 private:
  std::atomic<int> error_{CUDA_SUCCESS};
};

// The calling thread's current context. Throws CUDA_ERROR_INVALID_CONTEXT, or
// CUDA_ERROR_CONTEXT_IS_DESTROYED.
std::shared_ptr<Context> current_context();

}  // namespace tfusion::software::driver
