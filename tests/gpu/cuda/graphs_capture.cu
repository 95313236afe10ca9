// Graphs by stream capture: replays, forks and joins, copies that read host memory at replay, what capture
// forbids.
#include "check.cuh"

__global__ void add(int* x, int term, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += term;
}

__global__ void combine(const int* a, const int* b, int* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = 10 * a[i] + b[i];
}

int main() {
  const int n = 4096;
  cudaStream_t stream, side;
  CHECK(cudaStreamCreate(&stream));
  CHECK(cudaStreamCreate(&side));
  int* x = on_device(std::vector<int>(n, 0));
  int* y = on_device(std::vector<int>(n, 0));
  int* out = device_array<int>(n);

  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  cudaStreamCaptureStatus status;
  CHECK(cudaStreamIsCapturing(stream, &status));
  EXPECT(status == cudaStreamCaptureStatusActive);
  for (int i = 0; i < 10; i++) add<<<n / 256, 256, 0, stream>>>(x, 1, n);
  CHECK(cudaStreamEndCapture(stream, &graph));
  EXPECT(from_device(x, n)[0] == 0);  // captured, not run
  std::size_t nodes = 0;
  CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT(nodes == 10);
  CHECK(cudaGraphInstantiate(&exec, graph, 0));
  for (int i = 0; i < 100; i++) CHECK(cudaGraphLaunch(exec, stream));
  CHECK(cudaStreamSynchronize(stream));
  for (int value : from_device(x, n)) EXPECT(value == 1000);
  pass("a hundred replays");
  CHECK(cudaGraphExecDestroy(exec));
  CHECK(cudaGraphDestroy(graph));

  // A second stream joins the capture by an event, and returns by another.
  cudaEvent_t forked, joined;
  CHECK(cudaEventCreateWithFlags(&forked, cudaEventDisableTiming));
  CHECK(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
  int* pinned;
  CHECK(cudaMallocHost(&pinned, n * sizeof(int)));
  int* down;
  CHECK(cudaMallocHost(&down, n * sizeof(int)));
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  CHECK(cudaMemcpyAsync(x, pinned, n * sizeof(int), cudaMemcpyHostToDevice, stream));
  CHECK(cudaEventRecord(forked, stream));
  CHECK(cudaStreamWaitEvent(side, forked, 0));
  CHECK(cudaMemsetAsync(y, 0, n * sizeof(int), side));
  add<<<n / 256, 256, 0, side>>>(y, 3, n);
  add<<<n / 256, 256, 0, stream>>>(x, 1, n);
  CHECK(cudaEventRecord(joined, side));
  CHECK(cudaStreamWaitEvent(stream, joined, 0));
  combine<<<n / 256, 256, 0, stream>>>(x, y, out, n);
  CHECK(cudaMemcpyAsync(down, out, n * sizeof(int), cudaMemcpyDeviceToHost, stream));
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
  EXPECT(nodes == 6);
  CHECK(cudaGraphInstantiate(&exec, graph, 0));
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < n; i++) pinned[i] = round * i;
    CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < n; i++) EXPECT(down[i] == 10 * (round * i + 1) + 3);
  }
  pass("fork and join; host memory is read at each replay");
  CHECK(cudaGraphExecDestroy(exec));
  CHECK(cudaGraphDestroy(graph));

  // Waiting for a capturing stream is an error and spoils the capture.
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  add<<<n / 256, 256, 0, stream>>>(x, 1, n);
  CHECK_ERROR(cudaErrorStreamCaptureUnsupported, cudaStreamSynchronize(stream));
  CHECK(cudaStreamIsCapturing(stream, &status));
  EXPECT(status == cudaStreamCaptureStatusInvalidated);
  CHECK_ERROR(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(stream, &graph));
  (void)cudaGetLastError();
  CHECK(cudaStreamIsCapturing(stream, &status));
  EXPECT(status == cudaStreamCaptureStatusNone);
  add<<<n / 256, 256, 0, stream>>>(x, 1, n);
  CHECK(cudaStreamSynchronize(stream));
  pass("waiting spoils a capture, and the stream works again");

  // Side streams that never return.
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  CHECK(cudaEventRecord(forked, stream));
  CHECK(cudaStreamWaitEvent(side, forked, 0));
  add<<<n / 256, 256, 0, side>>>(y, 1, n);
  CHECK_ERROR(cudaErrorStreamCaptureUnjoined, cudaStreamEndCapture(stream, &graph));
  (void)cudaGetLastError();
  pass("an unjoined fork is an error");

  CHECK(cudaEventDestroy(forked));
  CHECK(cudaEventDestroy(joined));
  CHECK(cudaFreeHost(pinned));
  CHECK(cudaFreeHost(down));
  for (int* pointer : {x, y, out}) CHECK(cudaFree(pointer));
  CHECK(cudaStreamDestroy(stream));
  CHECK(cudaStreamDestroy(side));
}
