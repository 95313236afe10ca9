#include "grammar_graphs.hpp"

#include <cuda.h>

#include <algorithm>
#include <cstring>

#include "protocol/graph_node.hpp"

namespace tfusion::fuzz {

using namespace protocol;

namespace {

template <typename T>
void append(Bytes* to, const T& value) {
  const auto* from = reinterpret_cast<const std::byte*>(&value);
  to->insert(to->end(), from, from + sizeof value);
}

// Small, or of the kind that overflows.
std::uint64_t extent(const Session& session, Random& random, std::uint64_t most) {
  switch (random.below(12)) {
    case 0:
      return session.number();
    case 1:
      return 0;
    case 2:
      return std::uint64_t{1} << (20 + random.below(44));
    default:
      return 1 + random.below(most);
  }
}

void side(CUmemorytype* type, CUdeviceptr* device, const void** host, std::size_t* x, std::size_t* y,
          std::size_t* z, std::size_t* pitch, std::size_t* height, const Session& session, Random& random) {
  *type = random.one_in(40)  ? static_cast<CUmemorytype>(random.below(6))
          : random.one_in(4) ? CU_MEMORYTYPE_HOST
                             : CU_MEMORYTYPE_DEVICE;
  *device = session.address();
  *host = reinterpret_cast<const void*>(session.address());
  if (random.one_in(3)) *x = extent(session, random, 300);
  if (random.one_in(4)) *y = extent(session, random, 3);
  if (random.one_in(4)) *z = extent(session, random, 2);
  *pitch = random.one_in(6) ? 0 : random.one_in(8) ? session.number() : 300 + random.below(4096);
  *height = random.one_in(4) ? 0 : extent(session, random, 12);
}

}  // namespace

void GuessedNumbers::made() {
  std::uint32_t place = static_cast<std::uint32_t>(generations_.size());
  if (!free_.empty()) {
    place = free_.back();
    free_.pop_back();
  } else {
    generations_.push_back(1);
  }
  alive_.push_back(pack({kind_, generations_[place], place}));
}

void GuessedNumbers::ended(std::uint64_t number) {
  if (std::erase(alive_, number) == 0) return;
  const std::uint32_t place = unpack(number).index;
  ++generations_[place];
  free_.push_back(place);
  gone_.push_back(number);
}

std::uint64_t GuessedNumbers::any(Random& random) const {
  if (!gone_.empty() && random.one_in(8)) return gone_[random.below(gone_.size())];
  if (!alive_.empty() && !random.one_in(8)) {
    // The latest most often: what was just made is what is worked on.
    const std::size_t back = random.one_in(2) ? random.below(std::min<std::size_t>(alive_.size(), 3))
                                              : random.below(alive_.size());
    return alive_[alive_.size() - 1 - back];
  }
  return pack({kind_, static_cast<std::uint16_t>(random.one_in(6) ? random.below(4) : 1),
               static_cast<std::uint32_t>(random.below(alive_.size() + 3))});
}

void GuessedGraphs::see(std::string_view command,
                        const std::function<std::uint64_t(std::string_view)>& field) {
  if (command == "GraphCreate" || command == "GraphClone") graphs_.made();
  if (command == "CaptureInfo") graphs_.made(), nodes_.made();
  if (command == "CaptureEnd") graphs_.made();
  if (command == "GraphAddNode") nodes_.made();
  if (command == "GraphFindInClone" || command == "GraphList") nodes_.made();
  if (command == "GraphNodeGet") graphs_.made();  // perhaps a child's
  if (command == "GraphInstantiate") execs_.made();
  if (command == "GraphDestroy") graphs_.ended(field("graph"));
  if (command == "GraphDestroyNode") nodes_.ended(field("node"));
  if (command == "GraphExecDestroy") execs_.ended(field("exec"));
}

bool GuessedGraphs::value(const wire::CommandInfo& info, const wire::FieldInfo& field, Random& random,
                          std::uint64_t* value) const {
  const std::string_view what = info.name, name = field.name;
  if (!what.starts_with("Graph") && !what.starts_with("Capture")) return false;
  if (name == "clone" || name == "graph") {
    *value = what == "CaptureBegin" && !random.one_in(4) ? 0 : graphs_.any(random);
  } else if (name == "node" || (what == "GraphKernelCopyAttributes" && (name == "to" || name == "from"))) {
    *value = nodes_.any(random);
  } else if (name == "exec") {
    *value = what == "GraphNodeSet" && random.one_in(2) ? 0 : execs_.any(random);
  } else if (name == "object") {
    *value = random.one_in(3) ? nodes_.any(random) : graphs_.any(random);
  } else if (name == "mode") {
    *value = random.one_in(100) ? 3 : random.below(3);
  } else if (name == "what") {
    *value = random.one_in(200) ? 5 : random.below(5);
  } else if (name == "first") {
    *value = random.one_in(8) ? random.next() : random.below(3);
  } else if (name == "flags") {
    *value = random.one_in(10) ? random.below(16) : 0;
  } else if (name == "type") {
    *value = random.one_in(60) ? random.below(20) : random.below(8);
  } else if (name == "attribute") {
    *value = random.below(20);
  } else {
    return false;
  }
  return true;
}

Bytes node_parameters(std::uint64_t type, const GuessedGraphs& graphs, const Session& session,
                      Random& random) {
  Bytes made;
  switch (type) {
    case CU_GRAPH_NODE_TYPE_KERNEL: {
      const auto bytes = static_cast<std::uint32_t>(random.below(random.one_in(20) ? 5000 : 100));
      append(&made, wire::KernelNode{session.handle(HandleKind::kernel), {1, 1, 1}, {32, 1, 1}, 0, bytes});
      made.resize(made.size() + bytes);
      break;
    }
    case CU_GRAPH_NODE_TYPE_MEMCPY: {
      CUDA_MEMCPY3D copy{};
      const void* to_host = nullptr;
      side(&copy.srcMemoryType, &copy.srcDevice, &copy.srcHost, &copy.srcXInBytes, &copy.srcY, &copy.srcZ,
           &copy.srcPitch, &copy.srcHeight, session, random);
      side(&copy.dstMemoryType, &copy.dstDevice, &to_host, &copy.dstXInBytes, &copy.dstY, &copy.dstZ,
           &copy.dstPitch, &copy.dstHeight, session, random);
      copy.dstHost = const_cast<void*>(to_host);
      copy.WidthInBytes = extent(session, random, 300);
      copy.Height = random.one_in(2) ? 1 : extent(session, random, 6);
      copy.Depth = random.one_in(2) ? 1 : extent(session, random, 3);
      // A number and no address of ours, so that the same seed makes the same input.
      if (random.one_in(10)) copy.reserved0 = copy.reserved1 = reinterpret_cast<void*>(8), copy.srcLOD = 1;
      append(&made, copy);
      break;
    }
    case CU_GRAPH_NODE_TYPE_MEMSET: {
      CUDA_MEMSET_NODE_PARAMS fill{};
      fill.dst = session.address();
      fill.elementSize = random.one_in(10) ? static_cast<unsigned>(session.number()) : 1u << random.below(3);
      fill.width = extent(session, random, 600);
      fill.height = random.one_in(2) ? 1 : extent(session, random, 8);
      fill.pitch = random.one_in(6) ? session.number() : 600 + random.below(4096);
      append(&made, fill);
      break;
    }
    case CU_GRAPH_NODE_TYPE_HOST:
      append(&made, wire::HostNode{random.next(), random.next()});
      break;
    case CU_GRAPH_NODE_TYPE_GRAPH:
      append(&made, wire::ObjectNode{graphs.graph(random)});
      break;
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      append(&made, wire::ObjectNode{session.handle(HandleKind::event)});
      break;
    default:
      break;
  }
  return made;
}

}  // namespace tfusion::fuzz
