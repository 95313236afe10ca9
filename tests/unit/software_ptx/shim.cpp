// A plain C interface to the PTX compiler and executor, for the tests in this folder. Not installed.
//
// One AddressSpace serves the whole process; memory of sp_allocate() is the "device memory" that kernels may
// touch.

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../../../gpu_server/software/ptx/program.hpp"

namespace {

namespace ptx = tfusion::software::ptx;

tfusion::software::AddressSpace& memory() {
  static tfusion::software::AddressSpace space;
  return space;
}

tfusion::software::TextureTable& textures() {
  static tfusion::software::TextureTable table;
  return table;
}

constexpr std::size_t kMaxGlobalBytes = std::size_t{64}
                                        << 20;  // of one variable, as a slice's limit would have it

std::size_t pages(std::size_t bytes) {
  return (bytes + 4095) / 4096 * 4096;
}

std::uint64_t allocate(std::size_t bytes) {
  const std::size_t size = pages(std::max<std::size_t>(bytes, 1));
  // A forbidden page on either side, so that an access past the end is caught.
  void* const at = mmap(nullptr, size + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  const std::uint64_t address = reinterpret_cast<std::uint64_t>(at) + 4096;
  memory().allow(address, size);
  return address;
}

struct Program {
  std::unique_ptr<ptx::Program> program;
  std::vector<std::uint64_t> addresses;
};

void put(char* to, std::size_t capacity, const std::string& text) {
  if (capacity == 0) return;
  const std::size_t length = std::min(text.size(), capacity - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

}  // namespace

extern "C" {

// nullptr and `error` set ("line N: ...") if the texts do not compile.
__attribute__((visibility("default"))) void* sp_compile(const char* const* texts, const std::size_t* lengths,
                                                        std::size_t count, char* error, std::size_t capacity,
                                                        std::size_t* line) {
  *line = 0;
  try {
    std::vector<std::string_view> views;
    for (std::size_t i = 0; i < count; ++i) views.emplace_back(texts[i], lengths[i]);
    auto result = std::make_unique<Program>();
    result->program = ptx::compile(views);
    result->program->instantiate([&](const ptx::GlobalInfo& global) {
      if (global.bytes > kMaxGlobalBytes) throw std::runtime_error("out of device memory");
      result->addresses.push_back(allocate(global.bytes));
      return result->addresses.back();
    });
    return result.release();
  } catch (const ptx::CompileError& failure) {
    *line = failure.line;
    put(error, capacity, failure.what());
  } catch (const std::exception& failure) {
    put(error, capacity, failure.what());
  }
  return nullptr;
}

__attribute__((visibility("default"))) void sp_destroy(void* program) {
  delete static_cast<Program*>(program);
}

__attribute__((visibility("default"))) long sp_kernel(void* program, const char* name, std::uint64_t* facts) {
  const auto kernels = static_cast<Program*>(program)->program->kernels();
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    if (kernels[i].name != name) continue;
    facts[0] = kernels[i].parameter_bytes;
    facts[1] = kernels[i].static_shared_bytes;
    facts[2] = kernels[i].local_bytes;
    facts[3] = kernels[i].max_threads_per_block;
    facts[4] = kernels[i].parameters.size();
    return static_cast<long>(i);
  }
  return -1;
}

// Offset and size of a kernel's parameter.
__attribute__((visibility("default"))) void sp_parameter(void* program, std::size_t kernel, std::size_t index,
                                                         std::uint64_t* out) {
  const auto& parameter = static_cast<Program*>(program)->program->kernels()[kernel].parameters[index];
  out[0] = parameter.offset;
  out[1] = parameter.bytes;
}

// Address and size of a global variable; address 0 if there is none of that name.
__attribute__((visibility("default"))) void sp_global(void* program, const char* name, std::uint64_t* out) {
  auto* const p = static_cast<Program*>(program);
  const auto globals = p->program->globals();
  out[0] = 0;
  for (std::size_t i = 0; i < globals.size(); ++i) {
    if (globals[i].name != name) continue;
    out[0] = p->addresses[i];
    out[1] = globals[i].bytes;
    out[2] = globals[i].constant ? 1 : 0;
  }
}

__attribute__((visibility("default"))) std::uint64_t sp_allocate(std::size_t bytes) {
  return allocate(bytes);
}
__attribute__((visibility("default"))) void sp_free(std::uint64_t address, std::size_t bytes) {
  const std::size_t size = pages(std::max<std::size_t>(bytes, 1));
  memory().forbid(address, size);
  munmap(reinterpret_cast<void*>(address - 4096), size + 8192);
}

// A texture or surface object, as device.py's Texture lays it out.
struct TextureDescription {
  std::uint32_t surface, layered, linear_memory, channel, channels, levels;
  std::uint32_t addressing[3];
  std::uint32_t linear_filter, linear_levels, normalised_coordinates, normalised_values;
  float level_bias, least_level, greatest_level;
  float border[4];
};
struct LevelDescription {
  std::uint64_t base, width, height, depth, pitch, slice;
};
__attribute__((visibility("default"))) std::uint64_t sp_texture(const TextureDescription* d,
                                                                const LevelDescription* levels) {
  using namespace tfusion::software;
  auto object = std::make_unique<TextureObject>();
  object->surface = d->surface != 0;
  object->layered = d->layered != 0;
  object->linear_memory = d->linear_memory != 0;
  object->channel = static_cast<Channel>(d->channel);
  object->channels = static_cast<std::uint8_t>(d->channels);
  for (std::uint32_t i = 0; i < d->levels; ++i) {
    object->levels.push_back({levels[i].base, static_cast<std::uint32_t>(levels[i].width),
                              static_cast<std::uint32_t>(levels[i].height),
                              static_cast<std::uint32_t>(levels[i].depth), levels[i].pitch, levels[i].slice});
  }
  for (int i = 0; i < 3; ++i) object->addressing[i] = static_cast<Addressing>(d->addressing[i]);
  object->linear_filter = d->linear_filter != 0;
  object->linear_levels = d->linear_levels != 0;
  object->normalised_coordinates = d->normalised_coordinates != 0;
  object->normalised_values = d->normalised_values != 0;
  object->level_bias = d->level_bias;
  object->least_level = d->least_level;
  object->greatest_level = d->greatest_level;
  std::copy_n(d->border, 4, object->border);
  return textures().add(std::move(object));
}
__attribute__((visibility("default"))) void sp_forget_texture(std::uint64_t value) {
  textures().remove(value);
}

// Runs a kernel and returns its Outcome. stop_after_ms: raise the stop flag after this time, 0: never.
__attribute__((visibility("default"))) int sp_launch(void* program, std::size_t kernel, const unsigned* grid,
                                                     const unsigned* block, std::size_t shared,
                                                     const void* parameters, std::size_t bytes,
                                                     unsigned stop_after_ms, char* detail,
                                                     std::size_t detail_capacity, char* printed,
                                                     std::size_t printed_capacity, double* stop_delay_s) {
  std::atomic<bool> stop{false};
  std::string output;
  ptx::LaunchConfig config{};
  std::copy_n(grid, 3, config.grid);
  std::copy_n(block, 3, config.block);
  config.dynamic_shared_bytes = shared;
  config.parameters = {static_cast<const std::byte*>(parameters), bytes};
  config.print = [&](std::string_view text) { output += text; };
  config.stop = &stop;
  config.textures = &textures();
  std::chrono::steady_clock::time_point raised{};
  std::thread stopper;
  std::mutex mutex;
  std::condition_variable finished;
  bool done = false;
  if (stop_after_ms != 0) {
    stopper = std::thread([&] {
      std::unique_lock lock(mutex);
      if (finished.wait_for(lock, std::chrono::milliseconds(stop_after_ms), [&] { return done; })) return;
      raised = std::chrono::steady_clock::now();
      stop.store(true);
    });
  }
  const ptx::LaunchReport report = static_cast<Program*>(program)->program->launch(kernel, config, memory());
  const auto ended = std::chrono::steady_clock::now();
  {
    const std::lock_guard lock(mutex);
    done = true;
  }
  finished.notify_all();
  if (stopper.joinable()) stopper.join();
  *stop_delay_s =
      raised.time_since_epoch().count() == 0 ? 0.0 : std::chrono::duration<double>(ended - raised).count();
  put(detail, detail_capacity, report.detail);
  put(printed, printed_capacity, output);
  return static_cast<int>(report.outcome);
}

}  // extern "C"
