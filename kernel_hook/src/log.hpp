// Sentences for the learner on the process's stderr, which a notebook shows below the cell.
#pragma once

namespace tfusion::hook {

// One line "tfusion: ..." on stderr; nothing if TFUSION_QUIET is set. Async-signal-unsafe, keeps errno.
__attribute__((format(printf, 1, 2))) void log(const char* format, ...);

}  // namespace tfusion::hook
