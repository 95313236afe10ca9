// The table of everything that has a handle: contexts, streams, events, modules, functions, libraries,
// kernels, physical memory, link states, graphs, arrays, textures. A handle is a number that is never used
// twice, so a stale or made-up handle is told from a live one and never dereferenced. The low byte of a
// handle is its kind.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "failure.hpp"

namespace tfusion::software::driver {

enum class Kind : std::uint8_t {
  context = 1,
  stream = 2,
  event = 3,
  module = 4,
  function = 5,
  library = 6,
  kernel = 7,
  physical_memory = 8,
  link = 9,
  memory_pool = 10,
  graph = 11,
  graph_node = 12,
  graph_exec = 13,
  user_object = 14,
  array = 15,
  mipmapped_array = 16,
  texture = 17,
};

// Base of all objects with a handle. `owner` is the handle of the context that takes the object down with it,
// or 0.
class Object {
 public:
  Object() = default;
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  std::uint64_t handle = 0;
  std::uint64_t owner = 0;
};

class HandleTable {
 public:
  // Gives the object its handle. T::kKind names its kind.
  template <class T>
  std::shared_ptr<T> add(std::shared_ptr<T> object) {
    object->handle =
        (next_.fetch_add(1, std::memory_order_relaxed) << 8) | static_cast<std::uint64_t>(T::kKind);
    const std::lock_guard lock(mutex_);
    objects_.emplace(object->handle, object);
    return object;
  }

  // Puts an object back under the handle it had; nothing happens if it is there.
  void restore(const std::shared_ptr<Object>& object) {
    const std::lock_guard lock(mutex_);
    objects_.emplace(object->handle, object);
  }

  // Null unless the handle is a live one of this kind.
  template <class T>
  std::shared_ptr<T> find(std::uint64_t handle) const {
    if ((handle & 0xff) != static_cast<std::uint64_t>(T::kKind)) return nullptr;
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : std::static_pointer_cast<T>(found->second);
  }

  // As find(), or throws `otherwise`.
  template <class T>
  std::shared_ptr<T> get(std::uint64_t handle, CUresult otherwise = CUDA_ERROR_INVALID_HANDLE) const {
    std::shared_ptr<T> object = find<T>(handle);
    if (!object) throw Failure(otherwise);
    return object;
  }

  // Takes the object out of the table; who still holds it keeps it alive. Null if another thread was faster.
  std::shared_ptr<Object> remove(std::uint64_t handle) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(handle);
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<Object> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

  // Takes out everything that a context owns.
  std::vector<std::shared_ptr<Object>> remove_owned_by(std::uint64_t context) {
    std::vector<std::shared_ptr<Object>> removed;
    const std::lock_guard lock(mutex_);
    for (auto each = objects_.begin(); each != objects_.end();) {
      if (each->second->owner == context) {
        removed.push_back(std::move(each->second));
        each = objects_.erase(each);
      } else {
        ++each;
      }
    }
    return removed;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Object>> objects_;
  std::atomic<std::uint64_t> next_{0x1000};
};

// CUDA's handle types are pointers to nothing that a caller may look into.
template <class CudaHandle>
std::uint64_t number_of(CudaHandle handle) noexcept {
  return reinterpret_cast<std::uint64_t>(handle);
}
template <class CudaHandle>
CudaHandle handle_of(const Object& object) noexcept {
  return reinterpret_cast<CudaHandle>(object.handle);
}

}  // namespace tfusion::software::driver
