// The client's objects of one kind, found by handle. Lookup takes no lock: a launch looks up its kernel and
// stream.
//
// Objects are recycled, never freed, so that a program that uses a destroyed handle gets
// CUDA_ERROR_INVALID_HANDLE and not a crash. T needs a default constructor and `void reset()`.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "protocol/handle.hpp"

namespace tfusion::hook {

template <typename T>
class HandleTable {
 public:
  explicit constexpr HandleTable(protocol::HandleKind kind) : kind_(kind) {}

  // A new object, `fill`ed before anyone can find it. 0 if there are too many.
  template <typename Fill>
  std::uint64_t create(Fill&& fill) {
    std::lock_guard lock(mutex_);
    std::uint32_t index;
    if (!free_.empty()) {
      index = free_.back();
      free_.pop_back();
    } else {
      if (used_ == protocol::kMaxHandleIndex) return 0;
      index = used_;
      if (index % kChunk == 0) chunks_[index / kChunk].store(new Slot[kChunk], std::memory_order_release);
      ++used_;
    }
    Slot* slot = at(index);
    if (slot == nullptr) return 0;
    fill(slot->object);
    const std::uint32_t generation = slot->generation.load(std::memory_order_relaxed);
    slot->alive.store(true, std::memory_order_release);
    return protocol::pack({kind_, static_cast<std::uint16_t>(generation), index});
  }
  std::uint64_t create() {
    return create([](T&) {});
  }

  T* find(std::uint64_t handle) const {
    const protocol::Handle h = protocol::unpack(handle);
    if (h.kind != kind_) return nullptr;
    Slot* slot = at(h.index);
    if (slot == nullptr || !slot->alive.load(std::memory_order_acquire)) return nullptr;
    if (slot->generation.load(std::memory_order_relaxed) != h.generation) return nullptr;
    return &slot->object;
  }

  // Ends the object: nobody finds it any more. Its place is not used again before recycle(), which must
  // follow when the worker has been told: else another thread's new object could reach the worker under a
  // handle that is still taken there. False if the handle is none of ours (any more).
  bool retire(std::uint64_t handle) {
    std::lock_guard lock(mutex_);
    if (find(handle) == nullptr) return false;
    Slot* slot = at(protocol::unpack(handle).index);
    if (slot == nullptr) return false;
    slot->alive.store(false, std::memory_order_release);
    slot->generation.store((slot->generation.load(std::memory_order_relaxed) + 1) & 0xfff,
                           std::memory_order_relaxed);
    slot->object.reset();
    return true;
  }

  // Precondition: retire(handle) was true, and this is called once for it.
  void recycle(std::uint64_t handle) {
    std::lock_guard lock(mutex_);
    free_.push_back(protocol::unpack(handle).index);
  }

  // Both at once, for an object that the worker does not have.
  bool erase(std::uint64_t handle) {
    if (!retire(handle)) return false;
    recycle(handle);
    return true;
  }

  void erase_all() {
    std::vector<std::uint64_t> handles;
    {
      std::lock_guard lock(mutex_);
      for (std::uint32_t i = used_; i-- > 0;) {  // so that low places are given out first again
        const Slot* slot = at(i);
        if (slot != nullptr && slot->alive.load()) {
          handles.push_back(protocol::pack({kind_, static_cast<std::uint16_t>(slot->generation.load()), i}));
        }
      }
    }
    for (const std::uint64_t h : handles) erase(h);
  }

 private:
  static constexpr std::uint32_t kChunk = 1024;
  struct Slot {
    std::atomic<bool> alive{false};
    std::atomic<std::uint32_t> generation{1};
    T object{};
  };

  Slot* at(std::uint32_t index) const {
    Slot* chunk = chunks_[index / kChunk].load(std::memory_order_acquire);
    return chunk == nullptr ? nullptr : chunk + index % kChunk;
  }

  protocol::HandleKind kind_;
  std::mutex mutex_;
  std::uint32_t used_ = 0;
  std::vector<std::uint32_t> free_;
  std::atomic<Slot*> chunks_[protocol::kMaxHandleIndex / kChunk] = {};
};

}  // namespace tfusion::hook
