// User objects: reference counts of the program's own things, which graphs can hold. Nothing of them is the
// worker's affair. An executable holds what its graph held when it was made; what a program's destructor does
// is its own business, but that it may not call CUDA.
#include <map>
#include <mutex>
#include <vector>

#include "api.hpp"
#include "graph.hpp"
#include "handle_table.hpp"
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
// Graph or executable -> user object -> how many references it holds.
std::map<std::uint64_t, std::map<std::uint64_t, std::uint64_t>>& held() {
  static auto& map = *new std::map<std::uint64_t, std::map<std::uint64_t, std::uint64_t>>;
  return map;
}

// Drops references; an object that has none left is moved to `dead`. Called with the mutex held.
void drop(std::uint64_t handle, std::uint64_t count, std::vector<UserObject>* dead) {
  UserObject* object = objects().find(handle);
  if (object == nullptr) return;
  object->references -= count;
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

}  // namespace

void graph_holds_no_more(std::uint64_t graph_or_exec) {
  std::vector<UserObject> dead;
  {
    std::lock_guard lock(mutex);
    const auto found = held().find(graph_or_exec);
    if (found == held().end()) return;
    for (const auto& [object, count] : found->second) drop(object, count, &dead);
    held().erase(found);
  }
  destroy(dead);
}

void exec_holds_as(std::uint64_t graph, std::uint64_t other) {
  std::lock_guard lock(mutex);
  const auto found = held().find(graph);
  if (found == held().end()) return;
  for (const auto& [object, count] : found->second) {
    if (UserObject* its = objects().find(object)) its->references += count;
  }
  held()[other] = found->second;
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
  held()[number(graph)][number(object)] += count;
  return CUDA_SUCCESS;
}

CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned int count) {
  std::vector<UserObject> dead;
  {
    std::lock_guard lock(mutex);
    const auto found = held().find(number(graph));
    if (found == held().end() || count == 0) return CUDA_ERROR_INVALID_VALUE;
    const auto reference = found->second.find(number(object));
    if (reference == found->second.end() || reference->second < count) return CUDA_ERROR_INVALID_VALUE;
    reference->second -= count;
    if (reference->second == 0) found->second.erase(reference);
    drop(number(object), count, &dead);
  }
  destroy(dead);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace tfusion::hook
