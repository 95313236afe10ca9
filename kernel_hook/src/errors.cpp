// Names and sentences of the driver's errors. When the session is lost, CUDA_ERROR_DEVICE_UNAVAILABLE says
// why.
#include <cstddef>

#include "api.hpp"
#include "process.hpp"

namespace tfusion::hook::api {

namespace {

struct ErrorText {
  CUresult code;
  const char* name;
  const char* sentence;
};

#define TFUSION_ERROR(code, sentence) {code, #code, sentence}
constexpr ErrorText kErrors[] = {
    TFUSION_ERROR(CUDA_SUCCESS, "no error"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_VALUE, "an argument is not one the driver accepts"),
    TFUSION_ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory: this slice's GPU memory is used up"),
    TFUSION_ERROR(CUDA_ERROR_NOT_INITIALIZED,
                  "the driver is not initialised in this process (a forked child cannot use CUDA; start it "
                  "with spawn)"),
    TFUSION_ERROR(CUDA_ERROR_DEINITIALIZED, "the process is ending and its driver with it"),
    TFUSION_ERROR(CUDA_ERROR_PROFILER_DISABLED, "the profiler is disabled"),
    TFUSION_ERROR(CUDA_ERROR_PROFILER_NOT_INITIALIZED, "the profiler is not initialised"),
    TFUSION_ERROR(CUDA_ERROR_PROFILER_ALREADY_STARTED, "the profiler was started already"),
    TFUSION_ERROR(CUDA_ERROR_PROFILER_ALREADY_STOPPED, "the profiler was stopped already"),
    TFUSION_ERROR(CUDA_ERROR_STUB_LIBRARY, "a stub library was loaded in the driver's place"),
    TFUSION_ERROR(CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER, "the call needs a newer driver"),
    TFUSION_ERROR(CUDA_ERROR_DEVICE_UNAVAILABLE, "the virtual GPU of this process is not available"),
    TFUSION_ERROR(CUDA_ERROR_NO_DEVICE, "this process has no CUDA device"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    TFUSION_ERROR(CUDA_ERROR_DEVICE_NOT_LICENSED, "the device has no licence"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_IMAGE, "the module's image is not valid"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_CONTEXT, "no valid context is current"),
    TFUSION_ERROR(CUDA_ERROR_CONTEXT_ALREADY_CURRENT, "the context is current already"),
    TFUSION_ERROR(CUDA_ERROR_MAP_FAILED, "mapping memory failed"),
    TFUSION_ERROR(CUDA_ERROR_UNMAP_FAILED, "unmapping memory failed"),
    TFUSION_ERROR(CUDA_ERROR_ARRAY_IS_MAPPED, "the array is mapped"),
    TFUSION_ERROR(CUDA_ERROR_ALREADY_MAPPED, "the resource is mapped already"),
    TFUSION_ERROR(CUDA_ERROR_NO_BINARY_FOR_GPU, "the module holds no code for this GPU"),
    TFUSION_ERROR(CUDA_ERROR_ALREADY_ACQUIRED, "the resource was acquired already"),
    TFUSION_ERROR(CUDA_ERROR_NOT_MAPPED, "the resource is not mapped"),
    TFUSION_ERROR(CUDA_ERROR_NOT_MAPPED_AS_ARRAY, "the resource is not mapped as an array"),
    TFUSION_ERROR(CUDA_ERROR_NOT_MAPPED_AS_POINTER, "the resource is not mapped as a pointer"),
    TFUSION_ERROR(CUDA_ERROR_ECC_UNCORRECTABLE, "GPU memory had an error that could not be corrected"),
    TFUSION_ERROR(CUDA_ERROR_UNSUPPORTED_LIMIT, "the device does not have that limit"),
    TFUSION_ERROR(CUDA_ERROR_CONTEXT_ALREADY_IN_USE, "the context is in use"),
    TFUSION_ERROR(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "the devices cannot reach each other's memory"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_PTX, "the PTX could not be compiled"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_GRAPHICS_CONTEXT, "the graphics context is not valid"),
    TFUSION_ERROR(CUDA_ERROR_NVLINK_UNCORRECTABLE,
                  "a link between GPUs had an error that could not be corrected"),
    TFUSION_ERROR(CUDA_ERROR_JIT_COMPILER_NOT_FOUND, "the PTX compiler was not found"),
    TFUSION_ERROR(CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
                  "the PTX is of a version that the driver does not know"),
    TFUSION_ERROR(CUDA_ERROR_JIT_COMPILATION_DISABLED, "compiling PTX is disabled"),
    TFUSION_ERROR(CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY, "the device does not have that execution affinity"),
    TFUSION_ERROR(CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC,
                  "the code synchronises on the device, which is not supported"),
    TFUSION_ERROR(CUDA_ERROR_CONTAINED, "an error of the GPU was contained to this process"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_SOURCE, "the kernel's source is not valid"),
    TFUSION_ERROR(CUDA_ERROR_FILE_NOT_FOUND, "the file was not found"),
    TFUSION_ERROR(CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND, "a symbol of a shared library was not found"),
    TFUSION_ERROR(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, "a shared library could not be initialised"),
    TFUSION_ERROR(CUDA_ERROR_OPERATING_SYSTEM, "a call of the operating system failed"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_HANDLE, "a handle is not valid, or no longer"),
    TFUSION_ERROR(CUDA_ERROR_ILLEGAL_STATE, "a resource is not in a state for this"),
    TFUSION_ERROR(CUDA_ERROR_LOSSY_QUERY, "the answer would lose information"),
    TFUSION_ERROR(CUDA_ERROR_NOT_FOUND, "the name was not found"),
    TFUSION_ERROR(CUDA_ERROR_NOT_READY, "the work is not finished yet"),
    TFUSION_ERROR(CUDA_ERROR_ILLEGAL_ADDRESS,
                  "an illegal memory access was encountered: a kernel read or wrote outside its memory"),
    TFUSION_ERROR(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                  "the launch needs more registers or shared memory than the GPU has"),
    TFUSION_ERROR(CUDA_ERROR_LAUNCH_TIMEOUT, "the kernel ran for longer than it may"),
    TFUSION_ERROR(CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING, "the launch's texturing mode does not fit"),
    TFUSION_ERROR(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is enabled already"),
    TFUSION_ERROR(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, "peer access is not enabled"),
    TFUSION_ERROR(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, "the primary context is in use"),
    TFUSION_ERROR(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the context was destroyed"),
    TFUSION_ERROR(CUDA_ERROR_ASSERT, "an assertion in device code failed"),
    TFUSION_ERROR(CUDA_ERROR_TOO_MANY_PEERS, "no more peers can be enabled"),
    TFUSION_ERROR(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "the host memory is registered already"),
    TFUSION_ERROR(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "the host memory is not registered"),
    TFUSION_ERROR(CUDA_ERROR_HARDWARE_STACK_ERROR, "a stack error in a kernel"),
    TFUSION_ERROR(CUDA_ERROR_ILLEGAL_INSTRUCTION, "a kernel met an illegal instruction"),
    TFUSION_ERROR(CUDA_ERROR_MISALIGNED_ADDRESS, "a kernel used an address that is not aligned"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_ADDRESS_SPACE, "a kernel used an address of the wrong kind of memory"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_PC, "a kernel jumped outside its code"),
    TFUSION_ERROR(CUDA_ERROR_LAUNCH_FAILED, "a kernel failed while it ran"),
    TFUSION_ERROR(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                  "the cooperative launch has more blocks than fit on the GPU at once"),
    TFUSION_ERROR(CUDA_ERROR_TENSOR_MEMORY_LEAK, "a kernel did not free its tensor memory"),
    TFUSION_ERROR(CUDA_ERROR_NOT_PERMITTED, "the call is not permitted"),
    TFUSION_ERROR(CUDA_ERROR_NOT_SUPPORTED, "this virtual GPU does not support the call"),
    TFUSION_ERROR(CUDA_ERROR_SYSTEM_NOT_READY, "the system is not ready for CUDA"),
    TFUSION_ERROR(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "parts of the driver do not fit each other"),
    TFUSION_ERROR(CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, "forward compatibility is not supported here"),
    TFUSION_ERROR(CUDA_ERROR_MPS_CONNECTION_FAILED, "the MPS server could not be reached"),
    TFUSION_ERROR(CUDA_ERROR_MPS_RPC_FAILURE, "the MPS server did not answer"),
    TFUSION_ERROR(CUDA_ERROR_MPS_SERVER_NOT_READY, "the MPS server is not ready"),
    TFUSION_ERROR(CUDA_ERROR_MPS_MAX_CLIENTS_REACHED, "the MPS server has no room for another client"),
    TFUSION_ERROR(CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED,
                  "the MPS server has no room for another connection"),
    TFUSION_ERROR(CUDA_ERROR_MPS_CLIENT_TERMINATED, "the MPS server ended this client"),
    TFUSION_ERROR(CUDA_ERROR_CDP_NOT_SUPPORTED, "launching kernels from kernels is not supported"),
    TFUSION_ERROR(CUDA_ERROR_CDP_VERSION_MISMATCH, "versions of dynamic parallelism do not fit each other"),
    TFUSION_ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the call cannot be captured"),
    TFUSION_ERROR(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
                  "the stream's capture became invalid by an earlier error"),
    TFUSION_ERROR(CUDA_ERROR_STREAM_CAPTURE_MERGE, "the call would merge two captures"),
    TFUSION_ERROR(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "the capture was not begun on this stream"),
    TFUSION_ERROR(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "the capture left work that was not joined"),
    TFUSION_ERROR(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "the call would depend on work outside the capture"),
    TFUSION_ERROR(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                  "the call would wait for the default stream within a capture"),
    TFUSION_ERROR(CUDA_ERROR_CAPTURED_EVENT, "the event was recorded in a capture"),
    TFUSION_ERROR(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture was begun by another thread"),
    TFUSION_ERROR(CUDA_ERROR_TIMEOUT, "the time was up"),
    TFUSION_ERROR(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, "the graph could not be updated"),
    TFUSION_ERROR(CUDA_ERROR_EXTERNAL_DEVICE, "a device outside CUDA failed"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_CLUSTER_SIZE, "the cluster's size is not valid"),
    TFUSION_ERROR(CUDA_ERROR_FUNCTION_NOT_LOADED, "the function is not loaded"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_RESOURCE_TYPE, "the resource's type is not valid"),
    TFUSION_ERROR(CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION, "the resource's configuration is not valid"),
    TFUSION_ERROR(CUDA_ERROR_KEY_ROTATION, "the key was rotated"),
    TFUSION_ERROR(CUDA_ERROR_UNKNOWN, "an unknown error"),
};
#undef TFUSION_ERROR

const ErrorText* find(CUresult error) {
  for (const ErrorText& e : kErrors) {
    if (e.code == error) return &e;
  }
  return nullptr;
}

}  // namespace

CUresult cuGetErrorName(CUresult error, const char** pStr) {
  if (pStr == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ErrorText* text = find(error);
  *pStr = text != nullptr ? text->name : nullptr;
  return text != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char** pStr) {
  if (pStr == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ErrorText* text = find(error);
  *pStr = text != nullptr ? text->sentence : nullptr;
  if (error == CUDA_ERROR_DEVICE_UNAVAILABLE && loss_sentence() != nullptr) *pStr = loss_sentence();
  return text != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace tfusion::hook::api
