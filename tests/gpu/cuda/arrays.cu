// CUDA arrays: their descriptions, copies to, from and between them, parts and volumes.
#include "check.cuh"

int main() {
  const std::size_t width = 33, height = 17, depth = 9;
  const cudaChannelFormatDesc two_floats = cudaCreateChannelDesc<float2>();
  std::vector<float2> host(width * height * depth);
  for (std::size_t i = 0; i < host.size(); i++)
    host[i] = {static_cast<float>(i), static_cast<float>(i) * 0.25f};

  cudaArray_t flat;
  CHECK(cudaMallocArray(&flat, &two_floats, width, height));
  cudaChannelFormatDesc description;
  cudaExtent extent;
  unsigned flags = 99;
  CHECK(cudaArrayGetInfo(&description, &extent, &flags, flat));
  EXPECT(description.x == 32 && description.y == 32 && description.z == 0 &&
         description.f == cudaChannelFormatKindFloat);
  EXPECT(extent.width == width && extent.height == height && extent.depth == 0 && flags == 0);
  pass("an array tells what it is");

  const std::size_t row = width * sizeof(float2);
  CHECK(cudaMemcpy2DToArray(flat, 0, 0, host.data(), row, row, height, cudaMemcpyHostToDevice));
  std::vector<float2> back(width * height);
  CHECK(cudaMemcpy2DFromArray(back.data(), row, flat, 0, 0, row, height, cudaMemcpyDeviceToHost));
  EXPECT(std::memcmp(back.data(), host.data(), back.size() * sizeof(float2)) == 0);
  pass("there and back");

  // A part: 5 x 4 to (3, 2), then that part alone.
  std::vector<float2> stamp(20, float2{-1, -2}), seen(20);
  CHECK(cudaMemcpy2DToArray(flat, 3 * sizeof(float2), 2, stamp.data(), 5 * sizeof(float2), 5 * sizeof(float2),
                            4, cudaMemcpyHostToDevice));
  CHECK(cudaMemcpy2DFromArray(seen.data(), 5 * sizeof(float2), flat, 3 * sizeof(float2), 2,
                              5 * sizeof(float2), 4, cudaMemcpyDeviceToHost));
  EXPECT(std::memcmp(seen.data(), stamp.data(), 20 * sizeof(float2)) == 0);
  CHECK(cudaMemcpy2DFromArray(back.data(), row, flat, 0, 0, row, height, cudaMemcpyDeviceToHost));
  print_sum("stamped", back);
  pass("parts");

  cudaArray_t solid, other;
  CHECK(cudaMalloc3DArray(&solid, &two_floats, make_cudaExtent(width, height, depth)));
  CHECK(cudaMalloc3DArray(&other, &two_floats, make_cudaExtent(width, height, depth)));
  cudaMemcpy3DParms copy{};
  copy.srcPtr = make_cudaPitchedPtr(host.data(), row, width, height);
  copy.dstArray = solid;
  copy.extent = make_cudaExtent(width, height, depth);
  copy.kind = cudaMemcpyHostToDevice;
  CHECK(cudaMemcpy3D(&copy));
  cudaMemcpy3DParms across{};
  across.srcArray = solid;
  across.dstArray = other;
  across.extent = make_cudaExtent(width, height, depth);
  across.kind = cudaMemcpyDeviceToDevice;
  CHECK(cudaMemcpy3D(&across));
  // From the array into linear memory of the device, then down.
  cudaPitchedPtr linear;
  CHECK(cudaMalloc3D(&linear, make_cudaExtent(row, height, depth)));
  cudaMemcpy3DParms out{};
  out.srcArray = other;
  out.dstPtr = linear;
  out.extent = make_cudaExtent(width, height, depth);
  out.kind = cudaMemcpyDeviceToDevice;
  CHECK(cudaMemcpy3D(&out));
  std::vector<float2> whole(host.size());
  cudaMemcpy3DParms down{};
  down.srcPtr = linear;
  down.dstPtr = make_cudaPitchedPtr(whole.data(), row, width, height);
  down.extent = make_cudaExtent(row, height, depth);
  down.kind = cudaMemcpyDeviceToHost;
  CHECK(cudaMemcpy3D(&down));
  EXPECT(std::memcmp(whole.data(), host.data(), host.size() * sizeof(float2)) == 0);
  pass("volumes, between arrays, and to linear memory");

  cudaArray_t three = nullptr;
  const cudaChannelFormatDesc bad{32, 32, 32, 0, cudaChannelFormatKindFloat};
  EXPECT(cudaMallocArray(&three, &bad, width, height) != cudaSuccess);
  (void)cudaGetLastError();
  pass("three channels are refused");

  for (cudaArray_t array : {flat, solid, other}) CHECK(cudaFreeArray(array));
  CHECK(cudaFree(linear.ptr));
}
