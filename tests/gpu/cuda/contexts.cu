// Contexts of one's own beside the primary one: the stack, memory and streams of each, their ends.
#include <thread>

#include "driver.cuh"

int read(CUdeviceptr address) {
  int value = 0;
  DCHECK(cuMemcpyDtoH, &value, address, sizeof value);
  return value;
}

int main() {
  CHECK(cudaFree(nullptr));
  CUcontext primary = nullptr, first = nullptr, second = nullptr, current = nullptr;
  DCHECK(cuCtxGetCurrent, &primary);
  EXPECT(primary != nullptr);
  int* x = on_device(std::vector<int>{1});

  CUdevice device = 0;
  DCHECK(cuDeviceGet, &device, 0);
  DCHECK(cuCtxCreate, &first, nullptr, CU_CTX_SCHED_BLOCKING_SYNC, device);
  DCHECK(cuCtxGetCurrent, &current);
  EXPECT(current == first);
  DCHECK(cuCtxCreate, &second, nullptr, 0, device);
  DCHECK(cuCtxGetCurrent, &current);
  EXPECT(current == second && first != second && first != primary);
  unsigned flags = 0;
  DCHECK(cuCtxPopCurrent, &current);
  EXPECT(current == second);
  DCHECK(cuCtxGetFlags, &flags);
  EXPECT((flags & CU_CTX_SCHED_BLOCKING_SYNC) != 0);
  DCHECK(cuCtxPopCurrent, &current);
  EXPECT(current == first);
  DCHECK(cuCtxGetCurrent, &current);
  EXPECT(current == primary);
  pass("a stack of contexts");

  CUdeviceptr a = 0, b = 0;
  DCHECK(cuCtxPushCurrent, first);
  DCHECK(cuMemAlloc, &a, 4096);
  DCHECK(cuMemsetD32, a, 11, 1024);
  DCHECK(cuCtxSynchronize);  // the stream below does not wait for the default one
  CUstream stream = nullptr;
  DCHECK(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
  DCHECK(cuMemsetD32Async, a + 4, 12, 1, stream);
  DCHECK(cuStreamSynchronize, stream);
  EXPECT(read(a) == 11 && read(a + 4) == 12);
  CUcontext owner = nullptr;
  DCHECK(cuStreamGetCtx, stream, &owner);
  EXPECT(owner == first);
  DCHECK(cuPointerGetAttribute, &owner, CU_POINTER_ATTRIBUTE_CONTEXT, a);
  EXPECT(owner == first);
  DCHECK(cuCtxSetCurrent, second);
  DCHECK(cuMemAlloc, &b, 4096);
  DCHECK(cuMemsetD32, b, 22, 1024);
  DCHECK(cuMemcpyPeer, b + 4, second, a, first, 4);
  EXPECT(read(b) == 22 && read(b + 4) == 11);
  unsigned version = 0;
  DCHECK(cuCtxGetApiVersion, second, &version);
  EXPECT(version >= 3010);
  pass("memory and streams of each");

  // Each thread has a stack of its own.
  std::thread other([&] {
    CUcontext mine = reinterpret_cast<CUcontext>(1);
    DCHECK(cuCtxGetCurrent, &mine);
    EXPECT(mine == nullptr);
    DCHECK_ERROR(CUDA_ERROR_INVALID_CONTEXT, cuCtxSynchronize);
    DCHECK(cuCtxSetCurrent, first);
    EXPECT(read(a) == 11);
    DCHECK(cuCtxSynchronize);
  });
  other.join();
  DCHECK(cuCtxGetCurrent, &current);
  EXPECT(current == second);
  pass("threads have stacks of their own");

  DCHECK(cuStreamDestroy, stream);
  DCHECK(cuCtxDestroy, first);  // takes its memory along
  EXPECT(read(b) == 22);
  DCHECK(cuMemFree, b);
  DCHECK(cuCtxDestroy, second);
  DCHECK(cuCtxSetCurrent, primary);
  EXPECT(from_device(x, 1)[0] == 1);
  pass("the end of one leaves the others alone");

  CUcontext retained = nullptr;
  DCHECK(cuDevicePrimaryCtxRetain, &retained, device);
  EXPECT(retained == primary);
  int active = 0;
  DCHECK(cuDevicePrimaryCtxGetState, device, &flags, &active);
  EXPECT(active == 1);
  DCHECK(cuDevicePrimaryCtxRelease, device);
  CHECK(cudaFree(x));
  pass("the primary context is one");
}
