// One client process's session: its objects, its memory, its replies, and the loop that replays its commands.
//
// Everything here runs on the replay thread, but stop(), which any thread may call. A fault of the client's
// commands ends the session with a sentence (protocol_error) and nothing else: the worker stays within its
// own memory.
#pragma once

#include <atomic>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "account.hpp"
#include "array.hpp"
#include "commands.hpp"
#include "device.hpp"
#include "device_text.hpp"
#include "graphs.hpp"
#include "host_functions.hpp"
#include "image_cache.hpp"
#include "link.hpp"
#include "mapping_budget.hpp"
#include "object_table.hpp"
#include "pace.hpp"
#include "pending.hpp"
#include "residency.hpp"
#include "ring_reader.hpp"
#include "turn.hpp"

namespace tfusion::replay {

struct Module {
  CUmodule module = nullptr;  // one of the two
  CUlibrary library = nullptr;
  std::shared_ptr<const Image> image;              // the driver may read it for as long as the module lives
  std::map<std::uint64_t, std::uint64_t> globals;  // address -> bytes, of those the client asked for
  bool in_graph = false;                           // see Session::keep_for_graphs()
};

struct Kernel {
  CUfunction function = nullptr;
  CUkernel kernel = nullptr;  // of a library's; nullptr for a module's
  std::uint64_t module = 0;
};

struct Mapping {
  std::uint64_t bytes;
  std::vector<Piece> pieces{};  // one behind the other
  // Handle of the client's own allocation that is mapped here; then there are no pieces.
  std::uint64_t physical = 0;
  std::uint64_t offset = 0;  // in that allocation
  CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
};

// Physical memory of the virtual memory API.
struct Physical {
  Piece piece;
  std::uint32_t mappings = 0;
  bool held = true;  // by the client; what it released lives on in its mappings
};

// How a session ended, for the worker's control side.
struct Ending {
  std::string reason;  // closed, client_gone, protocol_error, device_error, stopped
  std::string detail;  // a sentence
};

class Session {
 public:
  // `text`: what takes the output of this process's kernels; nullptr if nothing does.
  Session(Device& device, SliceAccount& account, Turn& turn, std::string cache_folder,
          const SwapSettings& swap = {}, DeviceText* text = nullptr);
  ~Session();

  // Replays until the session ends.
  Ending run();

  // Ends the session soon; from any thread. `sentence` is what the client will read.
  void stop(const std::string& reason, const std::string& sentence);
  // The daemon has given a new order; from any thread.
  void nudge();

  // --- for replays, hand-written and generated
  // ---------------------------------------------------------------------

  const DriverFunctions& driver() const { return device_.driver().functions(); }
  Device& device() { return device_; }
  PendingWork& pending() { return pending_; }
  ImageCache& images() { return images_; }
  HostFunctions& host_functions() { return host_functions_; }
  void forward_text() const;  // what kernels printed, to the client
  void note_image(std::span<const std::byte> image) { kernels_print_ |= may_print(image); }

  // Whether the driver has what graphs need.
  bool has_graphs() const;
  // Whether work in this stream would be captured, or break a capture. Quick when nothing is captured.
  bool is_capturing(CUstream stream) const;
  // Whether a capture goes into this graph, or one that it is in: then it must not lose nodes, nor end.
  bool is_captured_into(std::uint64_t graph);
  // Whether an executable of so many nodes may be launched: in a capture its nodes become the graph's.
  bool may_launch_graph(CUstream stream, std::uint64_t weight);
  void capture_began(CUstream stream, std::uint64_t into);
  // The number that the capture's graph has already, or 0.
  std::uint64_t capture_ended(CUstream stream, CUresult result);
  // The number of the graph that a stream's capture goes into; 0 if there are too many graphs, or it is no
  // capture of the client's.
  std::uint64_t capture_graph(CUstream stream, CUgraph graph);
  // Says that a graph has, or may have, a node with this kernel or event; see keep_for_graphs().
  void put_in_graph(const Kernel& kernel);
  void put_in_graph(CUevent event) { graph_events_.insert(event); }
  // Of an event that ends.
  bool was_in_graph(CUevent event) { return graph_events_.erase(event) > 0; }
  // The client ended an object that graphs may name. A graph, and what was made from it, keeps the driver's
  // handle, so `end` is called when there is no graph and no executable any more: now, or later.
  void keep_for_graphs(std::function<void()> end);
  // The client's handle of a kernel or event of the driver's; 0 if it has none (any more).
  std::pair<std::uint64_t, CUfunction> kernel_of(CUfunction function, CUkernel kernel);
  std::uint64_t event_handle(CUevent event);
  protocol::SharedMemory shared() const { return device_.shared(); }

  // The driver's object behind a client's handle. If there is none: a reply or note of
  // CUDA_ERROR_INVALID_HANDLE, or the session's end if the number is no handle of that kind at all; then
  // false.
  bool resolve(const wire::CommandHeader& header, std::uint64_t handle, CUstream* out);
  bool resolve(const wire::CommandHeader& header, std::uint64_t handle, CUevent* out);
  bool resolve(const wire::CommandHeader& header, std::uint64_t handle, Module** out);
  bool resolve(const wire::CommandHeader& header, std::uint64_t handle, Kernel** out);
  bool resolve(const wire::CommandHeader& header, std::uint64_t handle, Link** out);
  bool resolve(const wire::CommandHeader& header, std::uint64_t handle, Physical** out);
  bool resolve(const wire::CommandHeader& header, std::uint64_t handle, Array** out);
  bool resolve(const wire::CommandHeader& header, std::uint64_t handle, MipmappedArray** out);

  // Whether the client may give this handle to a new object; ends the session if not. If it has as many
  // objects of the kind as it may have: a reply or note of CUDA_ERROR_OUT_OF_MEMORY, and false.
  bool may_create(const wire::CommandHeader& header, std::uint64_t handle, protocol::HandleKind kind);
  void created(std::uint64_t handle, CUstream stream, CUresult result);
  void created(std::uint64_t handle, CUevent event, CUresult result);

  // An error of a command of either kind.
  void refuse(const wire::CommandHeader& header, CUresult result);
  // The end of an asynchronous command: an error is kept for the next reply, or sticks to the context.
  void note(const wire::CommandHeader& header, CUresult result);
  // The end of a synchronous one. The payload is fixed bytes, then `more`.
  void reply(const wire::CommandHeader& header, CUresult result, const void* fixed = nullptr,
             std::size_t fixed_bytes = 0, std::span<const std::byte> more = {});
  void reply_raw(const wire::CommandHeader& header, std::int32_t result);
  // Where a payload is put by the GPU itself, before reply_in_place.
  std::byte* reply_payload(const wire::CommandHeader& header) {
    return shared().slot(header.reply_slot).payload;
  }
  void reply_in_place(const wire::CommandHeader& header, CUresult result, std::uint32_t payload_bytes);

  void protocol_error(const std::string& sentence);

  // The worker has the up chunk until it releases it; ends the session and says false if the worker has it
  // already.
  bool hold_chunk(std::uint32_t chunk);
  void release_chunk(std::uint32_t chunk);

  // Whether [address, address + bytes) is memory that this session may copy to and from: its device arena,
  // its pinned memory, or a variable of one of its modules.
  bool may_copy(std::uint64_t address, std::uint64_t bytes);

  // GPU memory on the slice's account, and on this session's allowance, for which it may have to wait;
  // `fixed`: memory that never leaves the GPU. False: CUDA_ERROR_OUT_OF_MEMORY, or the session ends.
  bool claim(std::uint64_t bytes, bool fixed = false);
  void give_back(std::uint64_t bytes, bool fixed = false);
  // Kernels were launched in a stream; see pace.hpp.
  void launched(CUstream stream, std::uint64_t count) {
    if (pace_.marks()) pace_.launched(stream, count);
  }

  // Memory of the arena and of the host arena.
  CUresult commit(std::uint64_t address, std::uint64_t bytes);
  CUresult decommit(std::uint64_t address);
  CUresult commit_host(std::uint64_t offset, std::uint64_t bytes);
  CUresult decommit_host(std::uint64_t offset);
  bool may_commit(std::uint64_t address, std::uint64_t bytes) const;  // nothing there yet
  bool may_commit_host(std::uint64_t offset, std::uint64_t bytes) const;
  bool is_commit(std::uint64_t address, std::uint64_t bytes) const;  // exactly one earlier commit
  bool is_mapped(std::uint64_t address, std::uint64_t bytes) const;  // exactly one mapping of an allocation
  bool is_host_range(std::uint64_t offset, std::uint64_t bytes) const;
  bool is_whole_mappings(std::uint64_t address,
                         std::uint64_t bytes) const;                 // one or more such, without a gap
  bool committed(std::uint64_t address, std::uint64_t bytes) const;  // accessible memory everywhere in it
  bool committed_host(std::uint64_t offset, std::uint64_t bytes) const;
  CUresult map_physical(Physical& physical, std::uint64_t handle, std::uint64_t address, std::uint64_t bytes,
                        std::uint64_t offset);
  CUresult unmap_physical(std::uint64_t address);
  // Precondition: is_whole_mappings(address, bytes).
  CUresult set_access(std::uint64_t address, std::uint64_t bytes, CUmemAccess_flags flags);
  CUresult create_physical(std::uint64_t handle, std::uint64_t bytes);
  CUresult drop_physical(std::uint64_t handle);  // ends it when nothing holds it any more
  void publish_use();

  // Those whose work a wait for the whole context waits for: the client's, and those it destroyed with work
  // in them.
  std::vector<CUstream> all_streams();
  // The client destroyed it: its work runs on, and only then the driver's stream ends.
  void end_stream(CUstream stream);
  CUresult reset();  // cuDevicePrimaryCtxReset
  void unload(Module& module);
  void release_arrays();  // all of them, and the textures and surfaces

  // The bounds are far above what programs use, and keep what a session costs the host within a few hundred
  // MiB.
  ObjectTable<CUstream> streams{protocol::HandleKind::stream, 1u << 14};
  ObjectTable<CUevent> events{protocol::HandleKind::event, 1u << 18};
  ObjectTable<Module> modules{protocol::HandleKind::module, 1u << 14};
  ObjectTable<Kernel> kernels{protocol::HandleKind::kernel, 1u << 20};
  ObjectTable<std::unique_ptr<Link>> links{protocol::HandleKind::link, 1u << 8};
  GraphTables graphs;
  ObjectTable<Physical> allocations{protocol::HandleKind::allocation, 1u << 16};
  ObjectTable<Array> arrays{protocol::HandleKind::array, 1u << 16};
  ObjectTable<MipmappedArray> mipmapped_arrays{protocol::HandleKind::mipmapped_array, 1u << 12};
  std::set<CUtexObject> textures;  // the driver's own values
  std::set<CUsurfObject> surfaces;

 private:
  template <typename Object>
  Object* look_up(const wire::CommandHeader& header, std::uint64_t handle, ObjectTable<Object>& table,
                  protocol::HandleKind kind);
  CUresult make_text_stream();
  // What a session waits for besides its turn.
  struct Wait {
    std::uint64_t wanted_bytes = 0;
    bool has_command = false;    // with one in hand, which is not to be replayed before
    std::uint64_t until_ns = 0;  // no longer than this, if the GPU does not finish; 0: as long as it takes
  };
  bool hold(const Wait& wait);
  void obey();
  bool wait_for_turn(wire::Opcode opcode);
  bool may_go_on(std::uint64_t wanted_bytes) const;
  void take_order();
  bool move_memory();
  void fall_asleep(bool client_waits, std::uint32_t nudges, std::uint64_t nap_ns);
  bool check_pace();
  void keep_pace(wire::Opcode opcode);
  void keep_mapping_pace();
  bool quiet();
  std::vector<MappedPiece> mapped_pieces();
  CUresult unmap(std::uint64_t address, std::uint64_t bytes);
  void end_broken();  // what is mapped where is not known any more
  void ring_if_due(std::uint64_t now);
  void replay_all();
  void before_command_in_capture(wire::Opcode opcode, std::span<const std::byte> bytes);
  void abandon_captures();
  void end_kept();
  bool take_reply_slot(const Command& command);
  void idle_wait();
  void tell_calls();
  void look_for_work();
  void release_ended_streams();
  void finish(const Ending& ending);
  void complete(const wire::CommandHeader& header, std::int32_t result, std::uint32_t payload_bytes);

  Device& device_;
  SliceAccount& account_;
  Turn& turn_;
  Residency residency_;
  Pace pace_;
  MappingBudget mappings_budget_;
  std::uint64_t stop_since_ns_ = 0;  // since when the session is to stop; 0: it may run
  std::uint64_t patience_ns_ = 0;    // for how long from then on no work begins, if the GPU does not finish
  std::uint64_t want_number_ = 0;    // of the last memory that was waited for
  bool ring_due_ = false;            // the daemon wants to know that the GPU has work of this session
  std::uint64_t rung_ns_ = 0;
  std::atomic<std::uint32_t> nudges_{0};  // futex word, for sleep from which the client does not wake
  ImageCache images_;
  RingReader ring_;
  PendingWork pending_;
  HostFunctions host_functions_;
  DeviceText* const text_;
  std::map<CUstream, std::uint64_t> captures_;  // stream that began to capture -> number of the graph, or 0
  std::uint32_t captured_commands_ = 0;         // since there have been captures
  static constexpr std::uint32_t kMostCaptured = 1u << 20;
  std::uint64_t captured_weight_ = 0;  // of executables launched in captures since then
  std::set<CUevent> graph_events_;
  std::vector<std::function<void()>> kept_;  // the ends of what graphs may name
  static constexpr std::size_t kMostKept = 1u << 16;
  CUstream text_stream_ = nullptr;                      // nothing ever runs in it; see forward_text()
  bool kernels_print_ = false;                          // some kernel that was ever loaded may
  std::map<std::uint64_t, Mapping> mappings_;           // arena address -> memory behind it
  std::map<std::uint64_t, std::uint64_t> host_ranges_;  // host arena offset -> bytes, registered
  std::uint64_t host_bytes_ = 0;
  // What pending work may name is bounded by these: a slot or chunk that waits cannot be named once more.
  std::bitset<protocol::kReplySlots> slot_waits_;
  std::bitset<protocol::kUpChunks> chunk_held_;
  static constexpr std::size_t kMostEndedStreams = 1024;
  std::vector<CUstream> ended_streams_;
  std::uint32_t deferred_error_ = 0;  // CUresult of an asynchronous command, told by the next reply
  std::uint32_t sticky_error_ = 0;
  std::optional<Ending> ending_;  // the replay thread's own
  std::uint32_t idle_turns_ = 0;
  std::uint64_t idle_since_ns_ = 0;
  // Streams that held work at the last look, which was made in the idle time that began then.
  std::vector<CUstream> unfinished_;
  std::uint64_t looked_in_ns_ = 0;

  std::atomic<bool> stopping_{false};
  std::mutex stop_mutex_;
  Ending stop_request_;
  std::uint64_t call_count_ = 0;
  std::uint32_t refused_count_ = 0;
};

}  // namespace tfusion::replay
