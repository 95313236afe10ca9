"""A forked child has no CUDA, says so, and neither its calls nor its end disturb the parent."""

import os

from learner import KERNELS, compile_ptx, cu, fails, launch, ok, start, u32, u64

start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add = ok(cu.cuModuleGetFunction(module, b"add"))
data = ok(cu.cuMemAlloc(4096))
for i in range(8):
    child = os.fork()
    if child == 0:
        try:
            fails(cu.cuInit(0), "NOT_INITIALIZED")
            fails(cu.cuMemAlloc(16), "NOT_INITIALIZED")
            fails(cu.cuCtxSynchronize(), "NOT_INITIALIZED")
            fails(launch(add, 1, 32, u64(data), u32(1), u32(32)), "NOT_INITIALIZED")
        except BaseException:
            os._exit(1)
        if i % 2:
            raise SystemExit(0)  # through exit handlers
        os._exit(0)
    ok(launch(add, 1, 32, u64(data), u32(1), u32(32)))
    ok(cu.cuCtxSynchronize())
    _, status = os.waitpid(child, 0)
    assert status == 0, status
ok(launch(add, 1, 32, u64(data), u32(1), u32(32)))
ok(cu.cuCtxSynchronize())
print("ok")
