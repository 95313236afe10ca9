"""The virtual memory API: addresses apart from memory, remapping, and the slice's limit."""

import ctypes

from learner import KERNELS, compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
MIB = 1 << 20
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add = ok(cu.cuModuleGetFunction(module, b"add"))
prop = cu.CUmemAllocationProp()
prop.type = cu.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
prop.location.type = cu.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
prop.location.id = 0
page = int(
    ok(
        cu.cuMemGetAllocationGranularity(
            prop, cu.CUmemAllocationGranularity_flags.CU_MEM_ALLOC_GRANULARITY_MINIMUM
        )
    )
)
access = cu.CUmemAccessDesc()
access.location.type = cu.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
access.location.id = 0
access.flags = cu.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE


def word(address: int) -> int:
    out = ctypes.c_uint32()
    ok(cu.cuMemcpyDtoH(ctypes.addressof(out), address, 4))
    return out.value


free, total = ok(cu.cuMemGetInfo())
start_address = int(ok(cu.cuMemAddressReserve(64 * MIB, 0, 0, 0)))
assert ok(cu.cuMemGetInfo())[0] == free  # addresses cost nothing
aligned = int(ok(cu.cuMemAddressReserve(4 * MIB, 64 * MIB, 0, 0)))
assert aligned % (64 * MIB) == 0
ok(cu.cuMemAddressFree(aligned, 4 * MIB))

# Two pieces of memory side by side are one range for kernels and copies.
low, high = ok(cu.cuMemCreate(4 * page, prop, 0)), ok(cu.cuMemCreate(4 * page, prop, 0))
assert ok(cu.cuMemGetInfo())[0] == free - 8 * page
ok(cu.cuMemMap(start_address, 4 * page, 0, low, 0))
ok(cu.cuMemMap(start_address + 4 * page, 4 * page, 0, high, 0))
ok(cu.cuMemSetAccess(start_address, 8 * page, [access], 1))
count = 8 * page // 4
ok(cu.cuMemsetD32(start_address, 3, count))
ok(launch(add, count // 256, 256, u64(start_address), u32(4), u32(count)))
assert word(start_address) == word(start_address + 8 * page - 4) == 7
assert ok(cu.cuMemGetAccess(access.location, start_address)) == 3
kind = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
assert int(ok(cu.cuPointerGetAttribute(kind, start_address + 100))) == 2

# The same memory at another address shows what was written; it lives as long as a mapping does.
elsewhere = start_address + 32 * MIB
held = ok(cu.cuMemRetainAllocationHandle(start_address))
assert int(held) == int(low)
ok(cu.cuMemRelease(held))
ok(cu.cuMemMap(elsewhere, 4 * page, 0, low, 0))
ok(cu.cuMemSetAccess(elsewhere, 4 * page, [access], 1))
ok(cu.cuMemsetD32(elsewhere, 11, 1))
assert word(start_address) == 11
ok(cu.cuMemRelease(low))
ok(cu.cuMemUnmap(start_address, 8 * page))
assert word(elsewhere) == 11
fails(cu.cuMemRelease(low), "INVALID_VALUE")
assert ok(cu.cuMemGetInfo())[0] == free - 8 * page
ok(cu.cuMemUnmap(elsewhere, 4 * page))
assert ok(cu.cuMemGetInfo())[0] == free - 4 * page

# Unmapped and mapped again, it still holds what it held.
ok(cu.cuMemMap(start_address, 4 * page, 0, high, 0))
ok(cu.cuMemSetAccess(start_address, 4 * page, [access], 1))
assert word(start_address) == 7

# What cannot be is an error, and the session goes on.
fails(cu.cuMemMap(start_address, page, 0, high, 0), "INVALID_VALUE")
fails(cu.cuMemMap(start_address + 60 * MIB, 8 * MIB, 0, high, 0), "INVALID_VALUE")
fails(cu.cuMemMap(start_address + 60 * MIB, page, 4 * page, high, 0), "INVALID_VALUE")
fails(cu.cuMemUnmap(start_address, page), "INVALID_VALUE")
fails(cu.cuMemAddressFree(start_address, 64 * MIB), "INVALID_VALUE")
fails(cu.cuMemSetAccess(start_address + 32 * MIB, page, [access], 1), "INVALID_VALUE")
fails(cu.cuMemCreate(page + 1, prop, 0), "INVALID_VALUE")
fails(cu.cuMemCreate(total + page, prop, 0), "OUT_OF_MEMORY")
fails(cu.cuMemFree(start_address), "INVALID_VALUE")
fails(cu.cuMemcpyDtoH(ctypes.addressof(ctypes.c_uint32()), start_address + 40 * MIB, 4), "INVALID_VALUE")

# PyTorch's expandable segments ask for memory that could be shared, though they share none.
Handles = cu.CUmemAllocationHandleType
prop.requestedHandleTypes = Handles.CU_MEM_HANDLE_TYPE_FABRIC
fails(cu.cuMemCreate(page, prop, 0), "NOT_SUPPORTED")
prop.requestedHandleTypes = Handles.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
shareable = ok(cu.cuMemCreate(page, prop, 0))
fails(cu.cuMemExportToShareableHandle(shareable, prop.requestedHandleTypes, 0), "NOT_SUPPORTED")
ok(cu.cuMemRelease(shareable))

ok(cu.cuMemUnmap(start_address, 4 * page))
ok(cu.cuMemRelease(high))
ok(cu.cuMemAddressFree(start_address, 64 * MIB))
assert ok(cu.cuMemGetInfo())[0] == free
assert int(ok(cu.cuMemAlloc(4 * MIB)))  # and the addresses are free for others
print("ok")
