// Texture objects: linear memory, pitched memory and arrays; addressing, filtering, normalised reads, layers.
#include "check.cuh"

__global__ void fetch(cudaTextureObject_t texture, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = tex1Dfetch<float>(texture, n - 1 - i);
}

__global__ void sample(cudaTextureObject_t texture, float* out, int width, int height, float scale,
                       float shift) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  if (x < width && y < height)
    out[y * width + x] = tex2D<float>(texture, x * scale + shift, y * scale + shift);
}

__global__ void sample_bytes(cudaTextureObject_t texture, float* out, int n) {
  const int x = threadIdx.x;
  if (x < n) out[x] = tex1D<float>(texture, x + 0.5f);
}

__global__ void sample_layers(cudaTextureObject_t texture, float* out, int width, int layers) {
  const int x = threadIdx.x, layer = blockIdx.x;
  if (x < width && layer < layers)
    out[layer * width + x] = tex2DLayered<float>(texture, x + 0.5f, 0.5f, layer);
}

cudaTextureObject_t make(const cudaResourceDesc& resource, cudaTextureAddressMode address,
                         cudaTextureFilterMode filter, bool normalised = false,
                         cudaTextureReadMode read = cudaReadModeElementType) {
  cudaTextureDesc description{};
  for (auto& mode : description.addressMode) mode = address;
  description.filterMode = filter;
  description.readMode = read;
  description.normalizedCoords = normalised;
  cudaTextureObject_t texture = 0;
  CHECK(cudaCreateTextureObject(&texture, &resource, &description, nullptr));
  return texture;
}

int main() {
  const int width = 64, height = 48;
  std::vector<float> image(width * height);
  for (int i = 0; i < width * height; i++) image[i] = static_cast<float>((i * 37) % 101);
  float* out = device_array<float>(width * height);

  float* linear = on_device(image);
  cudaResourceDesc resource{};
  resource.resType = cudaResourceTypeLinear;
  resource.res.linear = {linear, cudaCreateChannelDesc<float>(), image.size() * sizeof(float)};
  cudaTextureObject_t texture = make(resource, cudaAddressModeClamp, cudaFilterModePoint);
  fetch<<<width * height / 256, 256>>>(texture, out, width * height);
  std::vector<float> result = from_device(out, width * height);
  for (int i = 0; i < width * height; i++) EXPECT(result[i] == image[width * height - 1 - i]);
  cudaResourceDesc seen{};
  CHECK(cudaGetTextureObjectResourceDesc(&seen, texture));
  EXPECT(seen.resType == cudaResourceTypeLinear && seen.res.linear.devPtr == linear);
  CHECK(cudaDestroyTextureObject(texture));
  pass("linear memory");

  cudaArray_t array;
  const cudaChannelFormatDesc one_float = cudaCreateChannelDesc<float>();
  CHECK(cudaMallocArray(&array, &one_float, width, height));
  CHECK(cudaMemcpy2DToArray(array, 0, 0, image.data(), width * sizeof(float), width * sizeof(float), height,
                            cudaMemcpyHostToDevice));
  resource = {};
  resource.resType = cudaResourceTypeArray;
  resource.res.array.array = array;
  texture = make(resource, cudaAddressModeClamp, cudaFilterModePoint);
  sample<<<dim3(1, height), width>>>(texture, out, width, height, 1.0f, 0.5f);
  EXPECT(from_device(out, width * height) == image);
  sample<<<dim3(1, height), width>>>(texture, out, width, height, 1.0f, 1000.0f);
  EXPECT(from_device(out, 1)[0] == image.back());
  CHECK(cudaDestroyTextureObject(texture));
  texture = make(resource, cudaAddressModeBorder, cudaFilterModePoint);
  sample<<<dim3(1, height), width>>>(texture, out, width, height, 1.0f, -1000.0f);
  EXPECT(from_device(out, 1)[0] == 0.0f);
  CHECK(cudaDestroyTextureObject(texture));
  pass("an array, clamped and with a border");

  texture = make(resource, cudaAddressModeClamp, cudaFilterModeLinear);
  sample<<<dim3(1, height), width>>>(texture, out, width, height, 1.0f, 1.0f);
  result = from_device(out, width * height);
  EXPECT(result[0] == (image[0] + image[1] + image[width] + image[width + 1]) / 4);
  print_sum("between four", result);
  CHECK(cudaDestroyTextureObject(texture));
  texture = make(resource, cudaAddressModeWrap, cudaFilterModeLinear, true);
  sample<<<dim3(1, height), width>>>(texture, out, width, height, 0.013f, -0.4f);
  print_sum("wrapped", from_device(out, width * height));
  CHECK(cudaDestroyTextureObject(texture));
  texture = make(resource, cudaAddressModeMirror, cudaFilterModePoint, true);
  sample<<<dim3(1, height), width>>>(texture, out, width, height, 0.071f, -0.9f);
  print_sum("mirrored", from_device(out, width * height));
  CHECK(cudaDestroyTextureObject(texture));
  pass("filtering, wrapping, mirroring");

  float* pitched;
  std::size_t pitch = 0;
  CHECK(cudaMallocPitch(&pitched, &pitch, width * sizeof(float), height));
  CHECK(cudaMemcpy2D(pitched, pitch, image.data(), width * sizeof(float), width * sizeof(float), height,
                     cudaMemcpyHostToDevice));
  resource = {};
  resource.resType = cudaResourceTypePitch2D;
  resource.res.pitch2D = {pitched, one_float, width, height, pitch};
  texture = make(resource, cudaAddressModeClamp, cudaFilterModePoint);
  sample<<<dim3(1, height), width>>>(texture, out, width, height, 1.0f, 0.5f);
  EXPECT(from_device(out, width * height) == image);
  CHECK(cudaDestroyTextureObject(texture));
  pass("pitched memory");

  cudaArray_t bytes;
  const cudaChannelFormatDesc one_byte = cudaCreateChannelDesc<unsigned char>();
  CHECK(cudaMallocArray(&bytes, &one_byte, 256, 0));
  std::vector<unsigned char> ramp(256);
  for (int i = 0; i < 256; i++) ramp[i] = static_cast<unsigned char>(i);
  CHECK(cudaMemcpy2DToArray(bytes, 0, 0, ramp.data(), 256, 256, 1, cudaMemcpyHostToDevice));
  resource = {};
  resource.resType = cudaResourceTypeArray;
  resource.res.array.array = bytes;
  texture = make(resource, cudaAddressModeClamp, cudaFilterModePoint, false, cudaReadModeNormalizedFloat);
  sample_bytes<<<1, 256>>>(texture, out, 256);
  result = from_device(out, 256);
  EXPECT(result[0] == 0.0f && result[255] == 1.0f);
  print_sum("bytes as fractions", result);
  CHECK(cudaDestroyTextureObject(texture));
  pass("bytes read as fractions");

  cudaArray_t layered;
  CHECK(cudaMalloc3DArray(&layered, &one_float, make_cudaExtent(16, 4, 5), cudaArrayLayered));
  cudaMemcpy3DParms copy{};
  copy.srcPtr = make_cudaPitchedPtr(image.data(), 16 * sizeof(float), 16, 4);
  copy.dstArray = layered;
  copy.extent = make_cudaExtent(16, 4, 5);
  copy.kind = cudaMemcpyHostToDevice;
  CHECK(cudaMemcpy3D(&copy));
  resource.res.array.array = layered;
  texture = make(resource, cudaAddressModeClamp, cudaFilterModePoint);
  sample_layers<<<5, 16>>>(texture, out, 16, 5);
  result = from_device(out, 80);
  for (int layer = 0; layer < 5; layer++) {
    for (int x = 0; x < 16; x++) EXPECT(result[layer * 16 + x] == image[layer * 64 + x]);
  }
  CHECK(cudaDestroyTextureObject(texture));
  pass("layers");

  for (cudaArray_t a : {array, bytes, layered}) CHECK(cudaFreeArray(a));
  for (float* pointer : {linear, pitched, out}) CHECK(cudaFree(pointer));
}
