#include "jit_options.hpp"

#include <algorithm>
#include <cstring>

namespace tfusion::replay {

bool JitOptions::read(std::span<const std::byte> pairs, std::uint32_t count, Logs wanted) {
  if (count > kMost || pairs.size() != std::size_t{count} * 16) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint64_t pair[2];
    std::memcpy(pair, pairs.data() + std::size_t{i} * 16, sizeof pair);
    switch (pair[0]) {
      case CU_JIT_MAX_REGISTERS:
      case CU_JIT_OPTIMIZATION_LEVEL:
      case CU_JIT_TARGET_FROM_CUCONTEXT:
      case CU_JIT_TARGET:
      case CU_JIT_FALLBACK_STRATEGY:
      case CU_JIT_GENERATE_DEBUG_INFO:
      case CU_JIT_LOG_VERBOSE:
      case CU_JIT_GENERATE_LINE_INFO:
      case CU_JIT_CACHE_MODE:
      case CU_JIT_MIN_CTA_PER_SM:
      case CU_JIT_MAX_THREADS_PER_BLOCK:
        options_.push_back(static_cast<CUjit_option>(pair[0]));
        values_.push_back(reinterpret_cast<void*>(pair[1]));
        break;
      default:
        break;
    }
  }
  // Kept whether the program asked or not: the client shows the reason of a failure to who did not.
  if (wanted == Logs::kept) {
    info_.assign(kLogBytes, '\0');
    error_.assign(kLogBytes, '\0');
    const std::pair<CUjit_option, void*> log_options[] = {
        {CU_JIT_INFO_LOG_BUFFER, info_.data()},
        {CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, reinterpret_cast<void*>(std::uintptr_t{kLogBytes})},
        {CU_JIT_ERROR_LOG_BUFFER, error_.data()},
        {CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, reinterpret_cast<void*>(std::uintptr_t{kLogBytes})},
    };
    for (const auto& [option, value] : log_options) {
      options_.push_back(option);
      values_.push_back(value);
    }
  }
  return true;
}

std::vector<std::byte> JitOptions::logs(std::size_t room, std::uint32_t* info, std::uint32_t* error) const {
  std::vector<std::byte> text;
  auto add = [&](const std::vector<char>& log) {
    const std::size_t length = log.empty() ? 0 : strnlen(log.data(), log.size());
    const std::size_t n = std::min(length, room - text.size());
    const auto* from = reinterpret_cast<const std::byte*>(log.data());
    text.insert(text.end(), from, from + n);
    return static_cast<std::uint32_t>(n);
  };
  // An error matters more than information: it gets its room first, though it stands second.
  const std::size_t error_length = error_.empty() ? 0 : strnlen(error_.data(), error_.size());
  const std::size_t all = room;
  room -= std::min(error_length, room);
  *info = add(info_);
  room = all;
  *error = add(error_);
  return text;
}

}  // namespace tfusion::replay
