// Threads of the hook's own inside a program's process.
#pragma once

namespace tfusion::hook {

// A detached thread that no signal is delivered to: the program's signal handlers must not run on it. False
// if it cannot be made.
bool start_background_thread(const char* name, void* (*run)(void*));

}  // namespace tfusion::hook
