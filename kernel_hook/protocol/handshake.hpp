// How a client process gets its session: one exchange on the daemon's session socket (a Unix stream socket).
//
// The hook connects and sends one Hello. The daemon (Python) checks slice id and token, gives the connection
// to a warm worker (SCM_RIGHTS on the worker's control socket), and that worker answers with one Welcome that
// carries the session's shared memory as file descriptors. If the session is refused, the daemon itself
// answers with a Welcome whose status is not `accepted`, and closes. Afterwards nothing more is sent: the
// connection stays open as proof of life, and its end ends the session on both sides.
//
// A Hello with another magic asks how the slice is doing and gets no session; see observation.hpp.
//
// All integers little-endian; the structs have no padding. gpu_server/handshake.py holds the same layout for
// Python and tests/unit compare the two.
#pragma once

#include <cstdint>

namespace tfusion::protocol {

inline constexpr char kHelloMagic[8] = {'T', 'F', 'U', 'S', 'I', 'O', 'N', '\0'};
inline constexpr std::uint32_t kProtocolVersion = 4;

struct Hello {
  char magic[8];
  std::uint32_t protocol_version;
  std::uint32_t pid;      // as the client sees itself; shown to people, never trusted
  char slice_id[64];      // NUL-padded
  char token[128];        // NUL-padded, hexadecimal
  char process_name[64];  // NUL-padded, for people
};
static_assert(sizeof(Hello) == 272);

enum class WelcomeStatus : std::uint32_t {
  accepted = 0,
  bad_hello = 1,      // malformed, or another protocol version
  wrong_token = 2,    // unknown slice or wrong token; the two are not told apart
  slice_full = 3,     // too many sessions under this slice
  worker_failed = 4,  // no worker could be started
  stopping = 5,       // the daemon is about to end
};

struct Welcome {
  char magic[8];
  std::uint32_t protocol_version;
  WelcomeStatus status;
  std::uint64_t shared_bytes;      // size of the session's shared memory; file descriptor 0 of the message
  std::uint64_t host_arena_bytes;  // size of the pinned-memory arena; file descriptor 1 of the message
  char message[512];               // NUL-padded sentence for the learner when refused
};
static_assert(sizeof(Welcome) == 544);

}  // namespace tfusion::protocol
