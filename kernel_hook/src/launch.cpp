// Launches: the parameters are gathered into one block and written, with the launch, straight into the ring.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "api.hpp"
#include "call.hpp"
#include "context.hpp"
#include "kernel.hpp"
#include "launch_attributes.hpp"
#include "objects.hpp"

namespace tfusion::hook {

namespace {

struct Shape {
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
};

// What the driver checks at the call itself; the rest it says later, like any asynchronous error.
CUresult check(const Shape& s, const KernelDescription& kernel) {
  const protocol::DeviceFacts& facts = shared.control().facts;
  std::uint64_t threads = 1;
  for (int i = 0; i < 3; ++i) {
    const auto most_blocks = static_cast<unsigned>(facts.attributes[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i]);
    const auto most_threads =
        static_cast<unsigned>(facts.attributes[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i]);
    if (s.grid[i] == 0 || s.grid[i] > most_blocks || s.block[i] == 0 || s.block[i] > most_threads) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    threads *= s.block[i];
  }
  if (threads > static_cast<std::uint64_t>(facts.attributes[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK])) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (threads > static_cast<std::uint64_t>(kernel.attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK])) {
    // Too many registers, or beyond the kernel's own launch bounds.
    const std::uint64_t registers =
        (threads + 31) / 32 * 32 * static_cast<std::uint64_t>(kernel.attributes[CU_FUNC_ATTRIBUTE_NUM_REGS]);
    const auto most =
        static_cast<std::uint64_t>(facts.attributes[CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK]);
    return registers > most ? CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES : CUDA_ERROR_INVALID_VALUE;
  }
  const auto most_shared =
      static_cast<unsigned>(kernel.attributes[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES]);
  if (s.shared_bytes > most_shared) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

// What only some launches have: clusters that exist, and cooperative grids that are on the GPU all at once.
CUresult check_togetherness(CUfunction function, const Shape& shape, const KernelDescription& kernel,
                            const LaunchAttributes& attributes, bool cooperative) {
  for (unsigned i = 0; i < attributes.count; ++i) {
    const CUlaunchAttribute& a = attributes.entries[i];
    if (a.id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE && a.value.cooperative != 0) cooperative = true;
    if (a.id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) continue;
    constexpr std::uint64_t kPortable = 8, kMost = 16;
    const auto [x, y, z] = a.value.clusterDim;
    if (x == 0 || y == 0 || z == 0) return CUDA_ERROR_INVALID_VALUE;
    const bool larger = kernel.attributes[CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED] != 0;
    const std::uint64_t most = larger ? kMost : kPortable;
    if (x > most || y > most || z > most || std::uint64_t{x} * y * z > most)
      return CUDA_ERROR_INVALID_CLUSTER_SIZE;
  }
  if (!cooperative) return CUDA_SUCCESS;
  int per_multiprocessor = 0;
  const auto threads = static_cast<int>(shape.block[0] * shape.block[1] * shape.block[2]);
  if (CUresult r = api::cuOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, function, threads,
                                                                    shape.shared_bytes);
      r != CUDA_SUCCESS) {
    return r;
  }
  const auto multiprocessors =
      static_cast<std::uint64_t>(shared.control().facts.attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT]);
  const std::uint64_t resident = static_cast<std::uint64_t>(per_multiprocessor) * multiprocessors;
  const std::uint64_t blocks = std::uint64_t{shape.grid[0]} * shape.grid[1] * shape.grid[2];
  return blocks > resident ? CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE : CUDA_SUCCESS;
}

CUresult send(CUfunction function, const Shape& shape, CUstream stream, void** parameters, void** extra,
              const LaunchAttributes& attributes, bool cooperative) {
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  const KernelDescription* kernel = nullptr;
  if (CUresult r = describe_kernel(number(function), &kernel); r != CUDA_SUCCESS) return r;
  if (CUresult r = check(shape, *kernel); r != CUDA_SUCCESS) return r;
  if (cooperative || attributes.count > 0) {
    if (CUresult r = check_togetherness(function, shape, *kernel, attributes, cooperative); r != CUDA_SUCCESS)
      return r;
  }
  const void* packed = nullptr;
  std::size_t parameter_bytes = kernel->parameter_bytes;
  if (parameters == nullptr && extra != nullptr) {
    if (CUresult r = packed_parameters(extra, &packed, &parameter_bytes); r != CUDA_SUCCESS) return r;
    if (parameter_bytes > wire::kMaxCommandBytes / 2) return CUDA_ERROR_INVALID_VALUE;
  } else if (parameters == nullptr && !kernel->parameters.empty()) {
    return CUDA_ERROR_INVALID_VALUE;
  }

  wire::LaunchKernel command{};
  if (CUresult r = stream_on_wire(stream, &command.stream); r != CUDA_SUCCESS) return r;
  command.kernel = number(function);
  std::copy_n(shape.grid, 3, command.grid);
  std::copy_n(shape.block, 3, command.block);
  command.shared_bytes = shape.shared_bytes;
  command.attribute_count = attributes.count;
  command.parameter_bytes = static_cast<std::uint32_t>(parameter_bytes);
  command.cooperative = cooperative;
  const std::uint32_t attribute_bytes =
      attributes.count * static_cast<std::uint32_t>(sizeof(CUlaunchAttribute));
  command.header.opcode = static_cast<std::uint16_t>(wire::LaunchKernel::kOpcode);
  command.header.reply_slot = wire::kNoReply;
  command.header.tail_bytes = attribute_bytes + command.parameter_bytes;
  command.header.bytes = wire::padded(sizeof command + command.header.tail_bytes);
  command.header.thread = thread_number();

  RingWriter writer(command.header.bytes);
  if (writer.data() == nullptr) return lost();
  std::memcpy(writer.data(), &command, sizeof command);
  std::byte* tail = writer.data() + sizeof command;
  if (attribute_bytes > 0) std::memcpy(tail, attributes.entries, attribute_bytes);
  std::byte* block = tail + attribute_bytes;
  if (packed != nullptr) {
    std::memcpy(block, packed, parameter_bytes);
  } else {
    gather_parameters(*kernel, parameters, block);
  }
  writer.publish();
  return CUDA_SUCCESS;
}

// CUDA_LAUNCH_BLOCKING=1: a launch returns when the kernel is over, and with its error.
bool launches_block() {
  static const bool set = [] {
    const char* value = std::getenv("CUDA_LAUNCH_BLOCKING");
    return value != nullptr && std::strcmp(value, "1") == 0;
  }();
  return set;
}

CUresult launch(CUfunction function, const Shape& shape, CUstream stream, void** parameters, void** extra,
                const LaunchAttributes& attributes, bool cooperative) {
  const CUresult result = send(function, shape, stream, parameters, extra, attributes, cooperative);
  if (result != CUDA_SUCCESS || !launches_block()) return result;
  CUstreamCaptureStatus capturing = CU_STREAM_CAPTURE_STATUS_NONE;
  api::cuStreamIsCapturing(stream, &capturing);
  return capturing == CU_STREAM_CAPTURE_STATUS_NONE ? api::cuStreamSynchronize(stream) : result;
}

}  // namespace

CUresult packed_parameters(void** extra, const void** data, std::size_t* bytes) {
  *data = nullptr;
  *bytes = 0;
  const std::size_t* size = nullptr;
  for (int i = 0; i < 16; i += 2) {
    const auto key = reinterpret_cast<std::uintptr_t>(extra[i]);
    if (key == reinterpret_cast<std::uintptr_t>(CU_LAUNCH_PARAM_END)) break;
    if (key == reinterpret_cast<std::uintptr_t>(CU_LAUNCH_PARAM_BUFFER_POINTER)) {
      *data = extra[i + 1];
    } else if (key == reinterpret_cast<std::uintptr_t>(CU_LAUNCH_PARAM_BUFFER_SIZE)) {
      size = static_cast<const std::size_t*>(extra[i + 1]);
    } else {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  if (size == nullptr || (*data == nullptr && *size > 0)) return CUDA_ERROR_INVALID_VALUE;
  *bytes = *size;
  return CUDA_SUCCESS;
}

CUresult LaunchAttributes::read(const CUlaunchAttribute* from, unsigned number_of_them) {
  count = 0;
  if (number_of_them > 0 && from == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (number_of_them > kMost) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < number_of_them; ++i) {
    CUlaunchAttribute a = from[i];
    switch (a.id) {
      case CU_LAUNCH_ATTRIBUTE_IGNORE:
        continue;
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
        if (events().find(number(a.value.programmaticEvent.event)) == nullptr)
          return CUDA_ERROR_INVALID_HANDLE;
        break;
      case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
        if (events().find(number(a.value.launchCompletionEvent.event)) == nullptr)
          return CUDA_ERROR_INVALID_HANDLE;
        break;
      default:
        return refused("a launch attribute of cuLaunchKernelEx");
    }
    entries[count++] = a;
  }
  return CUDA_SUCCESS;
}

namespace api {

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
                        unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
                        unsigned int sharedMemBytes, CUstream hStream, void** kernelParams, void** extra) {
  const Shape shape{{gridDimX, gridDimY, gridDimZ}, {blockDimX, blockDimY, blockDimZ}, sharedMemBytes};
  return launch(f, shape, hStream, kernelParams, extra, kNoLaunchAttributes, false);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                   unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                                   unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                                   void** kernelParams) {
  const Shape shape{{gridDimX, gridDimY, gridDimZ}, {blockDimX, blockDimY, blockDimZ}, sharedMemBytes};
  return launch(f, shape, hStream, kernelParams, nullptr, kNoLaunchAttributes, true);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** kernelParams, void** extra) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Shape shape{{config->gridDimX, config->gridDimY, config->gridDimZ},
                    {config->blockDimX, config->blockDimY, config->blockDimZ},
                    config->sharedMemBytes};
  LaunchAttributes attributes;
  if (CUresult r = attributes.read(config->attrs, config->numAttrs); r != CUDA_SUCCESS) return r;
  return launch(f, shape, config->hStream, kernelParams, extra, attributes, false);
}

}  // namespace api
}  // namespace tfusion::hook
