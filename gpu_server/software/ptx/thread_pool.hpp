// The machine threads that run blocks: as many as there are cores, made once, asleep between launches.
#pragma once

#include <functional>

namespace tfusion::software::ptx {

// Cores that this process may use.
unsigned machine_threads();

// Runs `work` on the calling thread and on up to `helpers` threads of the pool at the same time, and returns
// when all have returned. Several callers may do so at once. `work` must not throw.
void run_on_pool(unsigned helpers, const std::function<void()>& work);

}  // namespace tfusion::software::ptx
