// The machinery under the memcpy functions: see copy.hpp.
#include "copy.hpp"

#include <string.h>

#include <algorithm>
#include <vector>

#include "entry.hpp"
#include "work.hpp"

namespace tfusion::software::driver {

namespace {

// Pageable sources are captured in pieces of this size, so a copy of gigabytes is never held twice.
constexpr std::size_t kCaptureBytes = std::size_t{16} << 20;

std::byte* at(std::uint64_t address) {
  return reinterpret_cast<std::byte*>(address);
}

// The bytes from the first to the last that the copy touches on this side.
std::size_t extent(const Side& side, const Copy& what) {
  std::size_t rows = 0;
  std::size_t planes = 0;
  std::size_t sum = 0;
  const bool fits = !__builtin_mul_overflow(side.pitch, what.height - 1, &rows) &&
                    !__builtin_mul_overflow(side.slice, what.depth - 1, &planes) &&
                    !__builtin_add_overflow(rows, planes, &sum) &&
                    !__builtin_add_overflow(sum, what.width, &sum);
  require(fits && side.address + sum >= side.address);
  return sum;
}

bool all_rows_accessible(const Side& side, const Copy& what) {
  const AddressSpace& space = driver().space;
  for (std::size_t plane = 0; plane < what.depth; ++plane) {
    for (std::size_t row = 0; row < what.height; ++row) {
      if (!space.contains(side.address + plane * side.slice + row * side.pitch, what.width)) return false;
    }
  }
  return true;
}

// True if kernels may touch the whole side: device memory or page-locked host memory. False if it is plain
// host memory. Throws if it is neither.
bool is_device_accessible(const Side& side, const Copy& what) {
  Driver& gpu = driver();
  const std::size_t bytes = extent(side, what);
  require(side.address != 0);
  if (gpu.space.contains(side.address, bytes)) return true;
  if (what.height * what.depth > 1 && all_rows_accessible(side, what)) return true;  // gaps between rows
  // An address that is the GPU's own and yet not accessible is a mistake, not host memory.
  const auto lock = gpu.memory.lock();
  const Region* region = gpu.memory.find(side.address);
  if (region != nullptr && region->is_graph_memory(side.address, bytes)) return true;
  require(side.place != Place::device);
  require(region == nullptr || region->is_host());
  require(!gpu.memory.is_reserved(side.address, 1));
  return false;
}

void move(const Copy& what) noexcept {
  const bool flat = what.from.pitch == what.width && what.to.pitch == what.width;
  for (std::size_t plane = 0; plane < what.depth; ++plane) {
    std::byte* to = at(what.to.address + plane * what.to.slice);
    const std::byte* from = at(what.from.address + plane * what.from.slice);
    if (flat) {
      memmove(to, from, what.width * what.height);
      continue;
    }
    for (std::size_t row = 0; row < what.height; ++row) {
      memmove(to + row * what.to.pitch, from + row * what.from.pitch, what.width);
    }
  }
}

// Reads the source now, piece by piece, and submits one copy for each piece.
std::uint64_t submit_captured(Stream& stream, const std::shared_ptr<Context>& owner, const Copy& what) {
  std::uint64_t number = 0;
  for (std::size_t plane = 0; plane < what.depth; ++plane) {
    for (std::size_t row = 0; row < what.height;) {
      // As many rows as fit, or a part of one row.
      const std::size_t rows = std::clamp<std::size_t>(kCaptureBytes / what.width, 1, what.height - row);
      const std::size_t part = rows == 1 ? std::min(what.width, kCaptureBytes) : what.width;
      for (std::size_t done = 0; done < what.width; done += part) {
        const std::size_t width = std::min(part, what.width - done);
        Copy piece;
        piece.width = width;
        piece.height = rows;
        piece.from = {what.from.address + plane * what.from.slice + row * what.from.pitch + done,
                      what.from.pitch, 0, Place::host};
        piece.to = {what.to.address + plane * what.to.slice + row * what.to.pitch + done, what.to.pitch, 0,
                    Place::device};
        auto bytes = std::make_unique_for_overwrite<std::byte[]>(width * rows);
        Copy capture = piece;
        capture.to = {reinterpret_cast<std::uint64_t>(bytes.get()), width, 0, Place::host};
        move(capture);
        piece.from = capture.to;
        number = enqueue(
            stream, owner,
            [piece, bytes = std::move(bytes)](Context& context) noexcept {
              if (!all_rows_accessible(piece.to, piece)) {
                context.fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a copy ran after its memory was freed or unmapped");
                return;
              }
              move(piece);
            },
            width * rows);
      }
      row += rows;
    }
  }
  return number;
}

// The description of a copy that was captured.
CUDA_MEMCPY3D describe(const Copy& what) {
  CUDA_MEMCPY3D described{};
  const auto rows_of = [](const Side& side) { return side.pitch == 0 ? 0 : side.slice / side.pitch; };
  const auto put = [](const Side& side, CUmemorytype& type, auto& host, CUdeviceptr& device) {
    type = side.place == Place::host     ? CU_MEMORYTYPE_HOST
           : side.place == Place::device ? CU_MEMORYTYPE_DEVICE
                                         : CU_MEMORYTYPE_UNIFIED;
    if (side.place == Place::host) {
      host = at(side.address);
    } else {
      device = side.address;
    }
  };
  put(what.from, described.srcMemoryType, described.srcHost, described.srcDevice);
  put(what.to, described.dstMemoryType, described.dstHost, described.dstDevice);
  described.srcPitch = what.from.pitch;
  described.srcHeight = rows_of(what.from);
  described.dstPitch = what.to.pitch;
  described.dstHeight = rows_of(what.to);
  described.WidthInBytes = what.width;
  described.Height = what.height;
  described.Depth = what.depth;
  return described;
}

}  // namespace

void Transfer::run(Context& context) const noexcept {
  // The program may have freed the memory since; a GPU faults then.
  if ((from_device && !all_rows_accessible(what.from, what)) ||
      (to_device && !all_rows_accessible(what.to, what))) {
    context.fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a copy ran after its memory was freed or unmapped");
    return;
  }
  move(what);
}

Transfer make_transfer(const Copy& what) {
  Transfer transfer;
  transfer.what = what;
  transfer.from_device = is_device_accessible(what.from, what);
  transfer.to_device = is_device_accessible(what.to, what);
  return transfer;
}

CUresult copy(const std::shared_ptr<Context>& context, CUstream stream_handle, const Copy& what, bool wait) {
  const auto stream = stream_of(*context, stream_handle);
  const auto owner = context_of(*stream);
  const bool captured = captures(*stream, *owner);
  if (wait) forbid_unsafe_call();
  if (what.width == 0 || what.height == 0 || what.depth == 0) {
    return wait ? finish(*owner, stream->last()) : CUDA_SUCCESS;
  }
  Transfer transfer = make_transfer(what);
  if (captured) {
    transfer.described = std::make_shared<const CUDA_MEMCPY3D>(describe(what));
    perform(*stream, owner, std::move(transfer));
    return CUDA_SUCCESS;
  }
  const bool on_device = transfer.from_device && transfer.to_device;
  if (!wait && !transfer.from_device && transfer.to_device) {
    submit_captured(*stream, owner, what);
    return CUDA_SUCCESS;
  }
  const std::uint64_t number = enqueue(
      *stream, owner, [transfer = std::move(transfer)](Context& running) noexcept { transfer.run(running); });
  return wait || !on_device ? finish(*owner, number) : CUDA_SUCCESS;
}

}  // namespace tfusion::software::driver
