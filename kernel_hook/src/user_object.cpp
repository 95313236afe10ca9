// User objects: reference counts of the program's own things, which graphs can hold. Nothing of them is the
// worker's affair, but when launches are over: what an executable held is let go by a host function behind its
// last launch, which CUDA orders behind all earlier ones. What a program's destructor does is its own business,
// but that it may not call CUDA; none is called with the mutex held.
#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "api.hpp"
#include "call.hpp"
#include "capture.hpp"
#include "context.hpp"
#include "graph.hpp"
#include "handle_table.hpp"
#include "host_functions.hpp"
#include "process.hpp"

namespace tfusion::hook {

namespace {

struct UserObject {
  void* pointer = nullptr;
  CUhostFn destroy = nullptr;
  std::uint64_t references = 0;
  void reset() { *this = UserObject{}; }
};

constinit std::mutex mutex;

HandleTable<UserObject>& objects() {
  static auto& table = *new HandleTable<UserObject>(protocol::HandleKind::user_object);
  return table;
}
using References = std::map<std::uint64_t, std::uint64_t>;  // user object -> how many
struct Holder {
  References references;
  std::uint64_t last_stream = 0;  // of an executable: that it was last launched in, as it travels
};
// By graph or executable.
std::map<std::uint64_t, Holder>& holders() {
  static auto& map = *new std::map<std::uint64_t, Holder>;
  return map;
}
constinit std::atomic<bool> anything_held{false};  // so that launches of programs without user objects cost nothing

// Drops references; an object that has none left is moved to `dead`. Called with the mutex held.
void drop(std::uint64_t handle, std::uint64_t count, std::vector<UserObject>* dead) {
  UserObject* object = objects().find(handle);
  if (object == nullptr) return;
  object->references -= std::min(count, object->references);
  if (object->references > 0) return;
  dead->push_back(*object);
  objects().erase(handle);
}

void destroy(const std::vector<UserObject>& dead) {
  for (const UserObject& object : dead) {
    const bool before = in_host_function;
    in_host_function = true;
    object.destroy(object.pointer);
    in_host_function = before;
  }
}

void drop_all(const References& references) {
  std::vector<UserObject> dead;
  {
    std::lock_guard lock(mutex);
    for (const auto& [object, count] : references) drop(object, count, &dead);
  }
  destroy(dead);
}

// A host function.
void launches_are_over(void* references) {
  drop_all(*std::unique_ptr<References>(static_cast<References*>(references)));
}

void let_go(Holder holder) {
  if (holder.references.empty()) return;
  if (holder.last_stream != 0) {
    auto later = std::make_unique<References>(holder.references);
    const bool open = (holder.last_stream == kLegacyStream || streams().find(holder.last_stream) != nullptr) &&
                      !is_capturing(holder.last_stream);  // a capture would keep the function as a node
    if (open && call_behind(holder.last_stream, launches_are_over, later.get()) == CUDA_SUCCESS) {
      later.release();
      return;
    }
    drain();
  }
  drop_all(holder.references);
}

// Takes out what an executable or graph holds.
Holder take(std::uint64_t graph_or_exec) {
  std::lock_guard lock(mutex);
  const auto found = holders().find(graph_or_exec);
  if (found == holders().end()) return {};
  Holder holder = std::move(found->second);
  holders().erase(found);
  return holder;
}

}  // namespace

void graph_holds_no_more(std::uint64_t graph_or_exec) {
  if (anything_held.load(std::memory_order_relaxed)) let_go(take(graph_or_exec));
}

void holds_as_well(std::uint64_t graph, std::uint64_t other) {
  std::lock_guard lock(mutex);
  const auto found = holders().find(graph);
  if (found == holders().end()) return;
  const References references = found->second.references;
  for (const auto& [object, count] : references) {
    if (UserObject* its = objects().find(object)) its->references += count;
    holders()[other].references[object] += count;
  }
}

void exec_holds_instead(std::uint64_t graph, std::uint64_t exec) {
  if (!anything_held.load(std::memory_order_relaxed)) return;
  Holder before = take(exec);
  holds_as_well(graph, exec);
  exec_launched(exec, before.last_stream);  // what it holds from now on may be let go only behind those, too
  let_go(std::move(before));
}

void exec_launched(std::uint64_t exec, std::uint64_t stream) {
  if (!anything_held.load(std::memory_order_relaxed)) return;
  std::lock_guard lock(mutex);
  const auto found = holders().find(exec);
  if (found != holders().end()) found->second.last_stream = stream;
}

void forget_user_objects() {
  References all;
  {
    std::lock_guard lock(mutex);
    for (const auto& [number, holder] : holders()) {
      for (const auto& [object, count] : holder.references) all[object] += count;
    }
    holders().clear();
  }
  drop_all(all);
}

namespace api {

CUresult cuUserObjectCreate(CUuserObject* object_out, void* ptr, CUhostFn destroy,
                            unsigned int initialRefcount, unsigned int flags) {
  if (object_out == nullptr || destroy == nullptr || initialRefcount == 0 ||
      flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC)
    return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  const std::uint64_t handle = objects().create([&](UserObject& o) { o = {ptr, destroy, initialRefcount}; });
  if (handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  *object_out = reinterpret_cast<CUuserObject>(handle);
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRetain(CUuserObject object, unsigned int count) {
  std::lock_guard lock(mutex);
  UserObject* its = objects().find(number(object));
  if (its == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  its->references += count;
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(CUuserObject object, unsigned int count) {
  std::vector<UserObject> dead;
  {
    std::lock_guard lock(mutex);
    const UserObject* its = objects().find(number(object));
    if (its == nullptr || count == 0 || count > its->references) return CUDA_ERROR_INVALID_VALUE;
    drop(number(object), count, &dead);
  }
  destroy(dead);
  return CUDA_SUCCESS;
}

CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned int count, unsigned int flags) {
  if (!is_graph(graph) || count == 0 || (flags & ~unsigned{CU_GRAPH_USER_OBJECT_MOVE}) != 0)
    return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard lock(mutex);
  UserObject* its = objects().find(number(object));
  if (its == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & CU_GRAPH_USER_OBJECT_MOVE) == 0) its->references += count;
  holders()[number(graph)].references[number(object)] += count;
  anything_held.store(true);
  return CUDA_SUCCESS;
}

CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned int count) {
  std::vector<UserObject> dead;
  {
    std::lock_guard lock(mutex);
    const auto found = holders().find(number(graph));
    if (found == holders().end() || count == 0) return CUDA_ERROR_INVALID_VALUE;
    References& references = found->second.references;
    const auto reference = references.find(number(object));
    if (reference == references.end() || reference->second < count) return CUDA_ERROR_INVALID_VALUE;
    reference->second -= count;
    if (reference->second == 0) references.erase(reference);
    drop(number(object), count, &dead);
  }
  destroy(dead);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace tfusion::hook
