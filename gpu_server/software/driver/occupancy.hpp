// How many blocks of a kernel fit on one multiprocessor.
#pragma once

#include <cstddef>

namespace tfusion::software::driver {

class Function;

// 0 if not even one fits. `threads` per block, at least 1.
unsigned max_active_blocks(const Function& function, unsigned threads, std::size_t dynamic_shared_bytes);

}  // namespace tfusion::software::driver
