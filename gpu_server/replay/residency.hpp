// The physical memory of a session: how much of it is on the GPU, and its way to the host and back. What
// comes back lies at the addresses it had, so pointers stay good wherever they are kept.
//
// Everything moves between two commands of a session whose work on the GPU is over. A piece leaves the GPU
// only after its copy has arrived, and its room on the host is kept until the copy back has: a swap that
// fails leaves the contents where they were.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "device.hpp"
#include "host_store.hpp"
#include "turn.hpp"

namespace tfusion::replay {

// Physical memory that moves as a whole.
struct Piece {
  CUmemGenericAllocationHandle memory = 0;  // 0: swapped out
  std::uint64_t bytes = 0;
  std::vector<HostRun> host{};  // where the contents lie meanwhile
};

// Where a piece, or a part of it, is mapped.
struct Place {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;  // in the piece
  CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
};

struct MappedPiece {
  Piece* piece;
  std::vector<Place> places;
};

struct SwapSettings {
  std::string spill_folder{};  // for what the pinned store does not hold; empty: nothing goes to disk
  // Most that moves as a whole: large pieces are quick to map, small ones leave more of a small GPU to
  // others.
  std::uint64_t piece_bytes = HostStore::kMostBlockPages * HostStore::kPageBytes;
};

class Residency {
 public:
  Residency(Device& device, Turn& turn, const SwapSettings& settings);

  std::uint64_t resident_bytes() const { return resident_bytes_; }
  std::uint64_t swapped_bytes() const { return swapped_bytes_; }
  HostStore& store() { return store_; }
  std::uint64_t piece_bytes() const { return piece_bytes_; }

  // Physical memory that the session made or ended; `fixed`: what never moves.
  void add(std::uint64_t bytes, bool fixed = false);
  void remove(std::uint64_t bytes, bool fixed = false);

  // Creates a piece's memory and maps it everywhere; what was mapped of it is undone after an error.
  CUresult create(Piece& piece, std::span<const Place> places);
  // The driver did not take memory back, or addresses: nobody knows any more what is where.
  bool broken() const { return broken_; }

  enum class Step { nothing, moved, broken };
  // Goes on with what is under way, and begins what there is room for: out until no more than `allowance` is
  // resident, or in, if `bring_in`, as long as no more is. `pieces` gives those of the session; it is asked
  // when a move begins, so it must not change before moving() says that it is over.
  template <typename Pieces>
  Step step(std::uint64_t allowance, bool bring_in, Pieces pieces) {
    if (flights_.empty()) {
      pieces_.clear();  // of a move that is over: they may be gone
      const bool out = out_wanted(allowance);
      if (given_up_ || !(out || in_wanted(bring_in, allowance))) return Step::nothing;
      begin(out, pieces());
    }
    return go_on(allowance, bring_in);
  }
  bool moving() const { return !flights_.empty(); }
  // The last attempt to move a piece failed: no room on the host (out), none on the GPU (in), or the driver's
  // error. Nothing begins after one before try_again().
  bool last_failed() const { return last_failed_; }
  bool given_up() const { return given_up_; }
  void try_again() { given_up_ = false; }

  // Around a reset of the context. Precondition: nothing is swapped out, nothing moves.
  void before_reset();
  void after_reset();

 private:
  struct Flight {
    MappedPiece mapped;
    std::vector<HostRun> host{};
    // For the copy the piece is mapped at `scratch`, or one of its places is made accessible.
    CUdeviceptr scratch = 0;
    const Place* place = nullptr;
    CUevent event = nullptr;
  };

  bool out_wanted(std::uint64_t allowance) const { return resident_bytes_ > allowance; }
  bool in_wanted(bool bring_in, std::uint64_t allowance) const {
    return bring_in && swapped_bytes_ > 0 && resident_bytes_ < allowance;
  }
  void begin(bool out, std::vector<MappedPiece> pieces);
  Step go_on(std::uint64_t allowance, bool bring_in);
  bool take_off_out(const MappedPiece& mapped);
  bool take_off_in(const MappedPiece& mapped);
  void land_out(Flight& flight, CUresult result);
  void land_in(Flight& flight, CUresult result);
  void drop(const MappedPiece& mapped);
  CUresult copy(Flight& flight);
  CUresult map_scratch(const Piece& piece, CUdeviceptr* scratch);
  void end_copy(Flight& flight);
  void unmap(CUdeviceptr address, std::uint64_t bytes);
  CUresult map(const Piece& piece, const Place& place);
  CUresult set_access(CUdeviceptr address, std::uint64_t bytes, CUmemAccess_flags flags);
  void fail() { given_up_ = last_failed_ = true; }
  void tell();

  Device& device_;
  Turn& turn_;
  const std::uint64_t piece_bytes_;
  HostStore store_;
  std::uint64_t resident_bytes_ = 0, fixed_bytes_ = 0, swapped_bytes_ = 0;
  std::uint64_t leaving_bytes_ = 0;  // resident, of flights out
  bool given_up_ = false, last_failed_ = false, broken_ = false;
  std::vector<MappedPiece> pieces_;  // that may take off, the next one last
  std::deque<Flight> flights_;       // oldest first
  bool out_ = false;                 // the direction of all of them
  CUstream stream_ = nullptr;
  std::vector<CUevent> events_;
  std::uint64_t begun_ns_ = 0, moved_bytes_ = 0;
};

}  // namespace tfusion::replay
