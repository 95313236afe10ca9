"""Modules and libraries: loading, names, variables, attributes, and what is told of bad PTX."""

import ctypes

from learner import KERNELS, compile_cubin, compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
ptx = compile_ptx(KERNELS)
module = ok(cu.cuModuleLoadData(ptx))
count = ok(cu.cuModuleGetFunction(module, b"count"))
assert int(ok(cu.cuModuleGetFunction(module, b"count"))) == int(count)
fails(cu.cuModuleGetFunction(module, b"missing"), "NOT_FOUND")
assert ok(cu.cuModuleGetFunctionCount(module)) == 6
names = {ok(cu.cuFuncGetName(f)).decode() for f in ok(cu.cuModuleEnumerateFunctions(6, module))}
assert names == {"add", "count", "wide", "wild", "spin", "shared_sum"}, names

# Variables are memory like any other; two modules of one image have their own.
address, size = ok(cu.cuModuleGetGlobal(module, b"counter"))
assert size == 4
twin = ok(cu.cuModuleLoadData(ptx))
twin_address, _ = ok(cu.cuModuleGetGlobal(twin, b"counter"))
assert int(address) != int(twin_address)
value = ctypes.c_int(0)
for _ in range(3):
    ok(launch(count, 2, 32))
ok(cu.cuMemcpyDtoH(ctypes.addressof(value), address, 4))
assert value.value == 5 + 3 * 64, value.value
ok(cu.cuMemcpyDtoH(ctypes.addressof(value), twin_address, 4))
assert value.value == 5
value.value = 40
ok(cu.cuMemcpyHtoD(address, ctypes.addressof(value), 4))
ok(launch(count, 1, 1))
ok(cu.cuMemcpyDtoH(ctypes.addressof(value), address, 4))
assert value.value == 41
fails(cu.cuModuleGetGlobal(module, b"nothing"), "NOT_FOUND")

attribute = cu.CUfunction_attribute
shared_sum = ok(cu.cuModuleGetFunction(module, b"shared_sum"))
assert ok(cu.cuFuncGetAttribute(attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, shared_sum)) == 1024
dynamic = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
assert ok(cu.cuFuncGetAttribute(dynamic, shared_sum)) == 48 << 10
ok(cu.cuFuncSetAttribute(shared_sum, dynamic, 60 << 10))
assert ok(cu.cuFuncGetAttribute(dynamic, shared_sum)) == 60 << 10
fails(cu.cuFuncSetAttribute(shared_sum, dynamic, 1 << 20), "INVALID_VALUE")
wide = ok(cu.cuModuleGetFunction(module, b"wide"))
assert [ok(cu.cuFuncGetParamInfo(wide, i)) for i in range(4)] == [(0, 1), (8, 320), (328, 2), (336, 8)]
fails(cu.cuFuncGetParamInfo(wide, 4), "INVALID_VALUE")
blocks = ok(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(shared_sum, 256, 0))
assert blocks == ok(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(shared_sum, 256, 0)) > 0

ok(cu.cuModuleUnload(twin))
fails(cu.cuModuleGetFunction(twin, b"count"), "INVALID_HANDLE")
ok(cu.cuModuleUnload(module))
fails(launch(count, 1, 1), "INVALID_HANDLE")

library = ok(cu.cuLibraryLoadData(ptx, [], [], 0, [], [], 0))
kernel = ok(cu.cuLibraryGetKernel(library, b"add"))
assert ok(cu.cuKernelGetName(kernel)) == b"add"
assert ok(cu.cuKernelGetAttribute(attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel, 0)) == 1024
function = ok(cu.cuKernelGetFunction(kernel))
data = ok(cu.cuMemAlloc(128))
ok(cu.cuMemsetD8(data, 0, 128))
ok(launch(function, 1, 32, u64(data), u32(2), u32(32)))
ok(launch(cu.CUfunction(int(kernel)), 1, 32, u64(data), u32(2), u32(32)))
ok(cu.cuMemcpyDtoH(ctypes.addressof(value), data, 4))
assert value.value == 4
ok(cu.cuLibraryUnload(library))
fails(cu.cuLibraryGetKernel(library, b"add"), "INVALID_HANDLE")

# Bad images: an error of the call, with the reason in the log.
bad = b".version 7.0\n.target sm_75\n.address_size 64\n.visible .entry f() { nonsense.u32 %r1, 2; ret; }\n\0"
log = bytearray(4096)
option = cu.CUjit_option
result = cu.cuModuleLoadDataEx(
    bad, 2, [option.CU_JIT_ERROR_LOG_BUFFER, option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES], [log, len(log)]
)
fails(result, "INVALID_PTX")
assert b"nonsense" in log, bytes(log[:200])
assert b"4" in log
fails(cu.cuModuleLoadData(b"\x7fXYZ" + bytes(200)), "INVALID_IMAGE")
fails(cu.cuModuleLoadData(compile_cubin(KERNELS)), "NO_BINARY_FOR_GPU")  # machine code, and this GPU runs PTX
fails(cu.cuModuleLoad(b"/does/not/exist"), "FILE_NOT_FOUND")
ok(cu.cuCtxSynchronize())

# Linking gives an image that loads.
state = ok(cu.cuLinkCreate(0, [], []))
ok(cu.cuLinkAddData(state, cu.CUjitInputType.CU_JIT_INPUT_PTX, ptx, len(ptx), b"kernels", 0, [], []))
image, image_bytes = ok(cu.cuLinkComplete(state))
linked = ok(cu.cuModuleLoadData(ctypes.string_at(int(image), image_bytes) + b"\0"))
ok(cu.cuModuleGetFunction(linked, b"add"))
ok(cu.cuLinkDestroy(state))
print("ok")
