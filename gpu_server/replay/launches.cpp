// Launches, and the questions that have a launch's shape.
#include <cstring>

#include "protocol/tensor_map_kind.hpp"
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

namespace {

constexpr std::uint32_t kMostAttributes = 32;

// The attributes of a tail, with events translated and one more of our own. False: the reply or note was
// made, or the session ended.
class Attributes {
 public:
  bool read(Session& session, const wire::CommandHeader& header, std::span<const std::byte> bytes,
            std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      CUlaunchAttribute& a = entries_[count_];
      std::memcpy(&a, bytes.data() + std::size_t{i} * sizeof a, sizeof a);
      switch (a.id) {
        case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
        case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
        case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
        case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
        case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
        case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
          break;
        case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
          if (!event(session, header, &a.value.programmaticEvent.event)) return false;
          break;
        case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
          if (!event(session, header, &a.value.launchCompletionEvent.event)) return false;
          break;
        default:
          session.protocol_error("a launch carries attribute " + std::to_string(a.id) +
                                 ", which may not travel");
          return false;
      }
      ++count_;
    }
    return true;
  }

  void add_cooperative() {
    CUlaunchAttribute& a = entries_[count_++];
    a = CUlaunchAttribute{};
    a.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    a.value.cooperative = 1;
  }

  void put_events_in_graph(Session& session) const {
    for (unsigned i = 0; i < count_; ++i) {
      const CUlaunchAttribute& a = entries_[i];
      if (a.id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT)
        session.put_in_graph(a.value.programmaticEvent.event);
      if (a.id == CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT)
        session.put_in_graph(a.value.launchCompletionEvent.event);
    }
  }

  CUlaunchAttribute* entries() { return entries_; }
  unsigned count() const { return count_; }

 private:
  static bool event(Session& session, const wire::CommandHeader& header, CUevent* event) {
    return session.resolve(header, reinterpret_cast<std::uint64_t>(*event), event);
  }
  CUlaunchAttribute entries_[kMostAttributes + 1];
  unsigned count_ = 0;
};

// How many bytes the attributes take; larger than any tail if there are too many.
std::size_t attribute_bytes(std::uint32_t count) {
  return count > kMostAttributes ? wire::kMaxCommandBytes : count * sizeof(CUlaunchAttribute);
}

template <typename Shape>
CUlaunchConfig config_of(const Shape& command, Attributes& attributes, CUstream stream) {
  CUlaunchConfig config{};
  config.gridDimX = command.grid[0], config.gridDimY = command.grid[1], config.gridDimZ = command.grid[2];
  config.blockDimX = command.block[0], config.blockDimY = command.block[1],
  config.blockDimZ = command.block[2];
  config.sharedMemBytes = command.shared_bytes;
  config.hStream = stream;
  config.attrs = attributes.entries();
  config.numAttrs = attributes.count();
  return config;
}

}  // namespace

void replay(Session& session, const wire::LaunchKernel& command, std::span<const std::byte> tail) {
  Kernel* kernel = nullptr;
  CUstream stream = nullptr;
  if (!session.resolve(command.header, command.kernel, &kernel)) return;
  if (!session.resolve(command.header, command.stream, &stream)) return;
  const std::size_t before = attribute_bytes(command.attribute_count);
  if (before > tail.size() || command.parameter_bytes != tail.size() - before) {
    return session.protocol_error("LaunchKernel's parameters and attributes do not fit its tail");
  }
  Attributes attributes;
  if (!attributes.read(session, command.header, tail, command.attribute_count)) return;
  if (command.cooperative != 0) attributes.add_cooperative();
  if (session.is_capturing(stream)) {
    session.put_in_graph(*kernel);
    attributes.put_events_in_graph(session);
  }
  const CUlaunchConfig config = config_of(command, attributes, stream);
  std::size_t bytes = command.parameter_bytes;
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, const_cast<std::byte*>(tail.data() + before),
                   CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
  session.note(command.header, session.driver().cuLaunchKernelEx(&config, kernel->function, nullptr,
                                                                 bytes > 0 ? extra : nullptr));
  session.launched(stream, 1);
}

void replay(Session& session, const wire::OccupancyBlocks& command) {
  Kernel* kernel = nullptr;
  if (!session.resolve(command.header, command.kernel, &kernel)) return;
  wire::OccupancyBlocksReply reply{};
  const CUresult result = session.driver().cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
      &reply.blocks, kernel->function, command.block_size, command.shared_bytes, command.flags);
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::OccupancyShared& command) {
  Kernel* kernel = nullptr;
  if (!session.resolve(command.header, command.kernel, &kernel)) return;
  std::size_t bytes = 0;
  const CUresult result = session.driver().cuOccupancyAvailableDynamicSMemPerBlock(
      &bytes, kernel->function, command.blocks, command.block_size);
  const wire::OccupancySharedReply reply{bytes};
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::OccupancyClusters& command, std::span<const std::byte> tail) {
  Kernel* kernel = nullptr;
  if (!session.resolve(command.header, command.kernel, &kernel)) return;
  if (attribute_bytes(command.attribute_count) != tail.size()) {
    return session.protocol_error("OccupancyClusters' attributes do not fit its tail");
  }
  Attributes attributes;
  if (!attributes.read(session, command.header, tail, command.attribute_count)) return;
  const CUlaunchConfig config = config_of(command, attributes, nullptr);
  wire::OccupancyClustersReply reply{};
  CUresult result = CUDA_ERROR_NOT_SUPPORTED;
  if (command.potential == 0) {
    result = session.driver().cuOccupancyMaxActiveClusters(&reply.clusters, kernel->function, &config);
  } else if (session.driver().cuOccupancyMaxPotentialClusterSize != nullptr) {
    result = session.driver().cuOccupancyMaxPotentialClusterSize(&reply.clusters, kernel->function, &config);
  }
  session.reply(command.header, result, &reply, sizeof reply);
}

void replay(Session& session, const wire::TensorMapEncode& command, std::span<const std::byte> tail) {
  const std::uint32_t rank = command.rank;
  const bool tiled = command.kind == wire::kTensorMapTiled;
  if ((!tiled && command.kind != wire::kTensorMapIm2col) || rank < (tiled ? 1u : 3u) || rank > 5) {
    return session.protocol_error("TensorMapEncode is of no kind and rank that exist");
  }
  // Dimensions, strides, and the kind's own: (box, element strides), or (lower corner, upper corner, element
  // strides).
  const std::size_t words = tiled ? 4 * rank - 1 : 3 * rank - 1 + 2 * (rank - 2);
  if (tail.size() != words * 8) return session.protocol_error("TensorMapEncode's arrays do not fit its tail");
  std::uint64_t all[24];
  std::memcpy(all, tail.data(), tail.size());
  const std::uint64_t* next = all;
  auto take = [&]<typename T>(T* to, std::uint32_t n) {
    for (std::uint32_t i = 0; i < n; ++i) to[i] = static_cast<T>(*next++);
  };
  cuuint64_t dimensions[5], strides[5];
  cuuint32_t box[5], element_strides[5];
  int lower[5], upper[5];
  take(dimensions, rank);
  take(strides, rank - 1);
  CUtensorMap map{};
  CUresult result = CUDA_ERROR_NOT_SUPPORTED;
  void* address = reinterpret_cast<void*>(command.address);
  const auto type = static_cast<CUtensorMapDataType>(command.data_type);
  const auto interleave = static_cast<CUtensorMapInterleave>(command.interleave);
  const auto swizzle = static_cast<CUtensorMapSwizzle>(command.swizzle);
  const auto promotion = static_cast<CUtensorMapL2promotion>(command.promotion);
  const auto fill = static_cast<CUtensorMapFloatOOBfill>(command.fill);
  if (tiled) {
    take(box, rank);
    take(element_strides, rank);
    if (session.driver().cuTensorMapEncodeTiled != nullptr) {
      result = session.driver().cuTensorMapEncodeTiled(&map, type, rank, address, dimensions, strides, box,
                                                       element_strides, interleave, swizzle, promotion, fill);
    }
  } else {
    take(lower, rank - 2);
    take(upper, rank - 2);
    take(element_strides, rank);
    if (session.driver().cuTensorMapEncodeIm2col != nullptr) {
      result = session.driver().cuTensorMapEncodeIm2col(
          &map, type, rank, address, dimensions, strides, lower, upper, command.channels, command.pixels,
          element_strides, interleave, swizzle, promotion, fill);
    }
  }
  wire::TensorMapEncodeReply reply{};
  static_assert(sizeof reply.map == sizeof map);
  std::memcpy(reply.map, &map, sizeof map);
  session.reply(command.header, result, &reply, sizeof reply);
}

}  // namespace tfusion::replay
