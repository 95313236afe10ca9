// User objects: see user_object.hpp.
#include "user_object.hpp"

#include <limits.h>

#include <algorithm>

#include "entry.hpp"
#include "graph.hpp"

namespace tfusion::software::driver {

bool UserObject::release(std::uint64_t count) noexcept {
  std::uint64_t now = references_.load(std::memory_order_acquire);
  do {
    if (now < count) return false;
  } while (!references_.compare_exchange_weak(now, now - count, std::memory_order_acq_rel));
  if (now != count) return true;
  driver().handles.remove(handle);
  const auto destroy = [object = object_, function = destroy_]() noexcept { function(object); };
  if (Queue::on_queue_thread()) {
    destroy();
  } else {
    driver().queue.submit(destroy);
  }
  return true;
}

namespace {

std::shared_ptr<UserObject> user_object_of(CUuserObject handle) {
  return driver().handles.get<UserObject>(number_of(handle), CUDA_ERROR_INVALID_VALUE);
}

void require_count(unsigned count) {
  require(count != 0 && count <= INT_MAX);
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuUserObjectCreate(CUuserObject* object_out, void* ptr, CUhostFn destroy,
                            unsigned int initialRefcount, unsigned int flags) {
  return call([&] {
    require(object_out != nullptr && destroy != nullptr && flags == CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    require_count(initialRefcount);
    *object_out = handle_of<CUuserObject>(
        *driver().handles.add(std::make_shared<UserObject>(ptr, destroy, initialRefcount)));
  });
}

CUresult cuUserObjectRetain(CUuserObject object, unsigned int count) {
  return call([&] {
    require_count(count);
    user_object_of(object)->retain(count);
  });
}

CUresult cuUserObjectRelease(CUuserObject object, unsigned int count) {
  return call([&] {
    require_count(count);
    require(user_object_of(object)->release(count));
  });
}

CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned int count, unsigned int flags) {
  return call([&] {
    require_count(count);
    require((flags & ~static_cast<unsigned>(CU_GRAPH_USER_OBJECT_MOVE)) == 0);
    const GraphLock lock;
    const auto keeper = graph_of(graph);
    const auto kept = user_object_of(object);
    if (flags == 0) kept->retain(count);
    auto& references = keeper->user_references;
    const auto found = std::find_if(references.begin(), references.end(),
                                    [&](const auto& each) { return each.object == kept; });
    if (found == references.end()) {
      references.push_back({kept, count});
    } else {
      found->count += count;
    }
  });
}

CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned int count) {
  return call([&] {
    require_count(count);
    std::shared_ptr<UserObject> kept;
    {
      const GraphLock lock;
      const auto keeper = graph_of(graph);
      kept = user_object_of(object);
      auto& references = keeper->user_references;
      const auto found = std::find_if(references.begin(), references.end(),
                                      [&](const auto& each) { return each.object == kept; });
      require(found != references.end() && found->count >= count);
      found->count -= count;
      if (found->count == 0) references.erase(found);
    }
    kept->release(count);
  });
}
