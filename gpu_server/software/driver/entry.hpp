// What every exported function goes through: is the driver usable, which context is current, is it still
// sound; and no exception crosses the C boundary.
//
// Locks of the driver, and their order. Each is held for a few instructions and none while waiting for the
// queue, submitting to it (submit() may wait for room) or calling into the executor:
//   0. Driver::graph_mutex      graphs and captures; before 2 to 4. What it guards is dropped after it is
//   given up
//   1. Driver::primary_mutex    state of the primary context
//   2. MemoryMap::mutex_        regions, reservations
//   3. HandleTable::mutex_      a leaf
//   4. Accounting's mutex       shared between processes, robust; a leaf
//   5. Queue::mutex_            a leaf; tasks run without it and may take 2 to 4
//   6. Library::mutex_          held while a library is instantiated in a second context; before 2 to 4, and
//   the one
//                               lock under which the queue may be waited for: no task ever takes it
//   7. Linker::mutex            held while inputs are compiled; nothing else is taken under it
//   8. the registries of graph memory and of texture objects: leaves
//   9. the printing sink's      held while the loader's print function runs, on the queue's or an executor's
//   thread
#pragma once

#include <new>
#include <type_traits>

#include "context.hpp"
#include "driver.hpp"
#include "failure.hpp"

namespace tfusion::software::driver {

// CUDA_SUCCESS when calls may be made: after cuInit, in the process that made it, outside host functions,
// before exit.
CUresult readiness() noexcept;

// Turns the exception in flight into its CUresult; call it in a catch block.
CUresult code_of_current_exception() noexcept;

template <class Body, class... Arguments>
CUresult guarded(Body&& body, Arguments&&... arguments) noexcept {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Body, Arguments...>>) {
      body(arguments...);
      return CUDA_SUCCESS;
    } else {
      return body(arguments...);
    }
  } catch (...) {
    return code_of_current_exception();
  }
}

// For functions that need no context. `body` returns CUresult or nothing.
template <class Body>
CUresult call(Body&& body) noexcept {
  if (const CUresult ready = readiness(); ready != CUDA_SUCCESS) return ready;
  return guarded(body);
}

// For functions that act on the current context: body(const std::shared_ptr<Context>&). A failed context
// answers its sticky error instead.
template <class Body>
CUresult context_call(Body&& body) noexcept {
  return call([&]() -> CUresult {
    const std::shared_ptr<Context> context = current_context();
    if (const CUresult sticky = context->status(); sticky != CUDA_SUCCESS) return sticky;
    return guarded(body, context);
  });
}

}  // namespace tfusion::software::driver
