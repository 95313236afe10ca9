// What the fuzz driver keeps book of, for its parts: driver.cpp (contexts, streams, modules, links),
// driver_memory.cpp (memory, arrays, copies) and driver_graphs.cpp (captures and graphs). broken() is how
// each of them says that the worker broke a rule.
#pragma once

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fuzz_driver {

[[noreturn]] inline void broken(const char* rule, std::uint64_t number) {
  std::fprintf(stderr, "fuzz driver: the worker broke a rule: %s (0x%llx)\n", rule,
               static_cast<unsigned long long>(number));
  std::abort();
}

inline constexpr std::uint64_t kGlobals = 0x700000000000;
inline constexpr std::uint64_t kGlobalBytes = 256;

struct Logs {
  char* text = nullptr;
  std::size_t bytes = 0;
  void write() const {
    if (text != nullptr && bytes > 0) std::memset(text, 'L', bytes), text[bytes - 1] = '\0';
  }
};

struct Module {
  std::set<std::uintptr_t> kernels;
  std::uint64_t global = 0;  // 0: the client never asked
};

struct Link {
  std::vector<Logs> logs;
  std::unique_ptr<char[]> linked;
};

// The width is in bytes; a level names its mipmapped array.
struct Array {
  std::uint64_t width, height, depth;
  std::uintptr_t mipmapped;
};
struct MipmappedArray {
  CUDA_ARRAY3D_DESCRIPTOR descriptor;
  unsigned levels;
};

struct Mapping {
  std::size_t bytes;
  bool accessible;
};

// What a node does, with all that it was given for it.
struct Work {
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  CUDA_KERNEL_NODE_PARAMS kernel{};
  std::vector<std::byte> parameters;
  CUDA_MEMCPY3D copy{};
  CUDA_MEMSET_NODE_PARAMS fill{};
  CUDA_HOST_NODE_PARAMS host{};
  std::uintptr_t child = 0;
  std::uintptr_t event = 0;
};

struct Node {
  std::uintptr_t graph;
  Work work;
  std::vector<std::uintptr_t> from;  // nodes that it depends on
};

struct Graph {
  std::vector<std::uintptr_t> nodes;
  bool child = false;
  std::uintptr_t capture = 0;  // the capture that goes into it
  std::uintptr_t original = 0;
  std::map<std::uintptr_t, std::uintptr_t> cloned;  // the original's node -> ours
};

struct Capture {
  std::uintptr_t graph;   // 0: it is invalidated, and a graph of its own is gone
  std::uintptr_t origin;  // stream
  bool into;              // a graph that there was before
  bool invalidated = false;
  std::map<std::uintptr_t, std::vector<std::uintptr_t>> ends;  // stream -> what its next node depends on
};

struct CapturedEvent {
  std::uintptr_t capture;
  std::vector<std::uintptr_t> ends;
};

struct State {
  std::uint64_t random = 1;
  std::uintptr_t next = 0x10000;
  std::set<std::uintptr_t> streams;
  std::vector<std::uintptr_t> ended_streams;  // a driver may give their numbers to others
  std::map<std::uintptr_t, unsigned> events;  // -> how often it is still busy
  std::map<std::uintptr_t, Module> modules;
  std::map<std::uintptr_t, std::uintptr_t> kernels;  // -> module
  std::map<std::uintptr_t, Link> links;
  std::map<std::uintptr_t, Array> arrays;
  std::map<std::uintptr_t, MipmappedArray> mipmapped;
  std::set<std::uint64_t> textures, surfaces;
  std::map<std::uint64_t, std::size_t> physical;  // handle -> bytes
  std::map<std::uint64_t, Mapping> mapped;        // by address
  std::map<std::uint64_t, std::size_t> pinned;    // address -> bytes
  std::map<std::uintptr_t, Graph> graphs;
  std::map<std::uintptr_t, Node> nodes;
  std::map<std::uintptr_t, std::vector<Work>> execs;
  std::map<std::uintptr_t, Capture> captures;
  std::map<std::uintptr_t, std::uintptr_t> capturing;  // stream -> capture
  std::map<std::uintptr_t, CapturedEvent> captured_events;
  std::vector<const void*> host_arguments;  // of functions in streams: read through now and then
};

State& state();

// 0 .. n-1.
inline unsigned draw(unsigned n) {
  std::uint64_t& x = state().random;
  x = x * 6364136223846793005u + 1442695040888963407u;
  return static_cast<unsigned>(x >> 33) % n;
}

// Now and then a call fails, and rarely in the way that ruins a context.
inline CUresult luck() {
  const unsigned n = draw(400);
  return n == 0 ? CUDA_ERROR_ILLEGAL_ADDRESS : n < 8 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

template <typename Handle>
Handle fresh() {
  return reinterpret_cast<Handle>(state().next += 16);
}

inline std::uintptr_t number(const void* handle) {
  return reinterpret_cast<std::uintptr_t>(handle);
}

inline void stream_lives(CUstream stream) {
  if (stream != CU_STREAM_LEGACY && state().streams.count(number(stream)) == 0)
    broken("a dead stream", number(stream));
}
inline void event_lives(CUevent event) {
  if (state().events.count(number(event)) == 0) broken("a dead event", number(event));
}
inline void kernel_lives(const void* kernel) {
  if (state().kernels.count(number(kernel)) == 0) broken("a dead kernel", number(kernel));
}
inline Array& array_lives(const void* array) {
  const auto found = state().arrays.find(number(array));
  if (found == state().arrays.end()) broken("a dead array", number(array));
  return found->second;
}

template <typename T, typename V>
CUresult set(T* out, V value) {
  *out = static_cast<T>(value);
  return CUDA_SUCCESS;
}

// Reads all of it, so that AddressSanitizer sees what is not there.
void read_all(const void* memory, std::size_t bytes);

// Memory that a copy of the session may name.
void memory_is_its_own(std::uint64_t address, std::size_t bytes);
// The same for the rows of a node, which are the session's whatever they are copied with.
void copy_is_its_own(const CUDA_MEMCPY3D& copy);
void fill_is_its_own(const CUDA_MEMSET_NODE_PARAMS& fill);

// What nodes are made of; all that the caller gave for a kernel is copied.
Work kernel_work(const CUDA_KERNEL_NODE_PARAMS& parameters);
inline Work copy_work(const CUDA_MEMCPY3D& copy) {
  Work work;
  work.type = CU_GRAPH_NODE_TYPE_MEMCPY;
  work.copy = copy;
  return work;
}
inline Work fill_work(const CUDA_MEMSET_NODE_PARAMS& fill) {
  Work work;
  work.type = CU_GRAPH_NODE_TYPE_MEMSET;
  work.fill = fill;
  return work;
}

// What a stream's call comes to: a node if the stream captures, else a matter of luck.
CUresult on(CUstream stream, Work work = {});
// All that a node names is there.
void work_lives(const Work& work);
// A graph ends with all that is in it.
void erase_graph(std::uintptr_t graph);
std::uintptr_t add_node(std::uintptr_t graph, Work work, std::vector<std::uintptr_t> from);
// Nodes that the worker names, all of which must be in that graph; what it says of the edges is read.
std::vector<std::uintptr_t> nodes_of(CUgraph graph, const CUgraphNode* nodes, const CUgraphEdgeData* edges,
                                     std::size_t count);
// The context ends, and what was captured in it.
void captures_end();

}  // namespace fuzz_driver
