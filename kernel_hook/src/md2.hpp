// MD2 (RFC 1319), which cudart's handshake is made of. For nothing else: it is no hash to trust.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace tfusion::hook {

std::array<std::uint8_t, 16> md2(std::span<const std::uint8_t> message);

}  // namespace tfusion::hook
