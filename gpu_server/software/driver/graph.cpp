// Graphs: see graph.hpp.
#include "graph.hpp"

#include <algorithm>
#include <queue>
#include <unordered_set>

#include "entry.hpp"
#include "user_object.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

namespace {

bool is_memory(CUgraphNodeType type) {
  return type == CU_GRAPH_NODE_TYPE_MEM_ALLOC || type == CU_GRAPH_NODE_TYPE_MEM_FREE;
}

}  // namespace

Graph::~Graph() {
  for (const UserReferences& each : user_references) each.object->release(each.count);
}

GraphNode* Graph::add(NodeDescription what, std::span<GraphNode* const> dependencies) {
  const auto node = std::make_shared<GraphNode>();
  node->graph = this;
  node->what = std::move(what);
  node->dependencies.assign(dependencies.begin(), dependencies.end());
  nodes.push_back(node);
  for (GraphNode* each : dependencies) each->dependents.push_back(node.get());
  if (visible) driver().handles.add(node);
  if (node->what.child) {
    node->what.child->holder = node.get();
    if (visible) publish(node->what.child);
  }
  return node.get();
}

void Graph::remove(GraphNode& node, GraphLock& lock) {
  for (GraphNode* each : node.dependencies) std::erase(each->dependents, &node);
  for (GraphNode* each : node.dependents) std::erase(each->dependencies, &node);
  driver().handles.remove(node.handle);
  if (node.what.child) node.what.child->withdraw();
  node.graph = nullptr;
  const auto found =
      std::find_if(nodes.begin(), nodes.end(), [&](const auto& each) { return each.get() == &node; });
  lock.discard(std::move(*found));
  nodes.erase(found);
}

void Graph::withdraw() noexcept {
  for (const auto& each : nodes) {
    driver().handles.remove(each->handle);
    each->graph = nullptr;
    if (each->what.child) each->what.child->withdraw();
  }
  driver().handles.remove(handle);
}

std::shared_ptr<Graph> Graph::clone(bool has_handles) const {
  const auto copy = std::make_shared<Graph>(has_handles);
  copy->cloned_from = handle;
  std::unordered_map<const GraphNode*, GraphNode*> twins;
  for (const auto& each : nodes) {
    NodeDescription what = each->what;
    if (what.child) what.child = what.child->clone(has_handles);
    GraphNode* const twin = copy->add(std::move(what), {});
    twin->original = each->handle;
    twins.emplace(each.get(), twin);
  }
  for (const auto& each : nodes) {
    GraphNode* const twin = twins.at(each.get());
    for (const GraphNode* dependency : each->dependencies) twin->dependencies.push_back(twins.at(dependency));
    for (const GraphNode* dependent : each->dependents) twin->dependents.push_back(twins.at(dependent));
  }
  for (const UserReferences& each : user_references) {
    each.object->retain(each.count);
    copy->user_references.push_back(each);
  }
  return copy;
}

std::vector<GraphNode*> Graph::order(const GraphNode** cyclic) const {
  std::unordered_map<const GraphNode*, std::size_t> places;
  std::vector<std::size_t> missing(nodes.size());
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t place = 0; place < nodes.size(); ++place) {
    places.emplace(nodes[place].get(), place);
    missing[place] = nodes[place]->dependencies.size();
    if (missing[place] == 0) ready.push(place);
  }
  std::vector<GraphNode*> ordered;
  ordered.reserve(nodes.size());
  while (!ready.empty()) {
    GraphNode* const next = nodes[ready.top()].get();
    ready.pop();
    ordered.push_back(next);
    for (const GraphNode* dependent : next->dependents) {
      const std::size_t place = places.at(dependent);
      if (--missing[place] == 0) ready.push(place);
    }
  }
  if (ordered.size() == nodes.size()) return ordered;
  const auto stuck =
      std::find_if(missing.begin(), missing.end(), [](std::size_t count) { return count != 0; });
  *cyclic = nodes[static_cast<std::size_t>(stuck - missing.begin())].get();
  return {};
}

bool Graph::has_memory_nodes() const {
  return std::any_of(nodes.begin(), nodes.end(), [](const auto& each) {
    return is_memory(each->what.type) || (each->what.child && each->what.child->has_memory_nodes());
  });
}

void publish(const std::shared_ptr<Graph>& graph) {
  if (graph->handle == 0) driver().handles.add(graph);
}

std::shared_ptr<Graph> graph_of(CUgraph handle) {
  return driver().handles.get<Graph>(number_of(handle), CUDA_ERROR_INVALID_VALUE);
}

std::shared_ptr<GraphNode> node_of(CUgraphNode handle) {
  auto node = driver().handles.get<GraphNode>(number_of(handle), CUDA_ERROR_INVALID_VALUE);
  require(node->graph != nullptr);
  return node;
}

std::vector<GraphNode*> nodes_of(const Graph& graph, const CUgraphNode* handles, std::size_t count) {
  require(count == 0 || handles != nullptr);
  std::vector<GraphNode*> found;
  for (std::size_t index = 0; index < count; ++index) {
    const auto node = node_of(handles[index]);
    require(node->graph == &graph);
    found.push_back(node.get());
  }
  require(found.size() < 2 ||
          std::unordered_set<const GraphNode*>(found.begin(), found.end()).size() == found.size());
  return found;
}

void require_plain_edges(const CUgraphEdgeData* data, std::size_t count) {
  if (data == nullptr) return;
  for (std::size_t index = 0; index < count; ++index) {
    const CUgraphEdgeData& edge = data[index];
    for (const unsigned char each : edge.reserved) require(each == 0);
    require(edge.to_port == 0 && edge.type <= CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC &&
            edge.from_port <= CU_GRAPH_KERNEL_NODE_PORT_LAUNCH_ORDER);
    require(edge.type == 0 && edge.from_port == 0, CUDA_ERROR_NOT_SUPPORTED);
  }
}

}  // namespace tfusion::software::driver
