// Modules from PTX by the driver API: loading, looking up, launching, linking, logs of what is wrong.
#include <string>

#include "driver.cuh"

const char* const kTwice = R"(
.version 7.0
.target sm_75
.address_size 64
.visible .global .align 4 .u32 calls = 5;
.visible .entry twice(.param .u64 out, .param .u32 count) {
  .reg .pred p;
  .reg .u32 i, m, n, v;
  .reg .u64 a, o;
  ld.param.u64 a, [out];
  ld.param.u32 n, [count];
  mov.u32 i, %tid.x;
  setp.ge.u32 p, i, n;
  @p ret;
  mul.wide.u32 o, i, 4;
  add.u64 a, a, o;
  ld.global.u32 v, [a];
  add.u32 v, v, v;
  st.global.u32 [a], v;
  atom.global.add.u32 m, [calls], 1;
  ret;
})";

const char* const kCaller = R"(
.version 7.0
.target sm_75
.address_size 64
.extern .func (.param .u32 r) half(.param .u32 v);
.visible .entry halve(.param .u64 out) {
  .reg .u32 v;
  .reg .u64 a;
  ld.param.u64 a, [out];
  ld.global.u32 v, [a];
  {
    .param .u32 argument;
    .param .u32 result;
    st.param.u32 [argument], v;
    call (result), half, (argument);
    ld.param.u32 v, [result];
  }
  st.global.u32 [a], v;
  ret;
})";

const char* const kCalled = R"(
.version 7.0
.target sm_75
.address_size 64
.visible .func (.param .u32 r) half(.param .u32 v) {
  .reg .u32 x;
  ld.param.u32 x, [v];
  shr.u32 x, x, 1;
  st.param.u32 [r], x;
  ret;
})";

void launch(CUfunction function, unsigned threads, void** arguments) {
  DCHECK(cuLaunchKernel, function, 1, 1, 1, threads, 1, 1, 0, nullptr, arguments, nullptr);
  DCHECK(cuCtxSynchronize);
}

int main() {
  CHECK(cudaFree(nullptr));
  CUmodule module = nullptr;
  DCHECK(cuModuleLoadData, &module, kTwice);
  CUfunction twice = nullptr;
  DCHECK(cuModuleGetFunction, &twice, module, "twice");
  std::vector<unsigned> host{1, 2, 3, 4};
  unsigned* x = on_device(host);
  unsigned n = 3;
  void* arguments[] = {&x, &n};
  launch(twice, 32, arguments);
  host = from_device(x, 4);
  EXPECT(host[0] == 2 && host[2] == 6 && host[3] == 4);
  CUdeviceptr calls = 0;
  std::size_t bytes = 0;
  DCHECK(cuModuleGetGlobal, &calls, &bytes, module, "calls");
  EXPECT(bytes == 4);
  unsigned seen = 0;
  DCHECK(cuMemcpyDtoH, &seen, calls, 4);
  EXPECT(seen == 8);
  pass("a kernel and a variable");

  DCHECK_ERROR(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction, &twice, module, "thrice");
  DCHECK_ERROR(CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal, &calls, &bytes, module, "no_such");
  unsigned count = 0;
  DCHECK(cuModuleGetFunctionCount, &count, module);
  EXPECT(count == 1);
  DCHECK(cuModuleUnload, module);
  pass("names that are not there");

  // The parameters as a packed buffer.
  DCHECK(cuModuleLoadData, &module, kTwice);
  DCHECK(cuModuleGetFunction, &twice, module, "twice");
  struct {
    unsigned* out;
    unsigned n;
  } packed{x, 4};
  std::size_t size = sizeof(unsigned*) + sizeof(unsigned);
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                   CU_LAUNCH_PARAM_END};
  DCHECK(cuLaunchKernel, twice, 1, 1, 1, 4, 1, 1, 0, nullptr, nullptr, extra);
  DCHECK(cuCtxSynchronize);
  EXPECT(from_device(x, 4)[3] == 8);
  DCHECK(cuModuleUnload, module);
  pass("parameters as one buffer");

  char log[4096] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  std::string wrong = kTwice;
  wrong.replace(wrong.find("add.u32 v, v, v;"), 16, "addd.u32 v, v, v");
  DCHECK_ERROR(CUDA_ERROR_INVALID_PTX, cuModuleLoadDataEx, &module, wrong.c_str(), 2, options, values);
  EXPECT(std::strlen(log) > 0);
  pass("wrong PTX is explained in the log");

  CUlinkState link = nullptr;
  DCHECK(cuLinkCreate, 0, nullptr, nullptr, &link);
  DCHECK(cuLinkAddData, link, CU_JIT_INPUT_PTX, const_cast<char*>(kCaller), std::strlen(kCaller) + 1,
         "caller", 0, nullptr, nullptr);
  DCHECK(cuLinkAddData, link, CU_JIT_INPUT_PTX, const_cast<char*>(kCalled), std::strlen(kCalled) + 1,
         "called", 0, nullptr, nullptr);
  void* image = nullptr;
  DCHECK(cuLinkComplete, link, &image, &size);
  EXPECT(size > 0);
  DCHECK(cuModuleLoadData, &module, image);
  DCHECK(cuLinkDestroy, link);
  CUfunction halve = nullptr;
  DCHECK(cuModuleGetFunction, &halve, module, "halve");
  CHECK(cudaMemset(x, 0, 4));
  CHECK(cudaMemset(x, 77, 1));
  launch(halve, 1, arguments);
  EXPECT(from_device(x, 1)[0] == 38);
  DCHECK(cuModuleUnload, module);
  pass("two pieces linked");

  CUlibrary library = nullptr;
  DCHECK(cuLibraryLoadData, &library, kTwice, nullptr, nullptr, 0, nullptr, nullptr, 0);
  CUkernel kernel = nullptr;
  DCHECK(cuLibraryGetKernel, &kernel, library, "twice");
  CHECK(cudaMemset(x, 1, 4));
  n = 1;
  launch(reinterpret_cast<CUfunction>(kernel), 1, arguments);
  EXPECT(from_device(x, 1)[0] == 0x02020202);
  int most_threads = 0;
  DCHECK(cuKernelGetAttribute, &most_threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel, 0);
  EXPECT(most_threads == 1024);
  DCHECK(cuLibraryUnload, library);
  pass("a library");
  CHECK(cudaFree(x));
}
