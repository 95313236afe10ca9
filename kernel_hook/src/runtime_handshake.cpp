#include "runtime_handshake.hpp"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "api.hpp"
#include "export_tables.hpp"
#include "md2.hpp"
#include "process.hpp"
#include "visible_devices.hpp"

namespace tfusion::hook {

namespace {

using Hash16 = std::array<std::uint8_t, 16>;

constexpr std::uint8_t kKey[16] = {0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52,
                                   0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f};

Hash16 keyed_hash(std::span<const std::uint8_t> message) {
  std::vector<std::uint8_t> inner, outer;
  for (const std::uint8_t k : kKey) {
    inner.push_back(k ^ 0x36);
    outer.push_back(k ^ 0x5c);
  }
  inner.insert(inner.end(), message.begin(), message.end());
  const Hash16 digest = md2(inner);
  outer.insert(outer.end(), digest.begin(), digest.end());
  return md2(outer);
}

template <typename T>
void append(std::vector<std::uint8_t>& message, T value) {
  std::uint8_t bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  message.insert(message.end(), bytes, bytes + sizeof value);
}

}  // namespace

int runtime_handshake(std::uint32_t version, std::uint64_t unix_seconds, std::uint64_t* out) {
  if (version % 10 < 2) {
    out[0] = version % 10 == 0 ? 0x3341181c03cb675cull : 0x1841181c03cb675cull;
    out[1] = 0x8ed383aa1f4cd1e8ull;
    return CUDA_SUCCESS;
  }
  int driver_version = 0;
  api::cuDriverGetVersion(&driver_version);
  std::vector<std::uint8_t> message;
  append(message, static_cast<std::uint32_t>(driver_version));
  append(message, version);
  append(message, static_cast<std::uint32_t>(getpid()));
  append(message, static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(pthread_self())));
  append(message, reinterpret_cast<std::uint64_t>(module_table()));
  append(message, reinterpret_cast<std::uint64_t>(handshake_table()));
  append(message, reinterpret_cast<std::uint64_t>(handshake_entry()));
  append(message, unix_seconds);
  if (process_state.load() == ProcessState::ready) {
    const protocol::DeviceFacts& facts = shared.control().facts;
    const unsigned char* uuid = device_uuid();
    message.insert(message.end(), uuid, uuid + 16);
    append(message, facts.attributes[CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID]);
    append(message, facts.attributes[CU_DEVICE_ATTRIBUTE_PCI_BUS_ID]);
    append(message, facts.attributes[CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID]);
  }
  const Hash16 digest = keyed_hash(message);
  std::memcpy(out, digest.data(), digest.size());
  return CUDA_SUCCESS;
}

}  // namespace tfusion::hook
