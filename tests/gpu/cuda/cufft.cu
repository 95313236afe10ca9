// cuFFT: transforms there and back, of one and two dimensions, real and complex, in a batch, on a stream.
// libraries: cufft
#include <cufft.h>

#include <cmath>

#include "check.cuh"

#define FFT(call)                                                   \
  do {                                                              \
    const cufftResult fft_ = (call);                                \
    if (fft_ != CUFFT_SUCCESS) {                                    \
      std::printf("FAIL line %d: %s: %d\n", __LINE__, #call, fft_); \
      std::exit(1);                                                 \
    }                                                               \
  } while (false)

int main() {
  const int n = 1024, batch = 10;
  std::vector<cufftComplex> signal(n * batch);
  for (int i = 0; i < n * batch; i++) {
    signal[i] = {std::cos(2 * 3.14159265f * static_cast<float>((5 + i / n) * (i % n)) / n), 0};
  }
  cufftComplex* x = on_device(signal);
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  cufftHandle plan;
  FFT(cufftPlan1d(&plan, n, CUFFT_C2C, batch));
  FFT(cufftSetStream(plan, stream));
  FFT(cufftExecC2C(plan, x, x, CUFFT_FORWARD));
  CHECK(cudaStreamSynchronize(stream));
  std::vector<cufftComplex> spectrum = from_device(x, n * batch);
  for (int row = 0; row < batch; row++) EXPECT(std::abs(spectrum[row * n + 5 + row].x - n / 2) < 1);
  print_sum("spectrum", spectrum);
  FFT(cufftExecC2C(plan, x, x, CUFFT_INVERSE));
  CHECK(cudaStreamSynchronize(stream));
  const std::vector<cufftComplex> back = from_device(x, n * batch);
  for (int i = 0; i < n * batch; i++) EXPECT(std::abs(back[i].x / n - signal[i].x) < 1e-4f);
  FFT(cufftDestroy(plan));
  pass("a batch there and back");

  const int rows = 120, columns = 90;  // not powers of two
  std::vector<float> image(rows * columns);
  for (int i = 0; i < rows * columns; i++) image[i] = static_cast<float>(i % 23);
  float* real = on_device(image);
  cufftComplex* half = device_array<cufftComplex>(rows * (columns / 2 + 1));
  FFT(cufftPlan2d(&plan, rows, columns, CUFFT_R2C));
  FFT(cufftExecR2C(plan, real, half));
  CHECK(cudaDeviceSynchronize());
  spectrum = from_device(half, rows * (columns / 2 + 1));
  float sum = 0;
  for (float value : image) sum += value;
  EXPECT(std::abs(spectrum[0].x - sum) < 1);
  print_sum("image", spectrum);
  FFT(cufftDestroy(plan));
  pass("an image");
  CHECK(cudaFree(x));
  CHECK(cudaStreamDestroy(stream));
}
