// Functions that kernels call and no PTX text defines: printf, assert, malloc, free.

#include <bit>
#include <cstring>

#include "handlers.hpp"
#include "launch.hpp"
#include "printf_format.hpp"

namespace tfusion::software::ptx {

namespace {

constexpr std::size_t kMaxString = 1 << 16;

std::string read_string(const Lanes& l, std::uint32_t lane, std::uint64_t address) {
  if (address == 0) return "(null)";
  std::string text;
  while (text.size() < kMaxString) {
    const auto c = static_cast<char>(*resolve(l, Space::generic, lane, address++, 1, false));
    if (c == '\0') break;
    text += c;
  }
  return text;
}

template <class Visit>
void for_exec(const Lanes& l, Visit visit) {
  for (std::uint32_t w = 0; w < l.warps; ++w) {
    for (std::uint32_t rest = l.exec[w]; rest != 0; rest &= rest - 1) {
      visit(w * kWarp + static_cast<std::uint32_t>(std::countr_zero(rest)));
    }
  }
}

}  // namespace

void device_printf(Lanes& l, const Instr& in) {
  for_exec(l, [&](std::uint32_t lane) {
    if ((lane & 15) == 0 && l.launch->must_stop()) throw Stopped{};
    const std::string format = read_string(l, lane, l.row<std::uint64_t>(in.a)[lane]);
    std::uint64_t at = l.row<std::uint64_t>(in.b)[lane];
    const auto next = [&](std::uint32_t bytes) {
      at = (at + bytes - 1) & ~std::uint64_t{bytes - 1};
      std::uint64_t value = 0;
      std::memcpy(&value, resolve(l, Space::generic, lane, at, bytes, false), bytes);
      at += bytes;
      return value;
    };
    int arguments = 0;
    const std::string text = format_printf(
        format, next, [&](std::uint64_t address) { return read_string(l, lane, address); }, arguments);
    l.launch->print(text);
    l.row<std::uint32_t>(in.dst)[lane] = static_cast<std::uint32_t>(arguments);
  });
}

// Every failing thread of the warp prints its line; then the launch ends.
void device_assert(Lanes& l, const Instr& in) {
  std::uint32_t first = kMaxLanes;
  for_exec(l, [&](std::uint32_t lane) {
    if (first == kMaxLanes) first = lane;
    const std::string message = read_string(l, lane, l.row<std::uint64_t>(in.a)[lane]);
    const std::string file = read_string(l, lane, l.row<std::uint64_t>(in.b)[lane]);
    const std::string function = read_string(l, lane, l.row<std::uint64_t>(in.d)[lane]);
    const auto index = [](std::uint32_t x, std::uint32_t y, std::uint32_t z) {
      std::string text = "[";
      text.append(std::to_string(x))
          .append(",")
          .append(std::to_string(y))
          .append(",")
          .append(std::to_string(z));
      return text.append("]");
    };
    l.launch->print(file + ":" + std::to_string(l.row<std::uint32_t>(in.c)[lane]) + ": " + function +
                    ": block: " + index(l.block[0], l.block[1], l.block[2]) +
                    ", thread: " + index(l.thread[0][lane], l.thread[1][lane], l.thread[2][lane]) +
                    " Assertion `" + message + "` failed.\n");
  });
  if (first == kMaxLanes) return;
  throw Fault{Outcome::assertion, first,
              "assertion '" + read_string(l, first, l.row<std::uint64_t>(in.a)[first]) + "' failed"};
}

void device_malloc(Lanes& l, const Instr& in) {
  for_exec(l, [&](std::uint32_t lane) {
    DeviceHeap* const heap = l.launch->heap();
    l.row<std::uint64_t>(in.dst)[lane] =
        heap == nullptr ? 0 : heap->allocate(l.row<std::uint64_t>(in.a)[lane]);
  });
}

void device_free(Lanes& l, const Instr& in) {
  for_exec(l, [&](std::uint32_t lane) {
    const std::uint64_t address = l.row<std::uint64_t>(in.a)[lane];
    if (address == 0) return;
    DeviceHeap* const heap = l.launch->heap();
    if (heap == nullptr || !heap->release(address)) {
      throw Fault{Outcome::illegal_address, lane, "free() of a pointer that malloc() did not give"};
    }
  });
}

}  // namespace tfusion::software::ptx
