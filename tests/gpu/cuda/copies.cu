// Copies and memsets of every shape: 1, 2 and 3 dimensions, pitched, parts, asynchronous, within the device,
// of arrays.
#include "check.cuh"

int main() {
  const std::size_t width = 100, height = 37, depth = 5;
  std::vector<int> host(width * height * depth);
  for (std::size_t i = 0; i < host.size(); i++) host[i] = static_cast<int>(i * 2654435761u);

  cudaPitchedPtr volume;
  const cudaExtent extent = make_cudaExtent(width * sizeof(int), height, depth);
  CHECK(cudaMalloc3D(&volume, extent));
  EXPECT(volume.pitch >= width * sizeof(int));
  cudaMemcpy3DParms up{};
  up.srcPtr = make_cudaPitchedPtr(host.data(), width * sizeof(int), width, height);
  up.dstPtr = volume;
  up.extent = extent;
  up.kind = cudaMemcpyHostToDevice;
  CHECK(cudaMemcpy3D(&up));
  std::vector<int> back(host.size());
  cudaMemcpy3DParms down{};
  down.srcPtr = volume;
  down.dstPtr = make_cudaPitchedPtr(back.data(), width * sizeof(int), width, height);
  down.extent = extent;
  down.kind = cudaMemcpyDeviceToHost;
  CHECK(cudaMemcpy3D(&down));
  EXPECT(back == host);
  pass("a pitched volume there and back");

  // A part from inside: 10 x 7 x 2 from (20, 11, 2).
  std::vector<int> part(10 * 7 * 2);
  down.srcPos = make_cudaPos(20 * sizeof(int), 11, 2);
  down.dstPtr = make_cudaPitchedPtr(part.data(), 10 * sizeof(int), 10, 7);
  down.extent = make_cudaExtent(10 * sizeof(int), 7, 2);
  CHECK(cudaMemcpy3DAsync(&down, 0));
  CHECK(cudaStreamSynchronize(0));
  for (int i = 0; i < 140; i++)
    EXPECT(part[i] == host[((2 + i / 70) * height + 11 + i / 10 % 7) * width + 20 + i % 10]);
  print_sum("part", part);
  pass("a part of a volume");

  CHECK(cudaMemset3D(volume, 0x11, make_cudaExtent(4 * sizeof(int), 2, depth)));
  down.srcPos = make_cudaPos(0, 0, 0);
  down.dstPtr = make_cudaPitchedPtr(back.data(), width * sizeof(int), width, height);
  down.extent = extent;
  CHECK(cudaMemcpy3D(&down));
  for (std::size_t i = 0; i < back.size(); i++) {
    const bool set = i % width < 4 && i / width % height < 2;
    EXPECT(back[i] == (set ? 0x11111111 : host[i]));
  }
  pass("memset of a part");

  int* flat;
  std::size_t pitch;
  CHECK(cudaMallocPitch(&flat, &pitch, width * sizeof(int), height));
  CHECK(cudaMemcpy2D(flat, pitch, host.data(), width * sizeof(int), width * sizeof(int), height,
                     cudaMemcpyHostToDevice));
  CHECK(cudaMemset2D(flat, pitch, 0, 10 * sizeof(int), height));
  int* tight = device_array<int>(width * height);
  CHECK(cudaMemcpy2D(tight, width * sizeof(int), flat, pitch, width * sizeof(int), height,
                     cudaMemcpyDeviceToDevice));
  back = from_device(tight, width * height);
  for (std::size_t i = 0; i < width * height; i++) EXPECT(back[i] == (i % width < 10 ? 0 : host[i]));
  pass("two dimensions");

  // Larger than any staging buffer, at odd places.
  const std::size_t many = (40 << 20) + 3;
  std::vector<unsigned char> large(many), larger(many + 5);
  for (std::size_t i = 0; i < many; i++) large[i] = static_cast<unsigned char>(i * 31 + (i >> 13));
  unsigned char* bytes = device_array<unsigned char>(many + 100);
  CHECK(cudaMemcpy(bytes + 1, large.data(), many, cudaMemcpyHostToDevice));
  CHECK(cudaMemcpy(bytes, bytes + 1, 16, cudaMemcpyDeviceToDevice));
  CHECK(cudaMemcpy(larger.data() + 3, bytes + 1, many, cudaMemcpyDefault));
  for (std::size_t i = 16; i < many; i++) EXPECT(larger[3 + i] == large[i]);
  std::printf("large %016llx\n", static_cast<unsigned long long>(checksum(larger.data() + 19, many - 16)));
  pass("forty MiB at odd addresses");

  // The source of a synchronous copy belongs to the caller again when it returns.
  std::vector<int> reused(1 << 18);
  int* rows = device_array<int>(8 << 18);
  for (int round = 0; round < 8; round++) {
    for (int& value : reused) value = round;
    CHECK(cudaMemcpyAsync(rows + (round << 18), reused.data(), reused.size() * sizeof(int),
                          cudaMemcpyHostToDevice, 0));
  }
  for (int round = 0; round < 8; round++) {
    for (int value : from_device(rows + (round << 18), 1 << 18)) EXPECT(value == round);
  }
  pass("pageable sources may be changed at once");

  CHECK(cudaMemsetAsync(tight, 0xff, width * height * sizeof(int), 0));
  CHECK(cudaMemcpyPeer(rows, 0, tight, 0, 64));
  EXPECT(from_device(rows, 16)[15] == -1 && from_device(rows, 17)[16] == 0);
  const cudaError_t narrow = cudaMemcpy2D(flat, 10, host.data(), 400, 400, 2, cudaMemcpyHostToDevice);
  std::printf("a pitch that is too small: %s\n", cudaGetErrorName(narrow));
  EXPECT(narrow != cudaSuccess && cudaGetLastError() == narrow);
  pass("from the device to itself; a pitch that is too small");

  CHECK(cudaFree(volume.ptr));
  for (int* pointer : {flat, tight, rows}) CHECK(cudaFree(pointer));
  CHECK(cudaFree(bytes));
}
