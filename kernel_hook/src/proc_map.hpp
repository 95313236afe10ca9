// What cuGetProcAddress knows; the entries are generated (proc_map.cpp), sorted by name, newest version
// first.
#pragma once

namespace tfusion::hook {

using AnyFunction = void (*)();

struct ProcEntry {
  const char* name;
  int version;  // since which driver
  AnyFunction function;
  int per_thread_version;
  AnyFunction per_thread;  // the per-thread default stream's variant, or nullptr
};

extern const ProcEntry kProcMap[];
extern const unsigned kProcMapSize;

}  // namespace tfusion::hook
