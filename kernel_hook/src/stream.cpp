// Streams: the client chooses the handle, keeps flags and priority, and maps the default streams.
#include <pthread.h>

#include <atomic>
#include <cstring>

#include "api.hpp"
#include "call.hpp"
#include "capture.hpp"
#include "context.hpp"
#include "objects.hpp"
#include "own_context.hpp"
#include "pool.hpp"

namespace tfusion::hook {

namespace {

constinit std::atomic<std::uint64_t> next_stream_id{10};  // below: the default streams
constinit std::atomic<std::uint64_t> reset_epoch{1};

// Plain data: nothing here needs a destructor at thread or process exit.
thread_local bool per_thread_default = false;
thread_local std::uint64_t thread_stream = 0;
thread_local std::uint64_t thread_stream_epoch = 0;

CUresult create_stream(unsigned flags, int priority, std::uint64_t* handle) {
  *handle = streams().create([&](StreamObject& s) {
    s.flags = flags;
    s.priority = priority;
    s.id = next_stream_id.fetch_add(1);
  });
  if (*handle == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  own(Owned::stream, *handle);
  wire::StreamCreate command{};
  command.stream = *handle;
  command.flags = flags;
  command.priority = priority;
  return post(command);
}

void release_thread_stream(void* value) {
  const std::uint64_t handle = reinterpret_cast<std::uint64_t>(value);
  if (enter() != CUDA_SUCCESS || streams().find(handle) == nullptr) return;
  api::cuStreamDestroy_v2(reinterpret_cast<CUstream>(handle));
}

CUresult own_stream(std::uint64_t* wire) {
  const std::uint64_t epoch = reset_epoch.load(std::memory_order_relaxed);
  // It also ends with a context of the program's own that was current when it was made.
  if (thread_stream == 0 || thread_stream_epoch != epoch || streams().find(thread_stream) == nullptr) {
    static const pthread_key_t key = [] {
      pthread_key_t k{};
      pthread_key_create(&k, release_thread_stream);
      return k;
    }();
    if (CUresult r = create_stream(CU_STREAM_DEFAULT, 0, &thread_stream); r != CUDA_SUCCESS) return r;
    thread_stream_epoch = epoch;
    pthread_setspecific(key, reinterpret_cast<void*>(thread_stream));
  }
  *wire = thread_stream;
  return CUDA_SUCCESS;
}

// Flags, priority and id of any stream a program may name.
CUresult describe(CUstream stream, StreamObject* out) {
  if (number(stream) <= 2) {
    const bool own = number(stream) == 2 || (number(stream) == 0 && per_thread_default);
    *out = StreamObject{CU_STREAM_DEFAULT, 0, own ? 2 + std::uint64_t{thread_number()} * 1'000'000 : 1};
    return CUDA_SUCCESS;
  }
  const StreamObject* object = streams().find(number(stream));
  if (object == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *out = *object;
  return CUDA_SUCCESS;
}

CUresult attribute(CUstream stream, bool change, CUstreamAttrID which, CUstreamAttrValue* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  wire::StreamAttribute command{};
  if (CUresult r = stream_on_wire(stream, &command.stream); r != CUDA_SUCCESS) return r;
  command.set = change ? 1 : 0;
  command.attribute = which;
  static_assert(sizeof command.value == sizeof *value);
  std::memcpy(command.value, value, sizeof *value);
  wire::StreamAttributeReply reply{};
  const CUresult result = call(command, &reply);
  if (result == CUDA_SUCCESS && !change) std::memcpy(value, reply.value, sizeof *value);
  return result;
}

}  // namespace

PerThreadDefaultStream::PerThreadDefaultStream() : before_(per_thread_default) {
  per_thread_default = true;
}
PerThreadDefaultStream::~PerThreadDefaultStream() {
  per_thread_default = before_;
}

void forget_thread_streams() {
  reset_epoch.fetch_add(1);
}

CUresult stream_on_wire(CUstream stream, std::uint64_t* wire) {
  switch (number(stream)) {
    case 0:
      if (per_thread_default) return own_stream(wire);
      [[fallthrough]];
    case 1:
      *wire = kLegacyStream;
      return CUDA_SUCCESS;
    case 2:
      return own_stream(wire);
    default:
      if (streams().find(number(stream)) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
      *wire = number(stream);
      return CUDA_SUCCESS;
  }
}

namespace api {

CUresult cuStreamCreateWithPriority(CUstream* phStream, unsigned int flags, int priority) {
  if (phStream == nullptr || (flags & ~1u) != 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult r = require_context(); r != CUDA_SUCCESS) return r;
  const protocol::DeviceFacts& facts = shared.control().facts;
  if (priority > facts.least_priority) priority = facts.least_priority;
  if (priority < facts.greatest_priority) priority = facts.greatest_priority;
  std::uint64_t handle = 0;
  const CUresult result = create_stream(flags, priority, &handle);
  if (result == CUDA_SUCCESS) *phStream = reinterpret_cast<CUstream>(handle);
  return result;
}

CUresult cuStreamCreate(CUstream* phStream, unsigned int Flags) {
  return api::cuStreamCreateWithPriority(phStream, Flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream hStream) {
  if (!streams().retire(number(hStream))) return CUDA_ERROR_INVALID_HANDLE;
  disown(Owned::stream, number(hStream));
  wire::StreamDestroy command{};
  command.stream = number(hStream);
  const CUresult result = post(command);
  capturing_stream_ends(number(hStream));
  streams().recycle(number(hStream));
  return result;
}

CUresult cuStreamSynchronize(CUstream hStream) {
  wire::StreamSynchronize command{};
  if (CUresult r = stream_on_wire(hStream, &command.stream); r != CUDA_SUCCESS) return r;
  const std::uint64_t mark = published();
  const CUresult result = call(command);
  if (result == CUDA_SUCCESS) pools_after_stream(command.stream, mark);
  return result;
}

CUresult cuStreamGetPriority(CUstream hStream, int* priority) {
  StreamObject s;
  if (priority == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult r = describe(hStream, &s);
  if (r == CUDA_SUCCESS) *priority = s.priority;
  return r;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int* flags) {
  StreamObject s;
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult r = describe(hStream, &s);
  if (r == CUDA_SUCCESS) *flags = s.flags;
  return r;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long* streamId) {
  StreamObject s;
  if (streamId == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult r = describe(hStream, &s);
  if (r == CUDA_SUCCESS) *streamId = s.id;
  return r;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext* pctx) {
  StreamObject s;
  if (pctx == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult r = describe(hStream, &s);
  const CUcontext context = current_context();  // which the default streams are of
  if (r == CUDA_SUCCESS) *pctx = number(hStream) > 2 ? owner_of(Owned::stream, number(hStream)) : context;
  return r;
}

CUresult cuStreamGetCtx_v2(CUstream hStream, CUcontext* pCtx, CUgreenCtx* pGreenCtx) {
  if (pGreenCtx != nullptr) *pGreenCtx = nullptr;
  return api::cuStreamGetCtx(hStream, pCtx);
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice* device) {
  StreamObject s;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult r = describe(hStream, &s);
  if (r == CUDA_SUCCESS) *device = 0;
  return r;
}

CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue* value_out) {
  return attribute(hStream, false, attr, value_out);
}

CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr, const CUstreamAttrValue* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUstreamAttrValue copy = *value;
  const CUresult result = attribute(hStream, true, attr, &copy);
  if (result == CUDA_SUCCESS && attr == CU_STREAM_ATTRIBUTE_PRIORITY) {
    if (StreamObject* object = streams().find(number(hStream))) object->priority = copy.priority;
  }
  return result;
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src) {
  wire::StreamCopyAttributes command{};
  if (CUresult r = stream_on_wire(dst, &command.to); r != CUDA_SUCCESS) return r;
  if (CUresult r = stream_on_wire(src, &command.from); r != CUDA_SUCCESS) return r;
  return call(command);
}

CUresult cuEventDestroy_v2(CUevent hEvent) {
  if (!events().retire(number(hEvent))) return CUDA_ERROR_INVALID_HANDLE;
  disown(Owned::event, number(hEvent));
  wire::EventDestroy command{};
  command.event = number(hEvent);
  const CUresult result = post(command);
  events().recycle(number(hEvent));
  return result;
}

CUresult cuEventSynchronize(CUevent hEvent) {
  wire::EventSynchronize command{};
  if (CUresult r = event_on_wire(hEvent, &command.event); r != CUDA_SUCCESS) return r;
  return call(command);
}

}  // namespace api
}  // namespace tfusion::hook
