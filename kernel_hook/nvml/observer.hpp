// Asks the daemon how this process's slice is doing: memory, processes, how busy they keep the GPU.
//
// One short exchange on the session socket per question (protocol/observation.hpp). No connection is kept, so
// that nothing of it is inherited by a fork or closed by a program that closes what it does not know. Answers
// of the last moments are used again: one screen of a monitor asks thirty questions.
#pragma once

#include "abi.hpp"
#include "protocol/observation.hpp"

namespace tfusion::nvml {

// kSuccess and the answer; kNotSupported where the environment names no daemon; kTimeout if it does not
// answer in time; kGpuIsLost if it is gone or does not know the slice (any more).
Result observe(protocol::Observation* out);

}  // namespace tfusion::nvml
