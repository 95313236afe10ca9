#include "residency.hpp"

#include <algorithm>
#include <utility>

#include "protocol/futex.hpp"

namespace tfusion::replay {

namespace {

// Enough that the link is never idle while a piece is unmapped or made.
constexpr std::size_t kMostFlights = 4;

}  // namespace

Residency::Residency(Device& device, Turn& turn, const SwapSettings& settings)
    : device_(device),
      turn_(turn),
      piece_bytes_(settings.piece_bytes),
      store_({.enter = [&device] { device.driver()->cuCtxSetCurrent(device.context()); },
              .pin =
                  [&device](void* memory, std::uint64_t bytes) {
                    return device.driver()->cuMemHostRegister_v2(memory, bytes,
                                                                 CU_MEMHOSTREGISTER_PORTABLE) == CUDA_SUCCESS;
                  },
              .unpin = [&device](void* memory) { device.driver()->cuMemHostUnregister(memory); }},
             settings.spill_folder, settings.piece_bytes / HostStore::kPageBytes) {}

void Residency::tell() {
  turn_.tell_memory(resident_bytes_, fixed_bytes_, swapped_bytes_, store_.stored_bytes(),
                    store_.spilled_bytes());
}

void Residency::add(std::uint64_t bytes, bool fixed) {
  resident_bytes_ += bytes;
  if (fixed) fixed_bytes_ += bytes;
  tell();
}

void Residency::remove(std::uint64_t bytes, bool fixed) {
  resident_bytes_ -= bytes;
  if (fixed) fixed_bytes_ -= bytes;
  tell();
}

CUresult Residency::set_access(CUdeviceptr address, std::uint64_t bytes, CUmemAccess_flags flags) {
  const CUmemAccessDesc access{{CU_MEM_LOCATION_TYPE_DEVICE, device_.ordinal()}, flags};
  return device_.driver()->cuMemSetAccess(address, bytes, &access, 1);
}

CUresult Residency::map(const Piece& piece, const Place& place) {
  CUresult result = device_.driver()->cuMemMap(place.address, place.bytes, place.offset, piece.memory, 0);
  if (result != CUDA_SUCCESS || place.flags == CU_MEM_ACCESS_FLAGS_PROT_NONE) return result;
  result = set_access(place.address, place.bytes, place.flags);
  if (result != CUDA_SUCCESS) unmap(place.address, place.bytes);
  return result;
}

void Residency::unmap(CUdeviceptr address, std::uint64_t bytes) {
  if (device_.driver()->cuMemUnmap(address, bytes) != CUDA_SUCCESS) broken_ = true;
}

CUresult Residency::create(Piece& piece, std::span<const Place> places) {
  const DriverFunctions& driver = device_.driver().functions();
  CUmemAllocationProp property{};
  property.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  property.location = {CU_MEM_LOCATION_TYPE_DEVICE, device_.ordinal()};
  CUresult result = driver.cuMemCreate(&piece.memory, piece.bytes, &property, 0);
  if (result != CUDA_SUCCESS) {
    piece.memory = 0;
    return result;
  }
  std::size_t mapped = 0;
  while (mapped < places.size() && (result = map(piece, places[mapped])) == CUDA_SUCCESS) ++mapped;
  if (result == CUDA_SUCCESS) return result;
  while (mapped-- > 0) unmap(places[mapped].address, places[mapped].bytes);
  driver.cuMemRelease(piece.memory);
  piece.memory = 0;
  return result;
}

CUresult Residency::map_scratch(const Piece& piece, CUdeviceptr* scratch) {
  const DriverFunctions& driver = device_.driver().functions();
  CUresult result = driver.cuMemAddressReserve(scratch, piece.bytes, 0, 0, 0);
  if (result != CUDA_SUCCESS) return result;
  result = map(piece, {*scratch, piece.bytes, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE});
  if (result != CUDA_SUCCESS) driver.cuMemAddressFree(std::exchange(*scratch, 0), piece.bytes);
  return result;
}

void Residency::begin(bool out, std::vector<MappedPiece> pieces) {
  out_ = out;
  pieces_ = std::move(pieces);
  begun_ns_ = protocol::now_ns();
  moved_bytes_ = 0;
  if (stream_ != nullptr) return;
  if (device_.driver()->cuStreamCreateWithPriority(&stream_, CU_STREAM_NON_BLOCKING, 0) != CUDA_SUCCESS) {
    stream_ = nullptr;
    fail();
  }
}

Residency::Step Residency::go_on(std::uint64_t allowance, bool bring_in) {
  Step step = Step::nothing;
  while (flights_.size() < kMostFlights && !given_up_ && !pieces_.empty()) {
    MappedPiece& next = pieces_.back();
    if ((next.piece->memory != 0) == out_) {
      if (out_ ? resident_bytes_ - leaving_bytes_ <= allowance
               : !bring_in || resident_bytes_ + next.piece->bytes > allowance)
        break;
      if (!(out_ ? take_off_out(next) : take_off_in(next))) {
        fail();
        break;
      }
      step = Step::moved;
    }
    pieces_.pop_back();
  }
  while (!flights_.empty()) {
    const CUresult result = device_.driver()->cuEventQuery(flights_.front().event);
    if (result == CUDA_ERROR_NOT_READY) break;
    Flight flight = std::move(flights_.front());
    flights_.pop_front();
    events_.push_back(flight.event);
    out_ ? land_out(flight, result) : land_in(flight, result);
    step = Step::moved;
  }
  if (broken_) return Step::broken;
  if (step == Step::moved) {
    tell();
    if (flights_.empty()) turn_.tell_swap(out_, moved_bytes_, protocol::now_ns() - begun_ns_);
  }
  return step;
}

CUresult Residency::copy(Flight& flight) {
  const DriverFunctions& driver = device_.driver().functions();
  const Piece& piece = *flight.mapped.piece;
  const std::vector<Place>& places = flight.mapped.places;
  const auto whole = std::find_if(places.begin(), places.end(), [&](const Place& place) {
    return place.offset == 0 && place.bytes == piece.bytes;
  });
  CUresult result = CUDA_SUCCESS;
  if (whole == places.end()) {
    result = map_scratch(piece, &flight.scratch);
  } else if (whole->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
    flight.place = &*whole;
    result = set_access(whole->address, piece.bytes, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  }
  CUdeviceptr at = whole == places.end() ? flight.scratch : whole->address;
  if (result == CUDA_SUCCESS && events_.empty()) {
    CUevent event = nullptr;
    result = driver.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
    if (result == CUDA_SUCCESS) events_.push_back(event);
  }
  if (result == CUDA_SUCCESS) {
    for (const HostRun& run : flight.host) {
      result = out_ ? driver.cuMemcpyDtoHAsync_v2(run.memory, at, run.bytes, stream_)
                    : driver.cuMemcpyHtoDAsync_v2(at, run.memory, run.bytes, stream_);
      if (result != CUDA_SUCCESS) break;
      at += run.bytes;
    }
    if (result == CUDA_SUCCESS) result = driver.cuEventRecord(events_.back(), stream_);
    if (result != CUDA_SUCCESS) driver.cuStreamSynchronize(stream_);  // of the runs before
  }
  if (result != CUDA_SUCCESS) {
    end_copy(flight);
    return result;
  }
  flight.event = events_.back();
  events_.pop_back();
  return result;
}

// Nothing is left of what the copy needed.
void Residency::end_copy(Flight& flight) {
  const std::uint64_t bytes = flight.mapped.piece->bytes;
  if (flight.scratch != 0) {
    const CUdeviceptr scratch = std::exchange(flight.scratch, 0);
    unmap(scratch, bytes);
    if (device_.driver()->cuMemAddressFree(scratch, bytes) != CUDA_SUCCESS) broken_ = true;
  } else if (flight.place != nullptr &&
             set_access(flight.place->address, bytes, flight.place->flags) != CUDA_SUCCESS) {
    broken_ = true;
  }
}

bool Residency::take_off_out(const MappedPiece& mapped) {
  std::optional<std::vector<HostRun>> host = store_.take(mapped.piece->bytes);
  if (!host) return false;
  Flight flight{.mapped = mapped, .host = std::move(*host)};
  if (copy(flight) != CUDA_SUCCESS) {
    store_.give_back(flight.host);
    return false;
  }
  leaving_bytes_ += mapped.piece->bytes;
  flights_.push_back(std::move(flight));
  return true;
}

void Residency::land_out(Flight& flight, CUresult result) {
  Piece& piece = *flight.mapped.piece;
  leaving_bytes_ -= piece.bytes;
  end_copy(flight);
  if (result != CUDA_SUCCESS) {
    store_.give_back(flight.host);
    return fail();
  }
  drop(flight.mapped);
  piece.host = std::move(flight.host);
  swapped_bytes_ += piece.bytes;
  resident_bytes_ -= piece.bytes;
  moved_bytes_ += piece.bytes;
  last_failed_ = false;
}

bool Residency::take_off_in(const MappedPiece& mapped) {
  Piece& piece = *mapped.piece;
  if (create(piece, mapped.places) != CUDA_SUCCESS) return false;
  Flight flight{.mapped = mapped, .host = piece.host};
  if (copy(flight) != CUDA_SUCCESS) {
    drop(mapped);
    return false;
  }
  resident_bytes_ += piece.bytes;
  swapped_bytes_ -= piece.bytes;
  flights_.push_back(std::move(flight));
  return true;
}

void Residency::land_in(Flight& flight, CUresult result) {
  Piece& piece = *flight.mapped.piece;
  end_copy(flight);
  if (result == CUDA_SUCCESS) {
    store_.give_back(piece.host);
    piece.host.clear();
    last_failed_ = false;
    moved_bytes_ += piece.bytes;
    return;
  }
  fail();
  drop(flight.mapped);
  resident_bytes_ -= piece.bytes;
  swapped_bytes_ += piece.bytes;
}

// Takes a piece off the GPU whose contents the host has.
void Residency::drop(const MappedPiece& mapped) {
  for (const Place& place : mapped.places) unmap(place.address, place.bytes);
  if (device_.driver()->cuMemRelease(mapped.piece->memory) != CUDA_SUCCESS) broken_ = true;
  mapped.piece->memory = 0;
}

void Residency::before_reset() {
  store_.pause();
  stream_ = nullptr;
  events_.clear();
  pieces_.clear();
}

void Residency::after_reset() {
  store_.resume();
}

}  // namespace tfusion::replay
