#include "visible_devices.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "protocol/sha256.hpp"

namespace tfusion::hook {

const unsigned char* device_uuid() {
  static unsigned char uuid[16];
  static std::once_flag& once = *new std::once_flag;
  std::call_once(once, [] {
    const char* slice = std::getenv("TFUSION_SLICE");
    protocol::Sha256 hash;
    static constexpr char kPrefix[] = "tfusion slice ";
    hash.update(std::as_bytes(std::span(kPrefix, sizeof kPrefix - 1)));
    if (slice != nullptr) hash.update(std::as_bytes(std::span(slice, std::strlen(slice))));
    const protocol::Digest digest = hash.finish();
    std::memcpy(uuid, digest.data(), sizeof uuid);
  });
  return uuid;
}

bool device_is_visible() {
  const char* list = std::getenv("CUDA_VISIBLE_DEVICES");
  if (list == nullptr) return true;
  while (*list == ' ') ++list;
  if (std::strncmp(list, "GPU-", 4) == 0) {
    const unsigned char* u = device_uuid();
    char text[64];
    std::snprintf(text, sizeof text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
                  u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    const std::size_t n = std::strcspn(list, ", ");
    return n > 4 && n <= std::strlen(text) && std::strncmp(list, text, n) == 0;
  }
  char* end = nullptr;
  const long first = std::strtol(list, &end, 10);
  return end != list && first == 0 && (*end == '\0' || *end == ',' || *end == ' ');
}

}  // namespace tfusion::hook
