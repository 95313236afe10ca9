// A main() for fuzz targets where the compiler has no libFuzzer: keeps a pool of inputs, mutates them, and
// runs the target, without coverage to guide it. Arguments as libFuzzer's, as far as run.py uses them:
//   -max_total_time=SECONDS -seed=N -max_len=BYTES -artifact_prefix=PREFIX, folders of a corpus, or files to
//   replay.
// The input being run is kept in PREFIXlast-input, so that it is there after a crash.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most,
                                               unsigned seed);

namespace {

using Input = std::vector<std::uint8_t>;
std::mt19937_64 generator;

Input read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Through a mapping that stays: written before each run, at the price of a copy.
class Keeper {
 public:
  explicit Keeper(const std::string& path) : path_(path) {}
  void keep(const Input& input) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc)
        .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
  }
  void forget() { std::filesystem::remove(path_); }

 private:
  std::string path_;
};

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t) {
  if (size > 0) data[generator() % size] = static_cast<std::uint8_t>(generator());
  return size;
}

int main(int count, char** arguments) {
  long seconds = 10;
  std::size_t most = 65536;
  std::uint64_t seed = 1;
  std::string prefix = "./";
  std::vector<Input> pool;
  bool replay_only = false;
  LLVMFuzzerInitialize(&count, &arguments);
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    auto value = [&](std::string_view name) {
      return argument.starts_with(name) ? arguments[i] + name.size() : nullptr;
    };
    if (const char* v = value("-max_total_time=")) {
      seconds = std::stol(v);
    } else if (const char* s = value("-seed=")) {
      seed = std::stoull(s);
    } else if (const char* m = value("-max_len=")) {
      most = std::stoull(m);
    } else if (const char* p = value("-artifact_prefix=")) {
      prefix = p;
    } else if (std::filesystem::is_directory(arguments[i])) {
      for (const auto& file : std::filesystem::directory_iterator(arguments[i]))
        pool.push_back(read(file.path()));
    } else if (std::filesystem::is_regular_file(arguments[i])) {
      const Input input = read(arguments[i]);
      LLVMFuzzerTestOneInput(input.data(), input.size());
      replay_only = true;
    } else {
      std::fprintf(stderr, "loop: %s is no option, folder or file\n", arguments[i]);
      return 2;
    }
  }
  if (replay_only) return 0;
  generator.seed(seed);
  Keeper keeper(prefix + "last-input");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  if (pool.empty()) pool.emplace_back();
  std::uint64_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    Input input = runs < pool.size() ? pool[runs] : pool[generator() % pool.size()];
    if (runs >= pool.size()) {
      const std::size_t size = std::min(input.size(), most);
      input.resize(most);
      input.resize(LLVMFuzzerCustomMutator(input.data(), size, most, static_cast<unsigned>(generator())));
    }
    keeper.keep(input);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    if (generator() % 20 == 0) {
      if (pool.size() < 500) {
        pool.push_back(std::move(input));
      } else {
        pool[generator() % pool.size()] = std::move(input);
      }
    }
  }
  keeper.forget();
  std::printf("Done %llu runs in %ld second(s)\n", static_cast<unsigned long long>(runs), seconds);
  return 0;
}
