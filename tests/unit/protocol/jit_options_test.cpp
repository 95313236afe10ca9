// JitOptions: what a client may tell the worker's compiler, and how much of a log fits a reply.
#include "replay/jit_options.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "check.hpp"

using tfusion::replay::JitOptions;

namespace {

std::vector<std::byte> pairs(const std::vector<std::pair<std::uint64_t, std::uint64_t>>& options) {
  std::vector<std::byte> bytes(options.size() * 16);
  for (std::size_t i = 0; i < options.size(); ++i) {
    std::memcpy(bytes.data() + i * 16, &options[i].first, 8);
    std::memcpy(bytes.data() + i * 16 + 8, &options[i].second, 8);
  }
  return bytes;
}

char* log_of(JitOptions& options, CUjit_option which) {
  for (unsigned i = 0; i < options.count(); ++i) {
    if (options.options()[i] == which) return static_cast<char*>(options.values()[i]);
  }
  return nullptr;
}

}  // namespace

TEST(known_options_pass_and_others_are_left_out) {
  JitOptions options;
  CHECK(options.read(
      pairs({{CU_JIT_MAX_REGISTERS, 32}, {CU_JIT_GLOBAL_SYMBOL_ADDRESSES, 0x1234}, {99999, 1}, {~0ull, 2}}),
      4, JitOptions::Logs::left_out));
  CHECK_EQ(options.count(), 1u);
  CHECK_EQ(options.options()[0], CU_JIT_MAX_REGISTERS);
  CHECK_EQ(reinterpret_cast<std::uintptr_t>(options.values()[0]), 32u);
}

TEST(counts_that_do_not_fit) {
  const auto two = pairs({{CU_JIT_MAX_REGISTERS, 32}, {CU_JIT_TARGET, 90}});
  for (const std::uint32_t count : {0u, 1u, 3u, 33u, 0x10000002u, 0xffffffffu}) {
    JitOptions options;
    CHECK(!options.read(two, count));
  }
  JitOptions most, more;
  CHECK(most.read(pairs(std::vector<std::pair<std::uint64_t, std::uint64_t>>(32, {CU_JIT_TARGET, 90})), 32));
  CHECK(!more.read(pairs(std::vector<std::pair<std::uint64_t, std::uint64_t>>(33, {CU_JIT_TARGET, 90})), 33));
}

TEST(a_clients_log_pointers_never_reach_the_driver) {
  JitOptions options;
  CHECK(options.read(pairs({{CU_JIT_INFO_LOG_BUFFER, 0x1000}, {CU_JIT_ERROR_LOG_BUFFER, 0x2000}}), 2,
                     JitOptions::Logs::left_out));
  CHECK_EQ(options.count(), 0u);
  CHECK(
      options.read(pairs({{CU_JIT_INFO_LOG_BUFFER, 0x1000}, {CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, ~0ull}}), 2));
  char* info = log_of(options, CU_JIT_INFO_LOG_BUFFER);
  CHECK(info != nullptr && info != reinterpret_cast<char*>(0x1000));
  if (info != nullptr) std::memset(info, 'x', JitOptions::kLogBytes);  // all of it is ours
  CHECK_EQ(reinterpret_cast<std::uintptr_t>(log_of(options, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES)),
           JitOptions::kLogBytes);
}

TEST(logs_are_kept_whether_the_program_asked_or_not) {
  JitOptions options;
  CHECK(options.read({}, 0));
  CHECK(log_of(options, CU_JIT_INFO_LOG_BUFFER) != nullptr &&
        log_of(options, CU_JIT_ERROR_LOG_BUFFER) != nullptr);
}

TEST(logs_can_be_left_out) {
  JitOptions options;
  CHECK(options.read(pairs({{CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, 100}, {CU_JIT_LOG_VERBOSE, 1}}), 2,
                     JitOptions::Logs::left_out));
  CHECK_EQ(options.count(), 1u);
}

TEST(logs_are_cut_to_the_room_and_an_error_goes_first) {
  JitOptions options;
  CHECK(options.read(pairs({{CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, 0}}), 1));
  char* info = log_of(options, CU_JIT_INFO_LOG_BUFFER);
  char* error = log_of(options, CU_JIT_ERROR_LOG_BUFFER);
  auto cut = [&](std::size_t info_length, std::size_t error_length, std::size_t room) {
    std::memset(info, 0, JitOptions::kLogBytes);
    std::memset(error, 0, JitOptions::kLogBytes);
    std::memset(info, 'i', info_length);
    std::memset(error, 'e', error_length);
    std::uint32_t info_bytes = 0, error_bytes = 0;
    const auto text = options.logs(room, &info_bytes, &error_bytes);
    CHECK(text.size() <= room);
    CHECK_EQ(text.size(), info_bytes + error_bytes);
    for (std::size_t i = 0; i < text.size(); ++i)
      CHECK(text[i] == std::byte{static_cast<std::uint8_t>(i < info_bytes ? 'i' : 'e')});
    return std::to_string(info_bytes) + "+" + std::to_string(error_bytes);
  };
  CHECK_EQ(cut(0, 0, 100), "0+0");
  CHECK_EQ(cut(30, 20, 100), "30+20");
  CHECK_EQ(cut(90, 20, 100), "80+20");
  CHECK_EQ(cut(90, 200, 100), "0+100");
  CHECK_EQ(cut(JitOptions::kLogBytes, JitOptions::kLogBytes, 4072), "0+4072");
  CHECK_EQ(cut(5, 5, 0), "0+0");
}

TEST(without_a_log_there_is_none) {
  JitOptions options;
  std::uint32_t info = 1, error = 1;
  CHECK(options.logs(100, &info, &error).empty());
  CHECK(info == 0 && error == 0);
}
