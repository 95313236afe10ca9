#include "texture_table.hpp"

namespace tfusion::software {

TextureTable::~TextureTable() {
  for (auto& slot : chunks_) {
    Chunk* const chunk = slot.load();
    if (chunk == nullptr) continue;
    for (auto& object : *chunk) delete object.load();
    delete chunk;
  }
}

std::uint64_t TextureTable::add(std::unique_ptr<TextureObject> object) {
  const std::lock_guard lock(mutex_);
  std::uint32_t index = 0;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else {
    if (used_ == kMostObjects) return 0;
    index = used_;
    auto& slot = chunks_[index / kChunk];
    if (slot.load(std::memory_order_relaxed) == nullptr) slot.store(new Chunk{}, std::memory_order_release);
    free_.reserve(used_ + 1);  // so that remove() cannot fail
    ++used_;
  }
  object->value = (next_generation_++ & 0xffff) * kMostObjects + index;
  const std::uint64_t value = object->value;
  (*chunks_[index / kChunk].load(std::memory_order_relaxed))[index % kChunk].store(object.release(),
                                                                                   std::memory_order_release);
  return value;
}

void TextureTable::remove(std::uint64_t value) noexcept {
  const std::lock_guard lock(mutex_);
  const auto index = static_cast<std::uint32_t>(value & (kMostObjects - 1));
  auto& slot = (*chunks_[index / kChunk].load(std::memory_order_relaxed))[index % kChunk];
  delete slot.exchange(nullptr, std::memory_order_acq_rel);
  free_.push_back(index);
}

}  // namespace tfusion::software
