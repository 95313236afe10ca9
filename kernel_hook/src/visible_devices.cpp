#include "visible_devices.hpp"

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "protocol/slice_uuid.hpp"

namespace tfusion::hook {

const unsigned char* device_uuid() {
  static protocol::SliceUuid uuid;
  static std::once_flag& once = *new std::once_flag;
  std::call_once(once, [] {
    const char* slice = std::getenv("TFUSION_SLICE");
    uuid = protocol::slice_uuid(slice == nullptr ? "" : slice);
  });
  return uuid.data();
}

bool device_is_visible() {
  const char* list = std::getenv("CUDA_VISIBLE_DEVICES");
  if (list == nullptr) return true;
  while (*list == ' ') ++list;
  if (std::strncmp(list, "GPU-", 4) == 0) {
    protocol::SliceUuid uuid;
    std::memcpy(uuid.data(), device_uuid(), uuid.size());
    const protocol::SliceUuidText text = protocol::slice_uuid_text(uuid);
    const std::size_t n = std::strcspn(list, ", ");
    return n > 4 && n < text.size() && std::strncmp(list, text.data(), n) == 0;
  }
  char* end = nullptr;
  const long first = std::strtol(list, &end, 10);
  return end != list && first == 0 && (*end == '\0' || *end == ',' || *end == ' ');
}

}  // namespace tfusion::hook
