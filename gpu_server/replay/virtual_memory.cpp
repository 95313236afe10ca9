// Physical memory that the client maps itself (the virtual memory API): counted on the slice's account for as
// long as the client or a mapping holds it, and mapped only inside the session's arena.
#include "replay_commands.hpp"
#include "session.hpp"

namespace tfusion::replay {

using namespace protocol;

namespace {

bool pages_of_arena(std::uint64_t address, std::uint64_t bytes) {
  const std::uint64_t offset = address - kDeviceArenaAddress;
  return bytes > 0 && offset % kArenaPageBytes == 0 && bytes % kArenaPageBytes == 0 &&
         offset < kDeviceArenaBytes && bytes <= kDeviceArenaBytes - offset;
}

}  // namespace

CUresult Session::create_physical(std::uint64_t handle, std::uint64_t bytes) {
  if (!claim(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  Physical physical{.piece = {.bytes = bytes}};
  const CUresult result = residency_.create(physical.piece, {});
  if (result != CUDA_SUCCESS) {
    give_back(bytes);
  } else {
    allocations.put(handle, std::move(physical));
  }
  return result;
}

// Only now is the driver's handle released: to take a piece off the GPU and bring it back needs it.
CUresult Session::drop_physical(std::uint64_t handle) {
  Physical* physical = allocations.find(handle);
  if (physical == nullptr || physical->held || physical->mappings > 0) return CUDA_SUCCESS;
  const Physical gone = allocations.take(handle);
  const CUresult result = driver().cuMemRelease(gone.piece.memory);
  give_back(gone.piece.bytes);
  return result;
}

CUresult Session::map_physical(Physical& physical, std::uint64_t handle, std::uint64_t address,
                               std::uint64_t bytes, std::uint64_t offset) {
  keep_mapping_pace();
  const MappingBudget::Spending spending(mappings_budget_);
  const CUresult result = driver().cuMemMap(address, bytes, offset, physical.piece.memory, 0);
  if (result != CUDA_SUCCESS) return result;
  ++physical.mappings;
  mappings_.emplace(address, Mapping{bytes, {}, handle, offset, CU_MEM_ACCESS_FLAGS_PROT_NONE});
  return CUDA_SUCCESS;
}

CUresult Session::unmap_physical(std::uint64_t address) {
  const MappingBudget::Spending spending(mappings_budget_);
  const auto found = mappings_.find(address);
  const std::uint64_t handle = found->second.physical;
  const CUresult result = driver().cuMemUnmap(address, found->second.bytes);
  if (result != CUDA_SUCCESS) return result;
  mappings_.erase(found);
  if (Physical* physical = allocations.find(handle)) --physical->mappings;
  return drop_physical(handle);
}

CUresult Session::set_access(std::uint64_t address, std::uint64_t bytes, CUmemAccess_flags flags) {
  CUmemAccessDesc access{};
  access.location = {CU_MEM_LOCATION_TYPE_DEVICE, device_.ordinal()};
  access.flags = flags;
  const CUresult result = driver().cuMemSetAccess(address, bytes, &access, 1);
  if (result != CUDA_SUCCESS) return result;
  for (auto range = mappings_.find(address); range != mappings_.end() && range->first < address + bytes;
       ++range)
    range->second.flags = flags;
  return CUDA_SUCCESS;
}

std::vector<MappedPiece> Session::mapped_pieces() {
  std::vector<MappedPiece> all;
  std::map<std::uint64_t, std::vector<Place>> places;  // of the client's own allocations
  for (auto& [address, mapping] : mappings_) {
    if (mapping.physical != 0) {
      places[mapping.physical].push_back({address, mapping.bytes, mapping.offset, mapping.flags});
      continue;
    }
    std::uint64_t at = address;
    for (Piece& piece : mapping.pieces) {
      all.push_back({&piece, {{at, piece.bytes, 0, mapping.flags}}});
      at += piece.bytes;
    }
  }
  allocations.for_each_handle([&](std::uint64_t handle, Physical& physical) {
    const auto found = places.find(handle);
    all.push_back({&physical.piece, found == places.end() ? std::vector<Place>{} : found->second});
  });
  return all;
}

bool Session::is_whole_mappings(std::uint64_t address, std::uint64_t bytes) const {
  std::uint64_t reached = address;
  for (auto range = mappings_.find(address); range != mappings_.end() && range->first == reached &&
                                             range->second.physical != 0 && reached - address < bytes;
       ++range) {
    reached += range->second.bytes;
  }
  return bytes > 0 && reached - address == bytes;
}

void replay(Session& session, const wire::PhysicalCreate& command) {
  if (!session.may_create(command.header, command.allocation, HandleKind::allocation)) return;
  if (command.bytes == 0 || command.bytes % kArenaPageBytes != 0 || command.bytes > kDeviceArenaBytes)
    return session.protocol_error("PhysicalCreate asks for what is no number of whole pages");
  session.reply(command.header, session.create_physical(command.allocation, command.bytes));
}

void replay(Session& session, const wire::PhysicalRelease& command) {
  Physical* physical = nullptr;
  if (!session.resolve(command.header, command.allocation, &physical)) return;
  if (!physical->held) return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  physical->held = false;
  session.reply(command.header, session.drop_physical(command.allocation));
}

void replay(Session& session, const wire::PhysicalMap& command) {
  Physical* physical = nullptr;
  if (!session.resolve(command.header, command.allocation, &physical)) return;
  if (!pages_of_arena(command.address, command.bytes))
    return session.protocol_error("PhysicalMap names addresses outside the arena, or no whole pages");
  if (!session.may_commit(command.address, command.bytes))
    return session.protocol_error("PhysicalMap names addresses that have memory already");
  if (!physical->held || command.offset % kArenaPageBytes != 0 || command.offset > physical->piece.bytes ||
      command.bytes > physical->piece.bytes - command.offset) {
    return session.reply(command.header, CUDA_ERROR_INVALID_VALUE);
  }
  session.reply(command.header, session.map_physical(*physical, command.allocation, command.address,
                                                     command.bytes, command.offset));
}

void replay(Session& session, const wire::PhysicalUnmap& command) {
  if (!session.is_mapped(command.address, command.bytes))
    return session.protocol_error("PhysicalUnmap names no range that was mapped");
  session.reply(command.header, session.unmap_physical(command.address));
}

void replay(Session& session, const wire::PhysicalSetAccess& command) {
  if (!session.is_whole_mappings(command.address, command.bytes))
    return session.protocol_error("PhysicalSetAccess names no range that was mapped");
  if (command.flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && command.flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
      command.flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
    return session.protocol_error("PhysicalSetAccess asks for an access that does not exist");
  }
  session.reply(command.header, session.set_access(command.address, command.bytes,
                                                   static_cast<CUmemAccess_flags>(command.flags)));
}

}  // namespace tfusion::replay
