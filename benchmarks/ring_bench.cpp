// What the client pays for a driver call: an asynchronous launch with eight parameters, asynchronous calls
// per second until the worker has replayed them all, and a synchronising call's round trip. Runs under a
// slice; `benchmarks/run.py` gives it a worker on the null driver, so that only the hook, the ring and the
// replay core are measured.
//
// Prints one JSON object: every repeat's figure, for medians and spread.
#include <cuda.h>
#include <dlfcn.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

double now_s() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

void check(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "ring_bench: %s returned %d\n", what, result);
  std::exit(1);
}

template <typename F>
F* driver(void* library, const char* name) {
  void* f = dlsym(library, name);
  if (f == nullptr) {
    std::fprintf(stderr, "ring_bench: no %s\n", name);
    std::exit(1);
  }
  return reinterpret_cast<F*>(f);
}

void print(const char* name, const std::vector<double>& values, const char* end) {
  std::printf("\"%s\": [", name);
  for (std::size_t i = 0; i < values.size(); ++i) std::printf("%s%.6g", i > 0 ? ", " : "", values[i]);
  std::printf("]%s", end);
}

}  // namespace

int main(int argc, char** argv) {
  const int repeats = argc > 1 ? std::atoi(argv[1]) : 15;
  constexpr int kBurst = 1000;      // launches that fit the ring: the client's own cost, no waiting for space
  constexpr int kStream = 200'000;  // launches through the ring and its back-pressure
  constexpr int kTrips = 2000;
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) {
    std::fprintf(stderr, "ring_bench: %s\n", dlerror());
    return 1;
  }
  const auto init = driver<decltype(cuInit)>(library, "cuInit");
  const auto retain = driver<decltype(cuDevicePrimaryCtxRetain)>(library, "cuDevicePrimaryCtxRetain");
  const auto set_current = driver<decltype(cuCtxSetCurrent)>(library, "cuCtxSetCurrent");
  const auto load = driver<decltype(cuModuleLoadData)>(library, "cuModuleLoadData");
  const auto get_function = driver<decltype(cuModuleGetFunction)>(library, "cuModuleGetFunction");
  const auto launch = driver<decltype(cuLaunchKernel)>(library, "cuLaunchKernel");
  const auto synchronize = driver<CUresult()>(library, "cuCtxSynchronize");

  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  check(init(0), "cuInit");
  check(retain(&context, 0), "cuDevicePrimaryCtxRetain");
  check(set_current(context), "cuCtxSetCurrent");
  check(load(&module, "// the null driver takes any text"), "cuModuleLoadData");
  check(get_function(&function, module, "eight"), "cuModuleGetFunction");
  double values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  void* parameters[8];
  for (int i = 0; i < 8; ++i) parameters[i] = &values[i];
  auto launches = [&](int n) {
    for (int i = 0; i < n; ++i)
      check(launch(function, 1, 1, 1, 128, 1, 1, 0, nullptr, parameters, nullptr), "cuLaunchKernel");
  };
  launches(kBurst);
  check(synchronize(), "cuCtxSynchronize");

  std::vector<double> launch_ns, calls_per_s, round_trip_us;
  for (int r = 0; r < repeats; ++r) {
    double start = now_s();
    launches(kBurst);
    launch_ns.push_back((now_s() - start) * 1e9 / kBurst);
    check(synchronize(), "cuCtxSynchronize");
    start = now_s();
    launches(kStream);
    check(synchronize(), "cuCtxSynchronize");
    calls_per_s.push_back(kStream / (now_s() - start));
    start = now_s();
    for (int i = 0; i < kTrips; ++i) check(synchronize(), "cuCtxSynchronize");
    round_trip_us.push_back((now_s() - start) * 1e6 / kTrips);
  }
  std::printf("{");
  print("launch_ns", launch_ns, ", ");
  print("calls_per_s", calls_per_s, ", ");
  print("round_trip_us", round_trip_us, "}\n");
  return 0;
}
