// The worker's objects of one kind, by the handle that the client chose. Every handle is checked for kind,
// place and generation; a client cannot name an object that it did not make, nor make the table larger than
// its bound.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "protocol/handle.hpp"

namespace tfusion::replay {

template <typename T>
class ObjectTable {
 public:
  // `most`: how many may live at once. The hook numbers objects densely, so a place beyond it is one too
  // many.
  ObjectTable(protocol::HandleKind kind, std::uint32_t most) : kind_(kind), most_(most) {}

  // Whether the client may use this handle for a new object: right kind, and nothing lives there.
  bool vacant(std::uint64_t handle) const {
    const protocol::Handle h = protocol::unpack(handle);
    // A client numbers its objects densely; a number far beyond them would only cost memory.
    if (h.kind != kind_) return false;
    if (h.index >= most_) return true;  // as vacant as can be; has_room says no
    if (h.index > slots_.size() + kMaxSkip) return false;
    return h.index >= slots_.size() || !slots_[h.index].alive;
  }

  // Precondition: vacant(handle). False: the client has as many as it may have.
  bool has_room(std::uint64_t handle) const { return protocol::unpack(handle).index < most_; }

  // Precondition: vacant(handle) and has_room(handle).
  T& put(std::uint64_t handle, T object) {
    const protocol::Handle h = protocol::unpack(handle);
    if (h.index >= slots_.size()) slots_.resize(h.index + 1);
    slots_[h.index] = Slot{true, h.generation, std::move(object)};
    return slots_[h.index].object;
  }

  T* find(std::uint64_t handle) {
    const protocol::Handle h = protocol::unpack(handle);
    if (h.kind != kind_ || h.index >= slots_.size()) return nullptr;
    Slot& slot = slots_[h.index];
    return slot.alive && slot.generation == h.generation ? &slot.object : nullptr;
  }

  // Precondition: find(handle) != nullptr.
  T take(std::uint64_t handle) {
    Slot& slot = slots_[protocol::unpack(handle).index];
    slot.alive = false;
    return std::move(slot.object);
  }

  template <typename Visit>
  void for_each(Visit&& visit) {
    for (Slot& slot : slots_) {
      if (slot.alive) visit(slot.object);
    }
  }

  template <typename Visit>
  void for_each_handle(Visit&& visit) {
    for (std::uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].alive) visit(protocol::pack({kind_, slots_[i].generation, i}), slots_[i].object);
    }
  }

  // Forgets every object of which predicate(object) holds.
  template <typename Predicate>
  void forget_if(Predicate&& predicate) {
    for (Slot& slot : slots_) {
      if (slot.alive && predicate(std::as_const(slot.object))) slot = Slot{};
    }
  }

  void clear() { slots_.clear(); }

 private:
  static constexpr std::uint32_t kMaxSkip = 4096;
  struct Slot {
    bool alive = false;
    std::uint16_t generation = 0;
    T object{};
  };
  protocol::HandleKind kind_;
  std::uint32_t most_;
  std::vector<Slot> slots_;
};

}  // namespace tfusion::replay
