// Contexts that a program makes itself, beside the device's primary one (own_context.cpp).
//
// A session has one context on the GPU. Those of the program are this side's affair: each has its flags, its place on the
// threads' stacks, and what was made while it was current, which ends with it. They share the default stream and, when a
// kernel faults, its error, which contexts of a driver would not.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace tfusion::hook {

// In the order in which a context ends them: nothing before what still needs it. Libraries are of no context.
enum class Owned : int {
  stream,
  event,
  module,
  texture,
  surface,
  array,
  mipmapped_array,
  device_memory,
  host_memory,
};

bool is_own_context(CUcontext context);
bool own_contexts_alive();

// What was made belongs to the current context; nothing is done for the primary one, which is what programs use.
void own(Owned kind, std::uint64_t handle);
// The program ended it by itself. Costs a load where no own contexts are.
void disown(Owned kind, std::uint64_t handle);
// The context that it was made in; the primary one if it is of no other.
CUcontext owner_of(Owned kind, std::uint64_t handle);

CUresult own_context_flags(CUcontext context, unsigned* flags);
CUresult set_own_context_flags(CUcontext context, unsigned flags);
CUresult own_context_id(CUcontext context, unsigned long long* id);

// Everything was reset: no such context is alive any more.
void forget_own_contexts();

}  // namespace tfusion::hook
