// What reaches other devices and processes works or is refused with an error that says so, and nothing breaks
// by it.
#include "check.cuh"

// A slice may refuse what the GPU itself can do, so the answer is not printed, only judged.
bool works_or_refused(cudaError_t error) {
  (void)cudaGetLastError();
  return error == cudaSuccess || error == cudaErrorNotSupported;
}

int main() {
  int* x = on_device(std::vector<int>{1, 2, 3});
  int devices = 0;
  CHECK(cudaGetDeviceCount(&devices));
  EXPECT(devices >= 1);
  CHECK_ERROR(cudaErrorInvalidDevice, cudaSetDevice(devices));
  (void)cudaGetLastError();
  int able = 1;
  CHECK_ERROR(cudaErrorInvalidDevice, cudaDeviceCanAccessPeer(&able, 0, devices));
  (void)cudaGetLastError();
  EXPECT(cudaDeviceEnablePeerAccess(0, 0) != cudaSuccess);
  (void)cudaGetLastError();
  pass("no peer of oneself, none that is not there");

  cudaIpcMemHandle_t memory;
  EXPECT(works_or_refused(cudaIpcGetMemHandle(&memory, x)));
  cudaEvent_t event;
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  cudaIpcEventHandle_t event_handle;
  EXPECT(cudaIpcGetEventHandle(&event_handle, event) != cudaSuccess);  // not made for it
  (void)cudaGetLastError();
  cudaIpcMemHandle_t nonsense;
  std::memset(&nonsense, 0x5a, sizeof nonsense);
  void* opened = nullptr;
  EXPECT(cudaIpcOpenMemHandle(&opened, nonsense, cudaIpcMemLazyEnablePeerAccess) != cudaSuccess);
  (void)cudaGetLastError();
  pass("handles for other processes");

  EXPECT(from_device(x, 3)[2] == 3);
  CHECK(cudaDeviceSynchronize());
  CHECK(cudaEventDestroy(event));
  CHECK(cudaFree(x));
  pass("the rest goes on");
}
