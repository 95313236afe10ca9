// Virtual memory of the driver API: addresses, physical memory and its mapping apart.
#include "driver.cuh"

__global__ void fill(int* x, int value, std::size_t n) {
  for (std::size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    x[i] = value;
}

int main() {
  CHECK(cudaFree(nullptr));
  CUmemAllocationProp property{};
  property.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  property.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  std::size_t piece = 0;
  DCHECK(cuMemGetAllocationGranularity, &piece, &property, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
  EXPECT(piece > 0 && (piece & (piece - 1)) == 0);
  while (piece < (2 << 20)) piece *= 2;

  CUdeviceptr space = 0;
  DCHECK(cuMemAddressReserve, &space, 4 * piece, 0, 0, 0);
  CUmemGenericAllocationHandle first = 0, second = 0;
  DCHECK(cuMemCreate, &first, piece, &property, 0);
  DCHECK(cuMemCreate, &second, piece, &property, 0);
  DCHECK(cuMemMap, space, piece, 0, first, 0);
  DCHECK(cuMemMap, space + piece, piece, 0, second, 0);
  CUmemAccessDesc access{};
  access.location = property.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  DCHECK(cuMemSetAccess, space, 2 * piece, &access, 1);
  unsigned long long flags = 0;
  DCHECK(cuMemGetAccess, &flags, &access.location, space);
  EXPECT(flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  const std::size_t n = piece / sizeof(int);
  fill<<<64, 256>>>(reinterpret_cast<int*>(space), 7, 2 * n);
  CHECK(cudaDeviceSynchronize());
  const std::vector<int> whole = from_device(reinterpret_cast<int*>(space), 2 * n);
  for (int value : whole) EXPECT(value == 7);
  pass("two pieces, one array");

  // It grows in place: the addresses after it were kept.
  CUmemGenericAllocationHandle third = 0;
  DCHECK(cuMemCreate, &third, piece, &property, 0);
  DCHECK(cuMemMap, space + 2 * piece, piece, 0, third, 0);
  DCHECK(cuMemSetAccess, space + 2 * piece, piece, &access, 1);
  fill<<<64, 256>>>(reinterpret_cast<int*>(space + 2 * piece), 8, n);
  EXPECT(from_device(reinterpret_cast<int*>(space), 3 * n)[3 * n - 1] == 8);
  pass("an array that grows");

  // The contents belong to the physical memory, wherever it is mapped.
  DCHECK(cuMemUnmap, space, piece);
  DCHECK(cuMemUnmap, space + piece, piece);
  DCHECK(cuMemMap, space, piece, 0, second, 0);
  DCHECK(cuMemMap, space + piece, piece, 0, first, 0);
  DCHECK(cuMemSetAccess, space, 2 * piece, &access, 1);
  fill<<<64, 256>>>(reinterpret_cast<int*>(space), 9, n);
  CHECK(cudaDeviceSynchronize());
  DCHECK(cuMemUnmap, space, piece);
  DCHECK(cuMemMap, space + 3 * piece, piece, 0, second, 0);
  DCHECK(cuMemSetAccess, space + 3 * piece, piece, &access, 1);
  EXPECT(from_device(reinterpret_cast<int*>(space + 3 * piece), n)[n - 1] == 9);
  EXPECT(from_device(reinterpret_cast<int*>(space + piece), n)[0] == 7);
  pass("mapped elsewhere");

  CUmemGenericAllocationHandle again = 0;
  DCHECK(cuMemRetainAllocationHandle, &again, reinterpret_cast<void*>(space + piece));
  EXPECT(again == first);
  CUmemAllocationProp seen{};
  DCHECK(cuMemGetAllocationPropertiesFromHandle, &seen, again);
  EXPECT(seen.type == property.type && seen.location.id == 0);
  DCHECK(cuMemRelease, again);
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  DCHECK(cuMemGetAddressRange, &base, &bytes, space + piece + 100);
  EXPECT(base <= space + piece + 100 && base + bytes > space + piece + 100);
  pass("what is mapped can be looked up");

  // A handle may go before its mapping.
  for (CUmemGenericAllocationHandle handle : {first, second, third}) DCHECK(cuMemRelease, handle);
  EXPECT(from_device(reinterpret_cast<int*>(space + piece), n)[0] == 7);
  for (std::size_t i = 1; i < 4; i++) DCHECK(cuMemUnmap, space + i * piece, piece);
  DCHECK(cuMemAddressFree, space, 4 * piece);
  CUmemGenericAllocationHandle none = 0;
  EXPECT(DRIVER(cuMemCreate)(&none, piece + 1, &property, 0) != CUDA_SUCCESS);
  CHECK(cudaDeviceSynchronize());
  pass("handles may go first; a wrong size is refused");
}
