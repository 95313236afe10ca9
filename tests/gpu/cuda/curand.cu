// cuRAND: seeded numbers by the host interface, and states that kernels keep.
// libraries: curand
#include <curand.h>
#include <curand_kernel.h>

#include "check.cuh"

#define RAND(call)                                                   \
  do {                                                               \
    const curandStatus_t rand_ = (call);                             \
    if (rand_ != CURAND_STATUS_SUCCESS) {                            \
      std::printf("FAIL line %d: %s: %d\n", __LINE__, #call, rand_); \
      std::exit(1);                                                  \
    }                                                                \
  } while (false)

__global__ void start(curandStatePhilox4_32_10_t* states) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  curand_init(20, i, 0, &states[i]);
}

__global__ void draw(curandStatePhilox4_32_10_t* states, unsigned* inside, int rounds) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  curandStatePhilox4_32_10_t state = states[i];
  unsigned count = 0;
  for (int round = 0; round < rounds; round++) {
    const float x = curand_uniform(&state), y = curand_uniform(&state);
    count += x * x + y * y <= 1.0f;
  }
  states[i] = state;
  inside[i] = count;
}

int main() {
  const std::size_t n = 1 << 20;
  float* x = device_array<float>(n);
  for (curandRngType_t type : {CURAND_RNG_PSEUDO_XORWOW, CURAND_RNG_PSEUDO_PHILOX4_32_10,
                               CURAND_RNG_PSEUDO_MRG32K3A, CURAND_RNG_QUASI_SOBOL32}) {
    curandGenerator_t generator;
    RAND(curandCreateGenerator(&generator, type));
    if (type != CURAND_RNG_QUASI_SOBOL32) RAND(curandSetPseudoRandomGeneratorSeed(generator, 7));
    RAND(curandGenerateUniform(generator, x, n));
    CHECK(cudaDeviceSynchronize());
    const std::vector<float> values = from_device(x, n);
    double mean = 0;
    for (float value : values) mean += value;
    EXPECT(mean / n > 0.495 && mean / n < 0.505);
    std::printf("generator %d: ", type);
    print_sum("uniform", values);
    RAND(curandGenerateNormal(generator, x, n, 0.0f, 1.0f));
    CHECK(cudaDeviceSynchronize());
    print_sum("normal", from_device(x, n));
    RAND(curandDestroyGenerator(generator));
  }
  pass("generators with a seed");

  const int threads = 4096, rounds = 200;
  auto* states = device_array<curandStatePhilox4_32_10_t>(threads);
  unsigned* inside = device_array<unsigned>(threads);
  start<<<threads / 256, 256>>>(states);
  draw<<<threads / 256, 256>>>(states, inside, rounds);
  draw<<<threads / 256, 256>>>(states, inside, rounds);
  const std::vector<unsigned> counts = from_device(inside, threads);
  double total = 0;
  for (unsigned count : counts) total += count;
  const double pi = 4 * total / (static_cast<double>(threads) * rounds);
  EXPECT(pi > 3.12 && pi < 3.16);
  print_sum("counts", counts);
  pass("pi by chance");
  CHECK(cudaFree(x));
  CHECK(cudaFree(states));
  CHECK(cudaFree(inside));
}
