// Streams and events: order within a stream, order by events between streams, queries, flags, priorities.
#include "check.cuh"
#include "gate.cuh"

__global__ void multiply_add(float* x, float factor, float term, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = x[i] * factor + term;
}

int main() {
  const int n = 1 << 16;
  std::vector<float> host(n, 1.0f);
  float* x = on_device(host);
  cudaStream_t first, second;
  CHECK(cudaStreamCreate(&first));
  CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
  cudaEvent_t written, timed;
  CHECK(cudaEventCreateWithFlags(&written, cudaEventDisableTiming));
  CHECK(cudaEventCreate(&timed));

  for (int round = 0; round < 20; round++) {
    multiply_add<<<n / 256, 256, 0, first>>>(x, 0.5f, 3.0f, n);
    CHECK(cudaEventRecord(written, first));
    CHECK(cudaStreamWaitEvent(second, written, 0));
    multiply_add<<<n / 256, 256, 0, second>>>(x, 2.0f, -1.0f, n);
    CHECK(cudaEventRecord(written, second));
    CHECK(cudaStreamWaitEvent(first, written, 0));
  }
  CHECK(cudaMemcpyAsync(host.data(), x, n * sizeof(float), cudaMemcpyDeviceToHost, first));
  CHECK(cudaStreamSynchronize(first));
  float expected = 1.0f;
  for (int round = 0; round < 20; round++) expected = (expected * 0.5f + 3.0f) * 2.0f - 1.0f;
  for (float value : host) EXPECT(value == expected);
  std::printf("value %a\n", host[0]);
  pass("two streams take turns by events");

  // The default stream waits for the blocking stream, and not for the other.
  multiply_add<<<n / 256, 256, 0, first>>>(x, 0.0f, 7.0f, n);
  multiply_add<<<n / 256, 256>>>(x, 1.0f, 1.0f, n);
  CHECK(cudaMemcpy(host.data(), x, n * sizeof(float), cudaMemcpyDeviceToHost));
  for (float value : host) EXPECT(value == 8.0f);
  pass("the default stream waits for blocking streams");

  Gate gate(second);
  CHECK(cudaEventRecord(timed, second));
  EXPECT(cudaStreamQuery(second) == cudaErrorNotReady);
  EXPECT(cudaEventQuery(timed) == cudaErrorNotReady);
  gate.open();
  CHECK(cudaEventSynchronize(timed));
  CHECK(cudaEventQuery(timed));
  CHECK(cudaStreamQuery(second));
  (void)cudaGetLastError();
  pass("a query says whether work is done");

  cudaEvent_t begin, end;
  CHECK(cudaEventCreate(&begin));
  CHECK(cudaEventCreate(&end));
  CHECK(cudaEventRecord(begin, first));
  spin<<<1, 1, 0, first>>>(20'000'000);
  CHECK(cudaEventRecord(end, first));
  CHECK(cudaEventSynchronize(end));
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
  EXPECT(milliseconds > 1.0f);
  CHECK_ERROR(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&milliseconds, written, end));
  EXPECT(cudaGetLastError() == cudaErrorInvalidResourceHandle);
  pass("elapsed time");

  int least = 1, greatest = 1, priority = 1;
  CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  EXPECT(greatest <= least);
  cudaStream_t urgent;
  CHECK(cudaStreamCreateWithPriority(&urgent, cudaStreamNonBlocking, greatest));
  CHECK(cudaStreamGetPriority(urgent, &priority));
  EXPECT(priority == greatest);
  unsigned flags = 0;
  CHECK(cudaStreamGetFlags(second, &flags));
  EXPECT(flags == cudaStreamNonBlocking);
  CHECK(cudaStreamGetFlags(first, &flags));
  EXPECT(flags == cudaStreamDefault);
  unsigned long long one = 0, other = 0;
  CHECK(cudaStreamGetId(first, &one));
  CHECK(cudaStreamGetId(second, &other));
  EXPECT(one != other);
  pass("flags, priorities, ids");

  // A stream may be destroyed while it has work; the work is done all the same.
  multiply_add<<<n / 256, 256, 0, urgent>>>(x, 0.0f, 5.0f, n);
  CHECK(cudaStreamDestroy(urgent));
  multiply_add<<<n / 256, 256, 0, cudaStreamPerThread>>>(x, 1.0f, 0.0f, 0);
  CHECK(cudaStreamSynchronize(cudaStreamPerThread));
  CHECK(cudaDeviceSynchronize());
  CHECK(cudaMemcpy(host.data(), x, n * sizeof(float), cudaMemcpyDeviceToHost));
  for (float value : host) EXPECT(value == 5.0f);
  pass("destroying a stream lets its work end");

  for (cudaEvent_t event : {written, timed, begin, end}) CHECK(cudaEventDestroy(event));
  CHECK(cudaStreamDestroy(first));
  CHECK(cudaStreamDestroy(second));
  CHECK(cudaFree(x));
}
