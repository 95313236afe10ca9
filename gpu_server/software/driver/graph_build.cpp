// The functions for whole graphs: making, cloning and destroying them, and the edges between their nodes.
#include <algorithm>

#include "entry.hpp"
#include "graph.hpp"

namespace tfusion::software::driver {

namespace {

// Answers a list as CUDA does: only its length if there is no place for it; otherwise as much as fits, and
// null in the rest.
void tell_nodes(const std::vector<const GraphNode*>& nodes, CUgraphNode* to, std::size_t* count) {
  require(count != nullptr);
  if (to == nullptr) {
    *count = nodes.size();
    return;
  }
  for (std::size_t index = 0; index < *count; ++index) {
    to[index] = index < nodes.size() ? handle_of<CUgraphNode>(*nodes[index]) : nullptr;
  }
  *count = std::min(*count, nodes.size());
}

// No edge has data of its own here.
void tell_edges(CUgraphEdgeData* to, std::size_t count) {
  if (to != nullptr) std::fill_n(to, count, CUgraphEdgeData{});
}

CUresult tell_edges_of(CUgraph handle, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* data,
                       std::size_t* count) {
  return call([&] {
    require(count != nullptr && (from == nullptr) == (to == nullptr) && (data == nullptr || from != nullptr));
    const GraphLock lock;
    const auto graph = graph_of(handle);
    std::vector<const GraphNode*> starts;
    std::vector<const GraphNode*> ends;
    for (const auto& node : graph->nodes) {
      for (const GraphNode* dependency : node->dependencies) {
        starts.push_back(dependency);
        ends.push_back(node.get());
      }
    }
    std::size_t places = *count;
    tell_edges(data, places);
    tell_nodes(starts, from, count);
    tell_nodes(ends, to, &places);
  });
}

template <class Choose>
CUresult tell_neighbours(CUgraphNode handle, CUgraphNode* nodes, CUgraphEdgeData* data, std::size_t* count,
                         Choose&& choose) {
  return call([&] {
    require(count != nullptr && (data == nullptr || nodes != nullptr));
    const GraphLock lock;
    const auto node = node_of(handle);
    const std::vector<GraphNode*>& chosen = choose(*node);
    tell_edges(data, *count);
    tell_nodes({chosen.begin(), chosen.end()}, nodes, count);
  });
}

const std::vector<GraphNode*>& dependencies_of(const GraphNode& node) {
  return node.dependencies;
}
const std::vector<GraphNode*>& dependents_of(const GraphNode& node) {
  return node.dependents;
}

bool depends_on(const GraphNode& node, const GraphNode& other) {
  return std::find(node.dependencies.begin(), node.dependencies.end(), &other) != node.dependencies.end();
}

// Calls change(from, to) for each pair, once all of them are known to be nodes of the graph.
template <class Change>
CUresult change_edges(CUgraph handle, const CUgraphNode* from, const CUgraphNode* to,
                      const CUgraphEdgeData* data, std::size_t count, bool removes, Change&& change) {
  return call([&] {
    if (count == 0) return;
    require(from != nullptr && to != nullptr);
    require_plain_edges(data, count);
    const GraphLock lock;
    const auto graph = graph_of(handle);
    require(!removes || !graph->has_memory_nodes());
    std::vector<std::pair<GraphNode*, GraphNode*>> edges;
    for (std::size_t index = 0; index < count; ++index) {
      const auto start = node_of(from[index]);
      const auto end = node_of(to[index]);
      require(start->graph == graph.get() && end->graph == graph.get() && start != end);
      require(depends_on(*end, *start) == removes);
      edges.emplace_back(start.get(), end.get());
    }
    auto sorted = edges;
    std::sort(sorted.begin(), sorted.end());
    require(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
    for (const auto& [start, end] : edges) change(*start, *end);
  });
}

CUresult add_edges(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to, const CUgraphEdgeData* data,
                   std::size_t count) {
  return change_edges(graph, from, to, data, count, false, [](GraphNode& start, GraphNode& end) {
    end.dependencies.push_back(&start);
    start.dependents.push_back(&end);
  });
}

CUresult remove_edges(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                      const CUgraphEdgeData* data, std::size_t count) {
  return change_edges(graph, from, to, data, count, true, [](GraphNode& start, GraphNode& end) {
    std::erase(end.dependencies, &start);
    std::erase(start.dependents, &end);
  });
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuGraphCreate(CUgraph* phGraph, unsigned int flags) {
  return call([&] {
    require(phGraph != nullptr && flags == 0);
    const auto graph = std::make_shared<Graph>(true);
    publish(graph);
    *phGraph = handle_of<CUgraph>(*graph);
  });
}

CUresult cuGraphDestroy(CUgraph hGraph) {
  return call([&] {
    GraphLock lock;
    const auto graph = graph_of(hGraph);
    // A child goes with its node, and a capture needs its graph.
    require(graph->holder == nullptr && graph->captures == 0);
    lock.discard(graph);
    graph->withdraw();
  });
}

CUresult cuGraphClone(CUgraph* phGraphClone, CUgraph originalGraph) {
  return call([&] {
    require(phGraphClone != nullptr);
    const GraphLock lock;
    const auto original = graph_of(originalGraph);
    require(!original->has_memory_nodes(), CUDA_ERROR_NOT_SUPPORTED);
    const auto clone = original->clone(true);
    publish(clone);
    *phGraphClone = handle_of<CUgraph>(*clone);
  });
}

CUresult cuGraphNodeFindInClone(CUgraphNode* phNode, CUgraphNode hOriginalNode, CUgraph hClonedGraph) {
  return call([&] {
    require(phNode != nullptr);
    const GraphLock lock;
    const auto original = node_of(hOriginalNode);
    const auto clone = graph_of(hClonedGraph);
    require(clone->cloned_from == original->graph->handle);
    const auto found = std::find_if(clone->nodes.begin(), clone->nodes.end(),
                                    [&](const auto& node) { return node->original == original->handle; });
    require(found != clone->nodes.end());
    *phNode = handle_of<CUgraphNode>(**found);
  });
}

CUresult cuGraphDestroyNode(CUgraphNode hNode) {
  return call([&] {
    GraphLock lock;
    const auto node = node_of(hNode);
    Graph& graph = *node->graph;
    require(!graph.has_memory_nodes() && graph.captures == 0);
    lock.discard(node);
    graph.remove(*node, lock);
  });
}

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode* nodes, size_t* numNodes) {
  return call([&] {
    const GraphLock lock;
    const auto graph = graph_of(hGraph);
    std::vector<const GraphNode*> all;
    for (const auto& node : graph->nodes) all.push_back(node.get());
    tell_nodes(all, nodes, numNodes);
  });
}

CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode* rootNodes, size_t* numRootNodes) {
  return call([&] {
    const GraphLock lock;
    const auto graph = graph_of(hGraph);
    std::vector<const GraphNode*> roots;
    for (const auto& node : graph->nodes) {
      if (node->dependencies.empty()) roots.push_back(node.get());
    }
    tell_nodes(roots, rootNodes, numRootNodes);
  });
}

CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, size_t* numEdges) {
  return tell_edges_of(hGraph, from, to, nullptr, numEdges);
}

CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* edgeData,
                            size_t* numEdges) {
  return tell_edges_of(hGraph, from, to, edgeData, numEdges);
}

CUresult cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode* dependencies, size_t* numDependencies) {
  return tell_neighbours(hNode, dependencies, nullptr, numDependencies, dependencies_of);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode* dependencies,
                                       CUgraphEdgeData* edgeData, size_t* numDependencies) {
  return tell_neighbours(hNode, dependencies, edgeData, numDependencies, dependencies_of);
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode* dependentNodes,
                                      size_t* numDependentNodes) {
  return tell_neighbours(hNode, dependentNodes, nullptr, numDependentNodes, dependents_of);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode* dependentNodes,
                                         CUgraphEdgeData* edgeData, size_t* numDependentNodes) {
  return tell_neighbours(hNode, dependentNodes, edgeData, numDependentNodes, dependents_of);
}

CUresult cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                size_t numDependencies) {
  return add_edges(hGraph, from, to, nullptr, numDependencies);
}

CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* edgeData, size_t numDependencies) {
  return add_edges(hGraph, from, to, edgeData, numDependencies);
}

CUresult cuGraphRemoveDependencies(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                   size_t numDependencies) {
  return remove_edges(hGraph, from, to, nullptr, numDependencies);
}

CUresult cuGraphRemoveDependencies_v2(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                      const CUgraphEdgeData* edgeData, size_t numDependencies) {
  return remove_edges(hGraph, from, to, edgeData, numDependencies);
}
