// User objects: a destructor that runs when nobody refers to the object any more: neither its program, nor a
// graph, an executable, or a launch of one, since the destructor is queued behind what was launched before.
#pragma once

#include <atomic>
#include <cstdint>

#include "cuda_api.hpp"
#include "handles.hpp"

namespace tfusion::software::driver {

class UserObject final : public Object {
 public:
  static constexpr Kind kKind = Kind::user_object;

  UserObject(void* object, CUhostFn destroy, std::uint64_t references)
      : object_(object), destroy_(destroy), references_(references) {}

  void retain(std::uint64_t count) noexcept { references_.fetch_add(count, std::memory_order_relaxed); }
  // With the last reference the destructor is called on the queue thread, where it may not call the driver.
  // False, and nothing happens, if there are fewer references. Precondition: no lock of the driver is held.
  bool release(std::uint64_t count) noexcept;

 private:
  void* const object_;
  const CUhostFn destroy_;
  std::atomic<std::uint64_t> references_;
};

}  // namespace tfusion::software::driver
