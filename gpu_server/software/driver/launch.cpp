// The launch functions, and the launch itself: see kernel_launch.hpp.
#include <string.h>

#include <algorithm>
#include <vector>

#include "device.hpp"
#include "entry.hpp"
#include "kernel_launch.hpp"
#include "occupancy.hpp"
#include "print.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

namespace {

CUresult code_of(ptx::Outcome outcome) {
  switch (outcome) {
    case ptx::Outcome::success:
      return CUDA_SUCCESS;
    case ptx::Outcome::illegal_address:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case ptx::Outcome::misaligned_address:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case ptx::Outcome::trap:
      return CUDA_ERROR_LAUNCH_FAILED;
    case ptx::Outcome::illegal_instruction:
      return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case ptx::Outcome::assertion:
      return CUDA_ERROR_ASSERT;
    case ptx::Outcome::cancelled:
      return CUDA_ERROR_LAUNCH_TIMEOUT;
  }
  return CUDA_ERROR_UNKNOWN;
}

void require_shape(const Function& function, const Shape& shape) {
  std::size_t threads = 1;
  for (unsigned axis = 0; axis < 3; ++axis) {
    require(shape.grid[axis] != 0 && shape.grid[axis] <= kMaxGrid[axis]);
    require(shape.block[axis] != 0 && shape.block[axis] <= kMaxBlock[axis]);
    threads *= shape.block[axis];
  }
  require(threads <= kMaxThreadsPerBlock);
  const ptx::KernelInfo& info = function.info;
  require(threads <= info.max_threads_per_block, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  if (info.required_threads[0] != 0) {
    for (unsigned axis = 0; axis < 3; ++axis) {
      require(shape.block[axis] == std::max(info.required_threads[axis], 1U));
    }
  }
  require(shape.dynamic_shared_bytes <=
          static_cast<std::size_t>(function.settings->max_dynamic_shared_bytes.load()));
  require(info.static_shared_bytes + shape.dynamic_shared_bytes <= kSharedPerBlockOptIn,
          CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  if (shape.cooperative) {
    const std::size_t blocks = std::size_t{shape.grid[0]} * shape.grid[1];
    const std::size_t room =
        std::size_t{multiprocessor_count()} *
        max_active_blocks(function, static_cast<unsigned>(threads), shape.dynamic_shared_bytes);
    require(blocks <= room && shape.grid[2] <= room && blocks * shape.grid[2] <= room,
            CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  }
}

// The parameter block, copied before the launch function returns.
std::vector<std::byte> parameter_block(const ptx::KernelInfo& info, void** parameters, void** extra) {
  std::vector<std::byte> block(info.parameter_bytes);
  if (parameters != nullptr) {
    require(extra == nullptr);
    for (std::size_t index = 0; index < info.parameters.size(); ++index) {
      require(parameters[index] != nullptr);
      memcpy(block.data() + info.parameters[index].offset, parameters[index], info.parameters[index].bytes);
    }
    return block;
  }
  if (info.parameters.empty()) return block;
  require(extra != nullptr);
  const void* buffer = nullptr;
  std::size_t bytes = 0;
  for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
    if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) {
      buffer = extra[1];
    } else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) {
      require(extra[1] != nullptr);
      memcpy(&bytes, extra[1], sizeof bytes);
    } else {
      throw Failure(CUDA_ERROR_INVALID_VALUE);
    }
  }
  // The buffer may end with the last parameter or be padded after it.
  const ptx::ParameterInfo& last = info.parameters.back();
  require(buffer != nullptr && bytes >= last.offset + last.bytes);
  memcpy(block.data(), buffer, std::min(bytes, block.size()));
  return block;
}

// A captured launch keeps its attributes for its node, and the priority of its stream.
void keep_attributes(KernelLaunch& launch, const Stream& stream,
                     std::span<const CUlaunchAttribute> attributes) {
  const auto keep = [&](const CUlaunchAttribute& attribute) {
    std::erase_if(launch.attributes,
                  [&](const CUlaunchAttribute& earlier) { return earlier.id == attribute.id; });
    launch.attributes.push_back(attribute);
  };
  if (stream.priority != 0) {
    CUlaunchAttribute priority{};
    priority.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
    priority.value.priority = stream.priority;
    keep(priority);
  }
  for (const CUlaunchAttribute& attribute : attributes) {
    if (attribute.id != CU_LAUNCH_ATTRIBUTE_IGNORE && attribute.id != CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
      keep(attribute);
    }
  }
}

CUresult launch(const std::shared_ptr<Context>& context, CUfunction handle, const Shape& shape,
                CUstream stream_handle, void** parameters, void** extra,
                std::span<const CUlaunchAttribute> attributes = {}) {
  KernelLaunch made = make_launch(context, handle, shape, parameters, extra);
  const auto stream = stream_of(*context, stream_handle);
  const auto owner = context_of(*stream);
  require(made.loaded.module->owner == owner->handle, CUDA_ERROR_INVALID_CONTEXT);
  if (captures(*stream, *owner)) keep_attributes(made, *stream, attributes);
  perform(*stream, owner, std::move(made));
  return CUDA_SUCCESS;
}

}  // namespace

void KernelLaunch::run(Context& context) const noexcept {
  Driver& gpu = driver();
  ptx::LaunchConfig config{};
  std::copy_n(shape.grid, 3, config.grid);
  std::copy_n(shape.block, 3, config.block);
  config.dynamic_shared_bytes = shape.dynamic_shared_bytes;
  config.parameters = parameters;
  config.textures = &gpu.textures;
  config.print = print_from_device;
  config.stop = &gpu.queue.stop_flag();
  const ptx::LaunchReport report = loaded.module->program().launch(loaded.function->index, config, gpu.space);
  if (report.outcome == ptx::Outcome::success) return;
  context.fail(code_of(report.outcome), "kernel " + loaded.function->info.name + " failed: " + report.detail);
}

void require_launchable(const KernelLaunch& launch) {
  require_shape(*launch.loaded.function, launch.shape);
}

KernelLaunch make_launch(const std::shared_ptr<Context>& context, CUfunction handle, const Shape& shape,
                         void** parameters, void** extra) {
  KernelLaunch made;
  made.shape = shape;
  made.loaded = function_of(context, handle);
  require_launchable(made);
  made.parameters = parameter_block(made.loaded.function->info, parameters, extra);
  made.packed = extra != nullptr;
  made.function = handle;
  return made;
}

// What a device of compute capability 7.5 makes of a launch attribute.
void apply(const CUlaunchAttribute& attribute, Shape& shape) {
  const CUlaunchAttributeValue& value = attribute.value;
  switch (attribute.id) {
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
      break;
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
      shape.cooperative = value.cooperative != 0;
      break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
      require(value.clusterDim.x == 1 && value.clusterDim.y == 1 && value.clusterDim.z == 1,
              CUDA_ERROR_INVALID_CLUSTER_SIZE);
      break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      require(value.clusterSchedulingPolicyPreference == CU_CLUSTER_SCHEDULING_POLICY_DEFAULT,
              CUDA_ERROR_NOT_SUPPORTED);
      break;
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
      require(value.programmaticStreamSerializationAllowed == 0, CUDA_ERROR_NOT_SUPPORTED);
      break;
    default:
      throw Failure(CUDA_ERROR_NOT_SUPPORTED);
  }
}

}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
                        unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
                        unsigned int sharedMemBytes, CUstream hStream, void** kernelParams, void** extra) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const Shape shape{
        {gridDimX, gridDimY, gridDimZ}, {blockDimX, blockDimY, blockDimZ}, sharedMemBytes, false};
    return launch(context, f, shape, hStream, kernelParams, extra);
  });
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                   unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                                   unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                                   void** kernelParams) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const Shape shape{
        {gridDimX, gridDimY, gridDimZ}, {blockDimX, blockDimY, blockDimZ}, sharedMemBytes, true};
    return launch(context, f, shape, hStream, kernelParams, nullptr);
  });
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** kernelParams, void** extra) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(config != nullptr && (config->numAttrs == 0 || config->attrs != nullptr));
    Shape shape{{config->gridDimX, config->gridDimY, config->gridDimZ},
                {config->blockDimX, config->blockDimY, config->blockDimZ},
                config->sharedMemBytes,
                false};
    const std::span attributes(config->attrs, config->numAttrs);
    for (const CUlaunchAttribute& attribute : attributes) apply(attribute, shape);
    return launch(context, f, shape, config->hStream, kernelParams, extra, attributes);
  });
}
