// The event functions.
#include "event.hpp"

#include <time.h>

#include "entry.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

std::int64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

namespace {

CUresult record(CUevent handle, CUstream stream_handle, unsigned flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    require((flags & ~static_cast<unsigned>(CU_EVENT_RECORD_EXTERNAL)) == 0);
    const auto event = driver().handles.get<Event>(number_of(handle));
    const auto stream = stream_of(*context, stream_handle);
    require(event->owner == stream->owner, CUDA_ERROR_INVALID_HANDLE);
    const auto owner = context_of(*stream);
    if (captures(*stream, *owner)) {
      if (flags == CU_EVENT_RECORD_EXTERNAL) {
        capture_work(*stream, *owner, std::make_shared<const Work>(EventRecord{event}));
      } else {
        capture_record(*stream, *event);
      }
      return;
    }
    require(flags == 0);  // an external record is one that a graph makes
    // Passed whether or not the context has failed: nobody may wait for it for ever.
    const std::uint64_t number = driver().queue.submit(
        [event]() noexcept { event->passed_ns.store(now_ns(), std::memory_order_release); });
    event->set_recorded(number);
    event->captured.store(false, std::memory_order_release);
    stream->extend(number);
  });
}

CUresult elapsed(float* milliseconds, CUevent start_handle, CUevent end_handle) {
  return context_call([&](const std::shared_ptr<Context>&) {
    require(milliseconds != nullptr);
    const auto start = driver().handles.get<Event>(number_of(start_handle));
    const auto end = driver().handles.get<Event>(number_of(end_handle));
    for (const auto& event : {start, end}) {
      require_not_captured(*event);
      require(event->recorded() != 0 && (event->flags & CU_EVENT_DISABLE_TIMING) == 0,
              CUDA_ERROR_INVALID_HANDLE);
    }
    if (!driver().queue.passed(start->recorded()) || !driver().queue.passed(end->recorded())) {
      return CUDA_ERROR_NOT_READY;
    }
    *milliseconds = static_cast<float>(static_cast<double>(end->passed_ns.load(std::memory_order_acquire) -
                                                           start->passed_ns.load(std::memory_order_acquire)) /
                                       1e6);
    return CUDA_SUCCESS;
  });
}

}  // namespace
}  // namespace tfusion::software::driver

using namespace tfusion::software::driver;

CUresult cuEventCreate(CUevent* phEvent, unsigned int Flags) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    constexpr unsigned kKnown = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    require(phEvent != nullptr && (Flags & ~kKnown) == 0);
    require((Flags & CU_EVENT_INTERPROCESS) == 0, CUDA_ERROR_NOT_SUPPORTED);
    *phEvent = handle_of<CUevent>(*driver().handles.add(std::make_shared<Event>(context->handle, Flags)));
  });
}

CUresult cuEventDestroy_v2(CUevent hEvent) {
  return context_call([&](const std::shared_ptr<Context>&) {
    driver().handles.get<Event>(number_of(hEvent));
    driver().handles.remove(number_of(hEvent));
  });
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream) {
  return record(hEvent, hStream, 0);
}

CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags) {
  return record(hEvent, hStream, flags);
}

CUresult cuEventQuery(CUevent hEvent) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto event = driver().handles.get<Event>(number_of(hEvent));
    require_not_captured(*event);
    forbid_unsafe_call();
    return driver().queue.passed(event->recorded()) ? context->status() : CUDA_ERROR_NOT_READY;
  });
}

CUresult cuEventSynchronize(CUevent hEvent) {
  return context_call([&](const std::shared_ptr<Context>& context) {
    const auto event = driver().handles.get<Event>(number_of(hEvent));
    require_not_captured(*event);
    forbid_unsafe_call();
    return finish(*context, event->recorded());
  });
}

CUresult cuEventElapsedTime(float* pMilliseconds, CUevent hStart, CUevent hEnd) {
  return elapsed(pMilliseconds, hStart, hEnd);
}

CUresult cuEventElapsedTime_v2(float* pMilliseconds, CUevent hStart, CUevent hEnd) {
  return elapsed(pMilliseconds, hStart, hEnd);
}
