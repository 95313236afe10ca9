// Work of the GPU that a reply, or a staging chunk, waits for. The replay thread never blocks on the GPU: a
// waiting call becomes an event here, and the thread goes on with other client threads' commands.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "driver.hpp"

namespace tfusion::replay {

class PendingWork {
 public:
  using Done = std::function<void(CUresult)>;

  explicit PendingWork(const Driver& driver) : driver_(driver) {}

  // Calls done(result) when everything that `stream` holds now is over: at once if it is already.
  void after_stream(CUstream stream, Done done);
  // The same for the work recorded in an event of the client's.
  void after_event(CUevent event, Done done);
  // The same for several streams and the default stream together: the whole context.
  void after_all(const std::vector<CUstream>& streams, Done done);

  // Calls done() of what is over; false if nothing was. Cheap when nothing is pending.
  bool poll();
  bool empty() const { return entries_.empty(); }

  // The client destroys an event that another of its threads waits for: the wait is over, as on a GPU of its
  // own.
  void forget_event(CUevent event);

  // Gives everything up with `result`, e.g. because the context is reset.
  void abandon(CUresult result);

 private:
  struct Entry {
    std::vector<CUevent> events;  // ours, from the pool; or one of the client's
    bool ours;
    CUstream
        stream;  // for ours of one stream: a later entry of the same stream is not over before an earlier one
    Done done;
  };

  CUevent take_event();
  void finish(Entry& entry, CUresult result);

  const Driver& driver_;
  std::vector<Entry> entries_;
  std::vector<CUevent> pool_;
};

}  // namespace tfusion::replay
