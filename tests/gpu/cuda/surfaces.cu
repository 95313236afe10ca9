// Surface objects: kernels write arrays, read them back, and textures see what was written.
#include "check.cuh"

__global__ void draw(cudaSurfaceObject_t surface, int width, int height) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  if (x < width && y < height) surf2Dwrite(x * 100 + y, surface, x * static_cast<int>(sizeof(int)), y);
}

__global__ void blur(cudaSurfaceObject_t in, cudaSurfaceObject_t out, int width, int height) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  if (x >= width || y >= height) return;
  int sum = 0;
  for (int dx = -1; dx <= 1; dx++) {
    sum += surf2Dread<int>(in, (x + dx) * static_cast<int>(sizeof(int)), y, cudaBoundaryModeClamp);
  }
  surf2Dwrite(sum, out, x * static_cast<int>(sizeof(int)), y);
}

__global__ void through_texture(cudaTextureObject_t texture, int* out, int width, int height) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  if (x < width && y < height) out[y * width + x] = tex2D<int>(texture, x + 0.5f, y + 0.5f);
}

__global__ void fill_volume(cudaSurfaceObject_t surface) {
  surf3Dwrite(static_cast<short>(threadIdx.x + 10 * blockIdx.x + 100 * blockIdx.y), surface,
              static_cast<int>(threadIdx.x * sizeof(short)), blockIdx.x, blockIdx.y);
}

int main() {
  const int width = 80, height = 30;
  const cudaChannelFormatDesc one_int = cudaCreateChannelDesc<int>();
  cudaArray_t first, second;
  CHECK(cudaMallocArray(&first, &one_int, width, height, cudaArraySurfaceLoadStore));
  CHECK(cudaMallocArray(&second, &one_int, width, height, cudaArraySurfaceLoadStore));
  cudaResourceDesc resource{};
  resource.resType = cudaResourceTypeArray;
  cudaSurfaceObject_t in, out;
  resource.res.array.array = first;
  CHECK(cudaCreateSurfaceObject(&in, &resource));
  resource.res.array.array = second;
  CHECK(cudaCreateSurfaceObject(&out, &resource));

  draw<<<dim3(1, height), 128>>>(in, width, height);
  std::vector<int> host(width * height);
  CHECK(cudaMemcpy2DFromArray(host.data(), width * sizeof(int), first, 0, 0, width * sizeof(int), height,
                              cudaMemcpyDeviceToHost));
  for (int y = 0; y < height; y++) {
    for (int x = 0; x < width; x++) EXPECT(host[y * width + x] == x * 100 + y);
  }
  pass("written by a kernel, copied from the array");

  blur<<<dim3(1, height), 128>>>(in, out, width, height);
  cudaTextureDesc description{};
  description.filterMode = cudaFilterModePoint;
  cudaTextureObject_t texture;
  CHECK(cudaCreateTextureObject(&texture, &resource, &description, nullptr));
  int* linear = device_array<int>(width * height);
  through_texture<<<dim3(1, height), 128>>>(texture, linear, width, height);
  host = from_device(linear, width * height);
  EXPECT(host[0] == 100 && host[5] == 1500 && host[width - 1] == (width - 2) * 100 + 2 * (width - 1) * 100);
  print_sum("blurred", host);
  pass("a texture sees what a surface wrote");

  cudaArray_t volume;
  const cudaChannelFormatDesc one_short = cudaCreateChannelDesc<short>();
  CHECK(cudaMalloc3DArray(&volume, &one_short, make_cudaExtent(8, 6, 4), cudaArraySurfaceLoadStore));
  resource.res.array.array = volume;
  cudaSurfaceObject_t solid;
  CHECK(cudaCreateSurfaceObject(&solid, &resource));
  fill_volume<<<dim3(6, 4), 8>>>(solid);
  std::vector<short> shorts(8 * 6 * 4);
  cudaMemcpy3DParms copy{};
  copy.srcArray = volume;
  copy.dstPtr = make_cudaPitchedPtr(shorts.data(), 8 * sizeof(short), 8, 6);
  copy.extent = make_cudaExtent(8, 6, 4);
  copy.kind = cudaMemcpyDeviceToHost;
  CHECK(cudaMemcpy3D(&copy));
  for (int i = 0; i < 8 * 6 * 4; i++) EXPECT(shorts[i] == i % 8 + 10 * (i / 8 % 6) + 100 * (i / 48));
  pass("a volume");

  CHECK(cudaDestroyTextureObject(texture));
  for (cudaSurfaceObject_t surface : {in, out, solid}) CHECK(cudaDestroySurfaceObject(surface));
  for (cudaArray_t array : {first, second, volume}) CHECK(cudaFreeArray(array));
  CHECK(cudaFree(linear));
}
