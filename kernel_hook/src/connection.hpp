// Getting a session: the handshake with the daemon and the mapping of what the worker hands over.
#pragma once

#include <cuda.h>

#include "protocol/shared_memory.hpp"

namespace tfusion::hook {

struct Connection {
  int socket = -1;  // stays open: its end is the session's end
  protocol::SharedMemory shared;
  char refusal[512] = {};  // a sentence, when result is not CUDA_SUCCESS and a daemon was named
  CUresult result = CUDA_ERROR_NO_DEVICE;
};

// Reads TFUSION_SOCKET, TFUSION_SLICE and TFUSION_TOKEN. Without them there is no device here, and nothing to
// say.
Connection connect_to_worker();

}  // namespace tfusion::hook
