// What an instruction handler sees: the rows of the running frame, which lanes take part, and the memory
// windows.
//
// Owned by a Gang. Handlers live in lane_*.hpp (compiled once per instruction set) and in *_handlers.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "../address_space.hpp"
#include "instruction.hpp"
#include "program.hpp"

namespace tfusion::software::ptx {

constexpr std::uint32_t kWarp = 32;
constexpr std::uint32_t kMaxWarps = 8;  // of a gang
constexpr std::uint32_t kMaxLanes = kWarp * kMaxWarps;

// Generic addresses of what is not global memory. They lie above every address that AddressSpace can allow.
constexpr std::uint64_t kWindowBytes = std::uint64_t{1} << 40;
constexpr std::uint64_t kSharedWindow = std::uint64_t{1} << 47;
constexpr std::uint64_t kLocalWindow = kSharedWindow + kWindowBytes;
constexpr std::uint64_t kParamWindow = kLocalWindow + kWindowBytes;
constexpr std::uint64_t kFunctionWindow = kParamWindow + kWindowBytes;
constexpr std::uint64_t kFunctionStride = 16;  // function number n has address kFunctionWindow + n * stride

// Thrown by a handler; the launch ends with it.
struct Fault {
  Outcome outcome;
  std::uint32_t lane;
  std::string what;
};

class Launch;

struct Lanes {
  std::byte* rows = nullptr;  // of the running frame
  std::uint32_t width = 0;    // lanes, a multiple of kWarp
  std::uint32_t warps = 0;
  std::uint32_t exec[kMaxWarps] = {};  // which lanes take part
  std::uint32_t fill[kMaxWarps] = {};  // exec and lanes whose rows nobody reads: handlers without side
                                       // effects may compute these too
  std::uint32_t live[kMaxWarps] = {};  // lanes that exist and did not exit

  const AddressSpace* memory = nullptr;
  std::byte* shared = nullptr;
  std::uint64_t shared_bytes = 0;
  std::byte* local = nullptr;  // lane n's local memory begins at local + n * local_stride
  std::uint64_t local_stride = 0;
  std::uint64_t local_bytes = 0;  // that a lane may touch
  std::uint64_t local_base = 0;   // where the running frame begins in it
  const std::byte* params = nullptr;
  std::uint64_t param_bytes = 0;
  const std::uint32_t* row_list = nullptr;  // FunctionCode::rows

  std::uint64_t exchange[kMaxLanes] = {};  // what the lanes of an exchange brought
  std::uint32_t peers[kMaxWarps] = {};     // the lanes whose values are in it

  Launch* launch = nullptr;
  std::uint32_t first_thread = 0;       // the number, in the block, of lane 0
  std::uint32_t gang = 0;               // number of the gang in the block
  std::uint32_t block[3] = {};          // %ctaid
  const std::uint32_t* thread[3] = {};  // %tid of each lane

  template <class T>
  T* row(std::uint32_t offset) const {
    return reinterpret_cast<T*>(rows + static_cast<std::size_t>(offset) * width);
  }
};

// Host address of [address, address + bytes) as seen by a lane, or Fault. `address` is an offset for shared,
// local and param, and a device address else.
std::byte* resolve(const Lanes& lanes, Space space, std::uint32_t lane, std::uint64_t address,
                   std::uint32_t bytes, bool write);

[[noreturn]] void misaligned(std::uint32_t lane, std::uint64_t address, std::uint32_t bytes, Space space,
                             bool write);

}  // namespace tfusion::software::ptx
