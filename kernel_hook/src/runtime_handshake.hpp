// The check that cudart makes of its driver (export table d4082055): a keyed hash over facts that both know.
#pragma once

#include <cstdint>

namespace tfusion::hook {

// Entry [1] of the table. Writes 16 bytes to out[0..1].
int runtime_handshake(std::uint32_t version, std::uint64_t unix_seconds, std::uint64_t* out);

}  // namespace tfusion::hook
