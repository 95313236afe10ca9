// Who uses the slice, and how much of it: lists of processes, their memory, how busy they keep the GPU.
//
// The slice's own processes only, with the process ids that the caller's namespace gives them. All of them
// are compute processes; MPS and graphics have none. What nobody measured (memory traffic, video engines) is
// 0 in structures that have no other word for it.
#include <algorithm>
#include <cstring>

#include "library.hpp"
#include "observer.hpp"

using namespace tfusion;
using namespace tfusion::nvml;

namespace {

// Fills the caller's array with rows that `wanted` accepts. As NVIDIA's library: the number is told even if
// there is no room, and then kInsufficientSize is the answer.
template <typename Row, typename Wanted, typename Convert>
Result give_rows(unsigned* count, Row* rows, Wanted wanted, Convert convert) {
  protocol::Observation observation;
  if (const Result r = observe(&observation); r == kNotSupported) {
    observation.sessions = 0;  // no daemon, so no session either
  } else if (r != kSuccess) {
    return r;
  }
  const unsigned room = rows == nullptr ? 0 : *count;
  unsigned n = 0;
  for (unsigned i = 0; i < observation.sessions; ++i) {
    const protocol::ObservedSession& session = observation.rows[i];
    if (!wanted(session)) continue;
    if (n < room) rows[n] = convert(session);
    ++n;
  }
  *count = n;
  return n > room ? kInsufficientSize : kSuccess;
}

constexpr auto kAll = [](const protocol::ObservedSession&) { return true; };

template <typename Row, typename Convert>
Result give_compute_processes(Device device, unsigned* count, void* rows, Convert convert) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (count == nullptr) return kInvalidArgument;
  return give_rows(count, static_cast<Row*>(rows), kAll, convert);
}

Result give_no_processes(Device device, unsigned* count) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (count == nullptr) return kInvalidArgument;
  *count = 0;
  return kSuccess;
}

ProcessInfo info_of(const protocol::ObservedSession& session) {
  return {session.pid, session.used_bytes, kNoInstance, kNoInstance};
}

Result compute_processes(Device device, unsigned* count, void* rows) {
  return give_compute_processes<ProcessInfo>(device, count, rows, info_of);
}

unsigned busy(const protocol::ObservedSession& session) {
  return std::min(session.busy_percent, 100u);
}

}  // namespace

TFUSION_NVML Result nvmlDeviceGetComputeRunningProcesses(Device device, unsigned* count, void* rows) {
  return give_compute_processes<ProcessInfoV1>(device, count, rows,
                                               [](const protocol::ObservedSession& session) {
                                                 return ProcessInfoV1{session.pid, session.used_bytes};
                                               });
}

TFUSION_NVML Result nvmlDeviceGetComputeRunningProcesses_v2(Device device, unsigned* count, void* rows) {
  return compute_processes(device, count, rows);
}

TFUSION_NVML Result nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned* count, void* rows) {
  return compute_processes(device, count, rows);
}

#define TFUSION_NO_PROCESSES(name)                                  \
  TFUSION_NVML Result name(Device device, unsigned* count, void*) { \
    return give_no_processes(device, count);                        \
  }
TFUSION_NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses)
TFUSION_NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2)
TFUSION_NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
TFUSION_NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses)
TFUSION_NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2)
TFUSION_NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)
#undef TFUSION_NO_PROCESSES

TFUSION_NVML Result nvmlDeviceGetRunningProcessDetailList(Device device, ProcessDetailList* list) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (list == nullptr) return kInvalidArgument;
  if (list->version != version_of<ProcessDetailList>(1)) return kArgumentVersionMismatch;
  switch (list->mode) {
    case kProcessesCompute:
      return give_rows(&list->count, list->processes, kAll, [](const protocol::ObservedSession& session) {
        return ProcessDetail{session.pid, session.used_bytes, kNoInstance, kNoInstance, 0};
      });
    case kProcessesGraphics:
    case kProcessesMps:
      list->count = 0;
      return kSuccess;
    default:
      return kInvalidArgument;
  }
}

// NVIDIA's library answers kNotFound if there is no sample after the one last seen.
TFUSION_NVML Result nvmlDeviceGetProcessUtilization(Device device, ProcessSample* samples, unsigned* count,
                                                    unsigned long long since_us) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (count == nullptr) return kInvalidArgument;
  const Result result = give_rows(
      count, samples, [&](const protocol::ObservedSession& session) { return session.sampled_us > since_us; },
      [](const protocol::ObservedSession& session) {
        return ProcessSample{session.pid, session.sampled_us, busy(session), 0, 0, 0};
      });
  return result == kSuccess && *count == 0 ? kNotFound : result;
}

TFUSION_NVML Result nvmlDeviceGetProcessesUtilizationInfo(Device device, ProcessSampleList* list) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (list == nullptr) return kInvalidArgument;
  if (list->version != version_of<ProcessSampleList>(1)) return kArgumentVersionMismatch;
  const Result result = give_rows(
      &list->count, list->samples,
      [&](const protocol::ObservedSession& session) { return session.sampled_us > list->since_us; },
      [](const protocol::ObservedSession& session) {
        return ProcessSampleV1{session.sampled_us, session.pid, busy(session), 0, 0, 0, 0, 0};
      });
  return result == kSuccess && list->count == 0 ? kNotFound : result;
}

// Of the slice's processes. Others are not ours to name, and the system names them itself.
TFUSION_NVML Result nvmlSystemGetProcessName(unsigned pid, char* name, unsigned length) {
  if (const Result r = enter(); r != kSuccess) return r;
  if (name == nullptr || length == 0) return kInvalidArgument;
  protocol::Observation observation;
  if (const Result r = observe(&observation); r != kSuccess) return r == kNotSupported ? kNotFound : r;
  const protocol::ObservedSession* const begin = observation.rows;
  const protocol::ObservedSession* const end = begin + observation.sessions;
  const auto* row = std::find_if(begin, end, [&](const auto& session) { return session.pid == pid; });
  if (row == end) return kNotFound;
  // As NVIDIA's: a name too long for the buffer is cut.
  const std::size_t n = std::min<std::size_t>(std::strlen(row->name), length - 1);
  std::memcpy(name, row->name, n);
  name[n] = '\0';
  return kSuccess;
}

// The slice's processes together. Each one's time counts, so that two busy ones make at most 100. How much of
// the time memory was read or written nobody measures: 0.
TFUSION_NVML Result nvmlDeviceGetUtilizationRates(Device device, Utilization* rates) {
  if (const Result r = enter(device); r != kSuccess) return r;
  if (rates == nullptr) return kInvalidArgument;
  protocol::Observation observation;
  if (const Result r = observe(&observation); r != kSuccess) return r;
  unsigned sum = 0;
  for (unsigned i = 0; i < observation.sessions; ++i) sum += busy(observation.rows[i]);
  *rates = {std::min(sum, 100u), 0};
  return kSuccess;
}
