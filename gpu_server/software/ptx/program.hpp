// A PTX module made ready to run: parsed, checked, and lowered to the executor's own form.
//
// The software GPU's driver (../driver) calls compile() at module load and launch() from its queue thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "../address_space.hpp"
#include "../texture_table.hpp"

namespace tfusion::software::ptx {

struct ParameterInfo {
  std::size_t offset;  // in the kernel's parameter block
  std::size_t bytes;
};

struct KernelInfo {
  std::string name;
  std::vector<ParameterInfo> parameters;
  std::size_t parameter_bytes = 0;
  std::size_t static_shared_bytes = 0;
  std::size_t local_bytes = 0;               // per thread
  unsigned max_threads_per_block = 1024;     // .maxntid if given
  unsigned required_threads[3] = {0, 0, 0};  // .reqntid if given
  unsigned registers = 0;                    // an estimate, for occupancy answers
};

struct GlobalInfo {
  std::string name;
  std::size_t bytes;
  std::size_t alignment;
  bool constant;
};

// Where a module's .global and .const variables were placed. Filled by the driver before instantiate().
using PlaceGlobal =
    std::function<std::uint64_t(const GlobalInfo&)>;  // returns a device address; throws on no memory

enum class Outcome {
  success,
  illegal_address,      // CUDA_ERROR_ILLEGAL_ADDRESS
  misaligned_address,   // CUDA_ERROR_MISALIGNED_ADDRESS
  trap,                 // CUDA_ERROR_LAUNCH_FAILED
  illegal_instruction,  // CUDA_ERROR_ILLEGAL_INSTRUCTION: e.g. a call through a bad function pointer
  assertion,            // CUDA_ERROR_ASSERT
  cancelled,            // the stop flag was raised
};

struct LaunchConfig {
  unsigned grid[3];
  unsigned block[3];
  std::size_t dynamic_shared_bytes = 0;
  std::span<const std::byte> parameters;   // the kernel's whole parameter block
  const TextureTable* textures = nullptr;  // nullptr: there are no texture and surface objects
  // Text from device-side printf, called from one thread at a time.
  std::function<void(std::string_view)> print;
  const std::atomic<bool>* stop =
      nullptr;  // looked at often enough that an endless kernel ends within 100 ms
};

struct LaunchReport {
  Outcome outcome = Outcome::success;
  std::string detail;  // "read of 4 bytes at 0x... by thread (3,0,0) of block (7,0,0), line 42 of the PTX"
};

// Thrown by compile(): `line` is the 1-based line of the PTX text, `what()` a sentence that names the
// instruction.
struct CompileError : std::runtime_error {
  CompileError(std::size_t line_number, const std::string& sentence)
      : std::runtime_error("line " + std::to_string(line_number) + ": " + sentence), line(line_number) {}
  std::size_t line;
};

class Program {
 public:
  virtual ~Program() = default;
  virtual std::span<const KernelInfo> kernels() const = 0;
  virtual std::span<const GlobalInfo> globals() const = 0;
  // Places and initialises the module's variables; once, before the first launch.
  virtual void instantiate(const PlaceGlobal& place) = 0;
  // Runs kernel number `kernel` to its end on the machine's cores; blocks the caller. Never throws.
  virtual LaunchReport launch(std::size_t kernel, const LaunchConfig& config, const AddressSpace& memory) = 0;
};

// Several texts are linked: an .extern of one is found among the .visible of the others.
std::unique_ptr<Program> compile(std::span<const std::string_view> texts);

}  // namespace tfusion::software::ptx
