// The stream functions.
#include "stream.hpp"

#include <algorithm>

#include "entry.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

std::shared_ptr<Stream> stream_of(const Context& context, CUstream handle) {
  if (handle == nullptr || handle == CU_STREAM_LEGACY) return context.legacy_stream;
  if (handle == CU_STREAM_PER_THREAD) return context.per_thread_stream;
  return driver().handles.get<Stream>(number_of(handle));
}

std::shared_ptr<Context> context_of(const Stream& stream) {
  return driver().handles.get<Context>(stream.owner, CUDA_ERROR_CONTEXT_IS_DESTROYED);
}

CUresult finish(const Context& context, std::uint64_t number) {
  driver().queue.wait(number);
  return context.status();
}

namespace {

CUresult create_stream(CUstream* stream, unsigned flags, int priority) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(stream != nullptr && (flags & ~static_cast<unsigned>(CU_STREAM_NON_BLOCKING)) == 0);
    static std::atomic<unsigned long long> next_id{16};
    const int kept = std::clamp(priority, kGreatestStreamPriority, 0);
    *stream = handle_of<CUstream>(
        *driver().handles.add(std::make_shared<Stream>(context->handle, flags, kept, next_id.fetch_add(1))));
  });
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuStreamCreate(CUstream* phStream, unsigned int Flags) {
  return create_stream(phStream, Flags, 0);
}

CUresult cuStreamCreateWithPriority(CUstream* phStream, unsigned int flags, int priority) {
  return create_stream(phStream, flags, priority);
}

CUresult cuStreamDestroy_v2(CUstream hStream) {
  return context_call([&](const std::shared_ptr<Context>&) {
    // The default streams cannot be destroyed; work on the stream goes on.
    const auto stream = driver().handles.get<Stream>(number_of(hStream));
    driver().handles.remove(number_of(hStream));
    leave(stream);
  });
}

CUresult cuStreamQuery(CUstream hStream) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto stream = stream_of(*context, hStream);
    const auto owner = context_of(*stream);
    forbid_on(*stream, *owner);
    forbid_unsafe_call();
    if (!driver().queue.passed(stream->last())) return CUDA_ERROR_NOT_READY;
    return owner->status();
  });
}

CUresult cuStreamSynchronize(CUstream hStream) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto stream = stream_of(*context, hStream);
    const auto owner = context_of(*stream);
    forbid_on(*stream, *owner);
    forbid_unsafe_call();
    return finish(*owner, stream->last());
  });
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require((Flags & ~static_cast<unsigned>(CU_EVENT_WAIT_EXTERNAL)) == 0);
    const auto stream = stream_of(*context, hStream);
    const auto event = driver().handles.get<Event>(number_of(hEvent));
    if (capture_wait(stream, *context_of(*stream), event, Flags)) return;
    // Later work of the stream comes after the event by the queue's order; until then the stream is not idle.
    stream->extend(event->recorded());
  });
}

CUresult cuStreamGetPriority(CUstream hStream, int* priority) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(priority != nullptr);
    *priority = stream_of(*context, hStream)->priority;
  });
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int* flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(flags != nullptr);
    *flags = stream_of(*context, hStream)->flags;
  });
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext* pctx) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(pctx != nullptr);
    *pctx = handle_of<CUcontext>(*context_of(*stream_of(*context, hStream)));
  });
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long* streamId) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(streamId != nullptr);
    *streamId = stream_of(*context, hStream)->id;
  });
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice* device) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(device != nullptr);
    stream_of(*context, hStream);
    *device = 0;
  });
}

CUresult cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void* userData,
                             unsigned int flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(callback != nullptr && flags == 0);
    const auto stream = stream_of(*context, hStream);
    const auto owner = context_of(*stream);
    forbid_on(*stream, *owner);  // a graph cannot hold it
    // Unlike a host function, a callback is told of a failed context.
    stream->extend(driver().queue.submit([=]() noexcept { callback(hStream, owner->status(), userData); }));
  });
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void* userData) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require(fn != nullptr);
    const auto stream = stream_of(*context, hStream);
    perform(*stream, context_of(*stream), HostCall{fn, userData});
  });
}
